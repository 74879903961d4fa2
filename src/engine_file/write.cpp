#include <cstring>

#include "base/fail.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "engine_file/encode.h"
#include "engine_file/engine_file.h"

namespace regraft::engine_file {
namespace {

size_t alignment_of(uint64_t bytes) { return bytes >= kLargeSection ? kPage : kSectionAlignment; }

uint64_t round_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

Header make_header(const flatbuffers::DetachedBuffer& manifest, uint64_t data_bytes) {
  Header header{};
  header.magic = kMagic;
  header.layout = kLayout;
  header.manifest_offset = sizeof(Header);
  header.manifest_bytes = manifest.size();
  header.manifest_checksum = base::hash64(manifest.data(), manifest.size());
  const uint64_t manifest_end = sizeof(Header) + manifest.size();
  // A file without data ends with its manifest.
  header.data_offset = data_bytes == 0 ? manifest_end : round_up(manifest_end, kPage);
  header.file_bytes = header.data_offset + data_bytes;
  header.checksum = base::hash64(&header, offsetof(Header, checksum));
  return header;
}

// Memory with the interface of base::AtomicFile.
class MemoryFile {
 public:
  void append(const void* data, size_t bytes) {
    const auto* at = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), at, at + bytes);
  }
  void pad_to(size_t alignment) { bytes_.resize(round_up(bytes_.size(), alignment)); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

template <typename File>
void write_to(File& file, const engine::Image& image, const std::vector<TensorView>& values) {
  if (values.size() != image.plan.parameters.size()) {
    base::fail("engine_file", ErrorCode::Internal, "want ", image.plan.parameters.size(),
               " values, have ", values.size());
  }
  std::vector<SectionRange> sections;
  uint64_t at = 0;
  for (const TensorView& value : values) {
    const uint64_t bytes = value.data == nullptr ? 0 : value.bytes();
    if (bytes > 0) at = round_up(at, alignment_of(bytes));
    sections.push_back({bytes > 0 ? at : 0, bytes, base::hash64(value.data, bytes)});
    at += bytes;
  }
  const Form form = image.immutable  ? Form::Immutable
                    : image.stripped ? Form::Stripped
                                     : Form::Embedded;
  const flatbuffers::DetachedBuffer manifest = encode_manifest(image, form, sections);

  const Header header = make_header(manifest, at);

  file.append(&header, sizeof header);
  file.append(manifest.data(), manifest.size());
  if (at > 0) file.pad_to(kPage);
  for (size_t i = 0; i < values.size(); ++i) {
    if (sections[i].bytes == 0) continue;
    file.pad_to(alignment_of(sections[i].bytes));
    file.append(values[i].data, sections[i].bytes);
  }
}

}  // namespace

std::string to_bytes(const engine::Image& image) {
  const std::vector<SectionRange> sections(image.plan.parameters.size(),
                                           {0, 0, base::hash64(nullptr, 0)});
  const flatbuffers::DetachedBuffer manifest = encode_manifest(image, Form::Stripped, sections);
  const Header header = make_header(manifest, 0);
  std::string bytes(sizeof header + manifest.size(), '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, manifest.data(), manifest.size());
  return bytes;
}

void write(const std::string& path, const engine::Image& image,
           const std::vector<TensorView>& values) {
  base::AtomicFile file(path);
  write_to(file, image, values);
  file.commit();
}

std::vector<std::byte> to_memory(const engine::Image& image,
                                 const std::vector<TensorView>& values) {
  MemoryFile file;
  write_to(file, image, values);
  return file.take();
}

}  // namespace regraft::engine_file
