#include "sources/pt2.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/fail.h"
#include "base/mapped_file.h"
#include "sources/layout.h"
#include "sources/named_source.h"
#include "sources/text.h"

namespace regraft::sources {
namespace {

constexpr std::string_view kWeights = "data/weights/", kConstants = "data/constants/";
constexpr std::string_view kModels = "models/", kJson = ".json", kConfigEnd = "_config.json";
constexpr std::string_view kReexport = "re-export with torch.export.save of torch >= 2.9";

std::string_view strip_newline(std::string_view text) {
  while (text.ends_with('\n'))
    text.remove_suffix(1);
  return text;
}

}  // namespace

template <typename... Parts>
void Pt2Archive::fail(ErrorCode code, const Parts&... parts) const {
  base::fail("sources", code, where_, ": ", parts...);
}

std::shared_ptr<const Pt2Archive> Pt2Archive::open(const std::string& path) {
  const auto file = base::MappedFile::open(path);
  return from_memory({file->bytes(), file}, path);
}

std::shared_ptr<const Pt2Archive> Pt2Archive::from_memory(Record file, std::string where) {
  return std::shared_ptr<const Pt2Archive>(new Pt2Archive(std::move(file), std::move(where)));
}

Pt2Archive::Pt2Archive(Record file, std::string where)
    : file_(std::move(file)), where_(std::move(where)), zip_(file_.bytes, where_) {
  find_root();
  check_version();
  read_models();
  check_sizes();
}

// The folder that holds archive_format: named after the file the archive was saved to, or absent
// when somebody packed the contents again.
void Pt2Archive::find_root() {
  constexpr std::string_view kMarker = "archive_format";
  size_t found = 0;
  const auto has = [&](std::string_view suffix) {
    return std::any_of(zip_.entries().begin(), zip_.entries().end(),
                       [&](const ZipEntry& entry) { return entry.name.ends_with(suffix); });
  };
  for (const ZipEntry& entry : zip_.entries()) {
    const std::string_view name = entry.name;
    const size_t slash = name.find('/');
    const size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
    if (name.substr(begin) != kMarker) continue;
    root_ = name.substr(0, begin);
    ++found;
  }
  if (found == 1) return;
  if (found > 1) fail(ErrorCode::Corrupt, "several records named ", kMarker);
  if (has("serialized_exported_program.json")) {
    fail(ErrorCode::Unsupported, "saved by torch <= 2.7: ", kReexport);
  }
  if (has("data.pkl")) {
    fail(ErrorCode::Unsupported,
         "a torch.save or TorchScript file: load it in PyTorch and save the weights as "
         ".safetensors, or the program with torch.export.save");
  }
  fail(ErrorCode::Unsupported, "an archive without the record archive_format, so no .pt2 file");
}

void Pt2Archive::check_version() const {
  const std::string format = text_of("archive_format"), version = text_of("archive_version");
  if (format != "pt2") {
    fail(ErrorCode::Version, "archive_format: want pt2, have ", printable(format));
  }
  if (version != "0") {
    fail(ErrorCode::Version, "archive_version: want 0, have ", printable(version));
  }
  if (find("byteorder") != nullptr && text_of("byteorder") != "little") {
    fail(ErrorCode::Unsupported, "byteorder: want little, have ", printable(text_of("byteorder")));
  }
}

// A short text record, without the newline some writers end it with.
std::string Pt2Archive::text_of(std::string_view record) const {
  constexpr uint64_t kLongest = 256;
  const ZipEntry* entry = find(record);
  if (entry == nullptr || entry->bytes > kLongest) {
    fail(ErrorCode::Corrupt, record, ": want a short text record");
  }
  return std::string(strip_newline(zip_.read(*entry).text()));
}

const ZipEntry* Pt2Archive::find(std::string_view record) const {
  return zip_.find(root_ + std::string(record));
}

// Together, because an archive may hold any number of models.
void Pt2Archive::check_config_sizes() const {
  constexpr uint64_t kMost = uint64_t{128} << 20;
  uint64_t bytes = 0;
  for (const ZipEntry& entry : zip_.entries()) {
    if (entry.name.ends_with(kConfigEnd)) bytes += std::min(entry.bytes, kMost + 1);
  }
  if (bytes > kMost) {
    fail(ErrorCode::OutOfMemory, "want at most ", kMost, " bytes of payload configs");
  }
}

void Pt2Archive::read_models() {
  check_config_sizes();
  const std::string folder = root_ + std::string(kModels);
  for (const ZipEntry& entry : zip_.entries()) {
    std::string_view name = entry.name;
    if (!name.starts_with(folder) || !name.ends_with(kJson)) continue;
    name.remove_prefix(folder.size());
    // "models/.json" is no model; neither is anything in a deeper folder.
    if (name.size() <= kJson.size() || name.find('/') != std::string_view::npos) continue;
    name.remove_suffix(kJson.size());
    Pt2Model& model = models_[std::string(name)];
    read_config(name, Pt2Tensor::Kind::Weight, model);
    read_config(name, Pt2Tensor::Kind::Constant, model);
  }
  if (models_.empty()) {
    fail(ErrorCode::Unsupported,
         "no models/*.json: want a program saved by torch.export.save (AOTInductor packages hold "
         "none)");
  }
}

void Pt2Archive::read_config(std::string_view model, Pt2Tensor::Kind kind, Pt2Model& out) {
  const bool is_weights = kind == Pt2Tensor::Kind::Weight;
  const std::string_view folder = is_weights ? kWeights : kConstants;
  const std::string stem = base::cat(folder, model);
  if (find(stem + ".pt") != nullptr) {
    fail(ErrorCode::Unsupported, printable(stem),
         ".pt: pickled weights of torch <= 2.8: ", kReexport);
  }
  const std::string record = base::cat(stem, is_weights ? "_weights" : "_constants", kConfigEnd);
  const ZipEntry* entry = find(record);
  if (entry == nullptr) fail(ErrorCode::Corrupt, "no record ", printable(record));
  auto config = parse_payload_config(zip_.read(*entry).text(), where_ + ": " + printable(record));

  std::set<std::string> weights;
  for (const Pt2Tensor& tensor : out.tensors)
    weights.insert(tensor.name);
  for (PayloadMeta& meta : config) {
    if (weights.contains(meta.name)) {
      fail(ErrorCode::Corrupt, printable(meta.name), ": both a weight and a constant");
    }
    if (meta.is_tensor) {
      out.tensors.push_back(place(std::move(meta), kind));
    } else {
      out.objects.push_back(std::move(meta.name));
    }
  }
}

Pt2Tensor Pt2Archive::place(PayloadMeta meta, Pt2Tensor::Kind kind) {
  const std::string record =
      base::cat(kind == Pt2Tensor::Kind::Weight ? kWeights : kConstants, meta.path);
  const ZipEntry* entry = find(record);
  if (entry == nullptr) {
    fail(ErrorCode::Corrupt, printable(meta.name), ": no record ", printable(record));
  }
  Pt2Tensor tensor{std::move(meta.name), kind,
                   meta.is_parameter,    meta.dtype,
                   std::move(meta.dims), std::move(meta.strides),
                   meta.storage_offset};
  // No bytes for a tensor that has elements: it was fake when it was saved.
  if (entry->bytes > 0 || numel(tensor.dims) == 0) {
    check_range(tensor, entry->bytes);
    tensor.payload = add_payload(*entry);
  }
  return tensor;
}

void Pt2Archive::check_range(const Pt2Tensor& tensor, uint64_t bytes) const {
  const auto span = try_element_span(tensor.dims, tensor.strides);
  const uint64_t elements = bytes / item_size(tensor.dtype);
  const auto offset = static_cast<uint64_t>(tensor.storage_offset);
  // An empty tensor may stand anywhere: nothing of it is read.
  if (!span || (*span > 0 && !fits(offset, *span, elements))) {
    fail(ErrorCode::Corrupt, printable(tensor.name), ": sizes ", to_string(tensor.dims),
         ", strides ", to_string(tensor.strides), " and offset ", offset, " reach outside ",
         elements, " elements");
  }
}

// Strides of 0 and aliases let a small file declare huge tensors, which somebody copies later.
void Pt2Archive::check_sizes() const {
  constexpr uint64_t kFree = uint64_t{1} << 30, kRatio = 8;
  uint64_t stored = 0;
  for (const Pt2Payload& payload : payloads_)
    stored += payload.bytes;
  uint64_t left = kFree + kRatio * stored;
  for (const auto& [model_name, model] : models_) {
    for (const Pt2Tensor& tensor : model.tensors) {
      const uint64_t bytes = try_byte_count(tensor.dtype, tensor.dims).value_or(0);
      if (!tensor.has_bytes()) continue;
      if (bytes > left) {
        fail(ErrorCode::OutOfMemory, printable(tensor.name), ": ", bytes,
             " bytes, more than the archive can plausibly hold with ", stored,
             " bytes of payloads (expanded or aliased tensors)");
      }
      left -= bytes;
    }
  }
}

size_t Pt2Archive::add_payload(const ZipEntry& entry) {
  const auto [at, is_new] = payload_by_record_.try_emplace(entry.name, payloads_.size());
  if (is_new) payloads_.push_back({entry.name, entry.bytes});
  return at->second;
}

Record Pt2Archive::payload(size_t index) const {
  // Enough for every dtype; a stored record of torch lies on 64 bytes.
  constexpr size_t kAlignment = 8;
  const ZipEntry& entry = *zip_.find(payloads_[index].record);
  if (!entry.deflated) {
    Record record = zip_.read(entry);
    record.owner = file_.owner;
    if (is_aligned(record.bytes.data(), kAlignment)) return record;
  }
  const std::lock_guard lock(mutex_);
  const auto found = copies_.find(index);
  if (found != copies_.end()) return found->second;
  Record record = zip_.read(entry);
  if (!entry.deflated) record = aligned_copy(record);
  return copies_.emplace(index, std::move(record)).first->second;
}

std::vector<std::string> Pt2Archive::models() const {
  std::vector<std::string> names;
  names.reserve(models_.size());
  for (const auto& [name, model] : models_)
    names.push_back(name);
  return names;
}

const Pt2Model& Pt2Archive::model(std::string_view name) const {
  const auto found = models_.find(name);
  if (found == models_.end()) {
    fail(ErrorCode::NotFound, "no model named '", printable(name), "'; have ",
         printable(base::join(models(), ", ")));
  }
  return found->second;
}

Record Pt2Archive::model_json(std::string_view name) const {
  model(name);
  Record record = zip_.read(*find(base::cat(kModels, name, kJson)));
  if (record.owner == nullptr) record.owner = file_.owner;
  return record;
}

SourceTensor Pt2Archive::read(const Pt2Tensor& tensor) const {
  if (!tensor.has_bytes()) {
    fail(ErrorCode::State, printable(tensor.name),
         ": want bytes, have none: the program was saved "
         "with fake tensors; give its weights from another source");
  }
  const uint64_t offset = numel(tensor.dims) == 0 ? 0
                                                  : static_cast<uint64_t>(tensor.storage_offset) *
                                                        item_size(tensor.dtype);
  return tensor_over(payload(tensor.payload), offset, tensor.dtype, tensor.dims, tensor.strides,
                     where_, tensor.name);
}

namespace {

class Pt2Source : public NamedSource {
 public:
  Pt2Source(std::shared_ptr<const Pt2Archive> archive, const Pt2Model& model,
            std::vector<std::string> names)
      : NamedSource(archive->path(), std::move(names)),
        archive_(std::move(archive)),
        model_(model) {}

  TensorView spec(std::string_view name) const override {
    const Pt2Tensor& tensor = model_.tensors[index(name)];
    return {nullptr, tensor.dtype, tensor.dims, tensor.strides};
  }

  SourceTensor read(std::string_view name) const override {
    return archive_->read(model_.tensors[index(name)]);
  }

 private:
  std::shared_ptr<const Pt2Archive> archive_;
  const Pt2Model& model_;  // Of the archive.
};

}  // namespace

std::shared_ptr<const WeightSource> make_pt2_source(std::shared_ptr<const Pt2Archive> archive) {
  const auto models = archive->models();
  const bool has_default = std::find(models.begin(), models.end(), "model") != models.end();
  if (!has_default && models.size() > 1) {
    base::fail("sources", ErrorCode::Unsupported, archive->path(),
               ": several models and none named ",
               "'model': ", printable(base::join(models, ", ")));
  }
  const Pt2Model& model = archive->model(has_default ? "model" : models.front());
  std::vector<std::string> names;
  names.reserve(model.tensors.size());
  for (const Pt2Tensor& tensor : model.tensors)
    names.push_back(tensor.name);
  return std::make_shared<Pt2Source>(std::move(archive), model, std::move(names));
}

}  // namespace regraft::sources
