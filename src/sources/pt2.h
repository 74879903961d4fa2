#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/error.h"
#include "regraft/weight_source.h"
#include "sources/bytes.h"
#include "sources/payload_config.h"
#include "sources/zip.h"

namespace regraft::sources {

// A tensor of a model in a .pt2 archive. Its place has been checked against its payload.
struct Pt2Tensor {
  // Weights are the state_dict: parameters and persistent buffers. Constants are lifted tensors
  // and non-persistent buffers.
  enum class Kind { Weight, Constant };
  // The payload of tensors saved without bytes (an export with fake tensors): which of them shared
  // storage is not known.
  static constexpr size_t kNoPayload = SIZE_MAX;

  std::string name;
  Kind kind = Kind::Weight;
  bool is_parameter = false;
  DType dtype = DType::F32;
  Dims dims;
  Dims strides;
  int64_t storage_offset = 0;  // In elements.
  // Index into Pt2Archive::payloads(). Tensors of one payload share storage: ties and aliases.
  size_t payload = kNoPayload;

  bool has_bytes() const { return payload != kNoPayload; }
};

// A member of the archive that tensors lie in.
struct Pt2Payload {
  std::string record;
  uint64_t bytes = 0;
};

struct Pt2Model {
  std::vector<Pt2Tensor> tensors;  // Weights in the order of the file, then constants.
  // Constants that are not tensors (script objects), by name; they cannot be read.
  std::vector<std::string> objects;
};

// Reads what torch.export.save of torch 2.9 and later writes: archive format "pt2", version "0".
// Opening checks the whole archive but the bytes of members. Immutable to callers; const calls may
// run concurrently.
class Pt2Archive {
 public:
  // Maps `path`. Throws Error{NotFound, Io, Corrupt, Version, Unsupported, OutOfMemory}.
  static std::shared_ptr<const Pt2Archive> open(const std::string& path);
  // `file.owner` is kept; `where` stands for the path in messages.
  static std::shared_ptr<const Pt2Archive> from_memory(Record file, std::string where);
  Pt2Archive(const Pt2Archive&) = delete;
  Pt2Archive& operator=(const Pt2Archive&) = delete;

  const std::string& path() const { return where_; }
  // Names of the models, sorted; torch.export.save writes one, "model".
  std::vector<std::string> models() const;
  // Throws Error{NotFound} for both.
  const Pt2Model& model(std::string_view name) const;
  Record model_json(std::string_view name) const;

  const std::vector<Pt2Payload>& payloads() const { return payloads_; }
  // The bytes of a tensor of this archive, in place where the archive allows. Throws Error{State}
  // when the archive was saved without bytes, and Error{Corrupt}.
  SourceTensor read(const Pt2Tensor& tensor) const;

 private:
  Pt2Archive(Record file, std::string where);
  void find_root();
  void check_version() const;
  void check_config_sizes() const;
  void read_models();
  void read_config(std::string_view model, Pt2Tensor::Kind kind, Pt2Model& out);
  Pt2Tensor place(PayloadMeta meta, Pt2Tensor::Kind kind);
  void check_range(const Pt2Tensor& tensor, uint64_t bytes) const;
  void check_sizes() const;
  size_t add_payload(const ZipEntry& entry);
  Record payload(size_t index) const;
  const ZipEntry* find(std::string_view record) const;
  std::string text_of(std::string_view record) const;
  template <typename... Parts>
  [[noreturn]] void fail(ErrorCode code, const Parts&... parts) const;

  Record file_;
  std::string where_;
  ZipArchive zip_;
  std::string root_;  // "" or a folder with its '/'.
  std::map<std::string, Pt2Model, std::less<>> models_;
  std::vector<Pt2Payload> payloads_;
  std::map<std::string, size_t, std::less<>> payload_by_record_;
  // Members that had to be inflated or moved to an aligned place, kept: aliases share the copy.
  mutable std::mutex mutex_;
  mutable std::map<size_t, Record> copies_;
};

// The weights and constants of the model named "model", or of the only one, by name. Throws
// Error{Unsupported} when there are several others.
std::shared_ptr<const WeightSource> make_pt2_source(std::shared_ptr<const Pt2Archive> archive);

}  // namespace regraft::sources
