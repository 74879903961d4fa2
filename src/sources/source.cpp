#include <set>
#include <utility>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "regraft/weight_source.h"
#include "sources/layout.h"
#include "sources/named_source.h"
#include "sources/pt2.h"
#include "sources/safetensors.h"
#include "sources/text.h"
#include "sources/zip.h"

namespace regraft {
namespace sources {
namespace {

std::vector<std::string> names_of(
    const std::vector<std::pair<std::string, SourceTensor>>& tensors) {
  std::vector<std::string> names;
  names.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors)
    names.push_back(name);
  return names;
}

class MemorySource : public NamedSource {
 public:
  explicit MemorySource(std::vector<std::pair<std::string, SourceTensor>> tensors)
      : NamedSource(base::cat("mapping of ", tensors.size(), " tensors"), names_of(tensors)),
        tensors_(std::move(tensors)) {
    for (const auto& [name, tensor] : tensors_)
      check(name, tensor.view);
  }

  TensorView spec(std::string_view name) const override {
    const TensorView& view = tensors_[index(name)].second.view;
    return {nullptr, view.dtype, view.dims, view.strides};
  }

  SourceTensor read(std::string_view name) const override { return tensors_[index(name)].second; }

 private:
  static void check(const std::string& name, const TensorView& view) {
    const auto fail = [&](std::string_view want) {
      base::fail("sources", ErrorCode::InvalidArgument, printable(name), ": want ", want, ", have ",
                 view.spec(), " with strides ", to_string(view.strides));
    };
    if (view.strides.size() != view.dims.size()) fail("one stride for each dimension");
    if (!try_byte_count(view.dtype, view.dims) || !try_element_span(view.dims, view.strides)) {
      fail("sizes and strides >= 0");
    }
    if (view.count() > 0 && view.data == nullptr) fail("data");
    if (!is_aligned(view.data, alignment(view.dtype))) fail("aligned data");
  }

  std::vector<std::pair<std::string, SourceTensor>> tensors_;
};

class Selection : public NamedSource {
 public:
  Selection(std::shared_ptr<const WeightSource> source, std::vector<std::string> names)
      : NamedSource(source->description(), std::move(names)), source_(std::move(source)) {}

  TensorView spec(std::string_view name) const override {
    index(name);
    return source_->spec(name);
  }
  SourceTensor read(std::string_view name) const override {
    index(name);
    return source_->read(name);
  }

 private:
  std::shared_ptr<const WeightSource> source_;
};

// What else people try to open, told apart by its first bytes.
std::string_view explain(std::string_view head) {
  if (head.starts_with("\x93NUMPY")) {
    return "this is a .npy file, which holds one tensor and no name";
  }
  if (head.starts_with("\x80\x02")) {
    return "this is a pickle; load it in PyTorch and save it as .safetensors";
  }
  if (head.starts_with('{')) {
    return "this is JSON; of a sharded checkpoint, open the .safetensors files it lists";
  }
  return "neither a .safetensors nor a .pt2 file";
}

}  // namespace
}  // namespace sources

std::shared_ptr<const WeightSource> make_source(
    std::vector<std::pair<std::string, SourceTensor>> tensors) {
  return std::make_shared<sources::MemorySource>(std::move(tensors));
}

std::shared_ptr<const WeightSource> select_tensors(std::shared_ptr<const WeightSource> source,
                                                   const std::vector<std::string>& names) {
  const std::set<std::string_view> wanted(names.begin(), names.end());
  std::vector<std::string> selected;
  for (const std::string& name : source->names()) {
    if (wanted.contains(name)) selected.push_back(name);
  }
  return std::make_shared<sources::Selection>(std::move(source), std::move(selected));
}

std::shared_ptr<const WeightSource> open_source(const std::string& path) {
  const auto file = base::MappedFile::open(path);
  const sources::Record record{file->bytes(), file};
  if (sources::ZipArchive::is_zip(record.bytes)) {
    return sources::make_pt2_source(sources::Pt2Archive::from_memory(record, path));
  }
  if (sources::is_safetensors(record.bytes)) return sources::make_safetensors_source(record, path);
  base::fail("sources", ErrorCode::Unsupported, path, ": ",
             sources::explain(record.text().substr(0, 8)));
}

}  // namespace regraft
