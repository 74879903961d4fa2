#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/tensor.h"

namespace regraft::sources {

// One entry of a payload config (PayloadMeta of torch/_export/serde/schema.py).
struct PayloadMeta {
  std::string name;  // FQN.
  std::string path;  // Record, relative to the folder of the config.
  bool is_parameter = false;
  bool is_tensor = true;  // False for script objects; then nothing below is set.
  DType dtype = DType::F32;
  Dims dims;
  Dims strides;
  int64_t storage_offset = 0;  // In elements.
};

// Reads "*_weights_config.json" or "*_constants_config.json". Sizes, strides and offsets are >= 0
// and the sizes make a tensor whose bytes int64 can count; nothing is known about the record yet.
// Throws Error{Corrupt}, and Error{Unsupported} for pickled tensors, layouts other than strided,
// symbolic sizes and dtypes that Regraft does not have. `where` leads messages.
std::vector<PayloadMeta> parse_payload_config(std::string_view text, const std::string& where);

}  // namespace regraft::sources
