#include <set>
#include <utility>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "base/typed_errors.h"
#include "regraft/weight_source.h"
#include "sources/memory_source.h"
#include "sources/named_source.h"
#include "sources/pt2.h"
#include "sources/safetensors.h"
#include "sources/text.h"
#include "sources/zip.h"

namespace regraft {
namespace sources {
namespace {

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
  return base::typed_errors("sources", [&]() -> std::shared_ptr<const WeightSource> {
    const auto file = base::MappedFile::open(path);
    const sources::Record record{file->bytes(), file};
    if (sources::ZipArchive::is_zip(record.bytes)) {
      return sources::make_pt2_source(sources::Pt2Archive::from_memory(record, path));
    }
    if (sources::is_safetensors(record.bytes))
      return sources::make_safetensors_source(record, path);
    base::fail("sources", ErrorCode::Unsupported, path, ": ",
               sources::explain(record.text().substr(0, 8)));
  });
}

}  // namespace regraft
