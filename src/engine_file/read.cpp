#include <algorithm>
#include <cstring>
#include <map>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "engine_file/decode.h"
#include "engine_file/engine_file.h"

namespace regraft::engine_file {
namespace {

template <typename... Parts>
[[noreturn]] void corrupt(const std::string& description, const Parts&... parts) {
  base::fail("engine_file", ErrorCode::Corrupt, description, ": ", parts...);
}

// The tensors in a file.
class FileSource final : public WeightSource {
 public:
  FileSource(std::string description, std::shared_ptr<const void> owner)
      : description_(std::move(description)), owner_(std::move(owner)) {}

  void add(const std::string& name, TensorView view, uint64_t checksum) {
    names_.push_back(name);
    entries_[name] = {std::move(view), checksum};
  }

  std::vector<std::string> names() const override { return names_; }

  TensorView spec(std::string_view name) const override {
    TensorView view = entry(name).view;
    view.data = nullptr;
    return view;
  }

  SourceTensor read(std::string_view name) const override {
    const Entry& found = entry(name);
    if (base::hash64(found.view.data, found.view.bytes()) != found.checksum) {
      corrupt(description_, "the bytes of '", name, "' do not match their checksum");
    }
    return {found.view, owner_, true};
  }

  std::string description() const override { return "engine file " + description_; }

 private:
  struct Entry {
    TensorView view;
    uint64_t checksum = 0;
  };

  const Entry& entry(std::string_view name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      base::fail("engine_file", ErrorCode::NotFound, description_, ": no tensor '", name, "'");
    }
    return found->second;
  }

  std::string description_;
  std::shared_ptr<const void> owner_;
  std::vector<std::string> names_;
  std::map<std::string, Entry, std::less<>> entries_;
};

Header read_header(std::span<const std::byte> bytes, const std::string& description) {
  Header header{};
  if (bytes.size() < sizeof header) corrupt(description, "too short for an engine file");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) corrupt(description, "not an engine file");
  if (header.layout != kLayout) {
    base::fail("engine_file", ErrorCode::Version, description, ": layout ", header.layout,
               ", this build reads layout ", kLayout);
  }
  if (header.checksum != base::hash64(&header, offsetof(Header, checksum))) {
    corrupt(description, "the header does not match its checksum");
  }
  if (header.file_bytes != bytes.size()) {
    corrupt(description, "want ", header.file_bytes, " bytes, have ", bytes.size());
  }
  if (header.manifest_offset != sizeof(Header) ||
      header.manifest_bytes > bytes.size() - sizeof(Header) ||
      header.data_offset < sizeof(Header) + header.manifest_bytes ||
      header.data_offset > bytes.size()) {
    corrupt(description, "the header's offsets lie outside of the file");
  }
  return header;
}

std::shared_ptr<FileSource> make_file_source(const Manifest& manifest,
                                             std::span<const std::byte> data,
                                             std::shared_ptr<const void> owner,
                                             const std::string& description) {
  const plan::Plan& plan = manifest.image.plan;
  if (manifest.sections.size() != plan.parameters.size()) {
    corrupt(description, "want ", plan.parameters.size(), " tensors, have ",
            manifest.sections.size());
  }
  auto source = std::make_shared<FileSource>(description, std::move(owner));
  for (size_t p = 0; p < plan.parameters.size(); ++p) {
    const SectionRange& section = manifest.sections[p];
    const TensorType& type = plan.buffers[plan.parameters[p].buffer].type;
    TensorView view(nullptr, type.dtype, eval(type.dims, {}));
    if (manifest.form == Form::Stripped && section.bytes == 0 && view.bytes() != 0) continue;
    if (section.bytes != view.bytes() || section.offset > data.size() ||
        section.bytes > data.size() - section.offset || section.offset % kSectionAlignment != 0) {
      corrupt(description, "the section of '", plan.parameters[p].name,
              "' lies outside of the file or has another size");
    }
    view.data = data.data() + section.offset;
    source->add(plan.parameters[p].name, std::move(view), section.checksum);
  }
  return source;
}

}  // namespace

engine::Image parse(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                    const std::string& description) {
  const Header header = read_header(bytes, description);
  const auto manifest_bytes = bytes.subspan(sizeof(Header), header.manifest_bytes);
  if (base::hash64(manifest_bytes.data(), manifest_bytes.size()) != header.manifest_checksum) {
    corrupt(description, "the manifest does not match its checksum");
  }
  Manifest manifest = decode_manifest(manifest_bytes);
  manifest.image.weights =
      make_file_source(manifest, bytes.subspan(header.data_offset), std::move(owner), description);
  return std::move(manifest.image);
}

engine::Image read(const std::string& path) {
  auto file = base::MappedFile::open(path);
  return parse(file->bytes(), file, path);
}

}  // namespace regraft::engine_file
