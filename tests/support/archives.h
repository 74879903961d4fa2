#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/tensor.h"
#include "sources/bytes.h"

namespace regraft::sources {

// How ZipWriter writes the next members and the end of the archive.
struct ZipStyle {
  bool deflate = false;
  bool zip64 = false;       // Sizes and offsets in ZIP64 fields, ZIP64 end record.
  bool descriptor = false;  // Sizes behind the data; the local header holds zeros.
  size_t alignment = 64;    // Of the data, through an 'FB' extra field as PyTorch writes it.
};

// Writes an archive into a string, in the manner of PyTorch's writer.
class ZipWriter {
 public:
  void add(std::string_view name, std::string_view data, const ZipStyle& style = {});
  // The archive; `comment` goes behind the end record.
  std::string finish(bool zip64 = false, std::string_view comment = {}) const;

 private:
  std::string bytes_, directory_;
  uint64_t entries_ = 0;
};

// One entry of a payload config, with the defaults of an f32 parameter.
struct PayloadSpec {
  std::string name;
  std::string path;
  Dims sizes;
  Dims strides;
  int64_t offset = 0;
  int dtype = 7;  // Of the export schema: f32.
  bool is_parameter = true;
  bool use_pickle = false;
  int layout = 7;  // Strided.
};

std::string payload_config(const std::vector<PayloadSpec>& specs);

// A .pt2 archive as torch.export.save lays it out; change any record before finish().
struct Pt2Writer {
  std::string root = "archive/";
  std::string model = "model";
  std::string format = "pt2", version = "0", byteorder = "little";
  std::string json = "{\"graph_module\":{}}";  // models/model.json
  std::vector<PayloadSpec> weights, constants;
  std::vector<std::pair<std::string, std::string>> records;  // Payloads and extras, by full path.
  ZipStyle style;

  std::string finish() const;
};

// Small archives with every feature, used by the tests of hostile variants.
Pt2Writer small_pt2();
std::string small_safetensors();
std::string small_npy();

// The bytes of floats.
std::string bytes_of(const std::vector<float>& values);

}  // namespace regraft::sources
