#pragma once

#include "backends/cpu/run/attention_tile.h"

namespace regraft::cpu {

// The attention tile of attention_tile.h written with AVX-512: the same arguments, packed keys and
// values in forms of their own that are not larger. bf16 is multiplied in pairs where the machine
// has AVX512_BF16 (probabilities are then rounded to bf16, as PyTorch does), else in f32.
struct AttentionVersion {
  void (*pack_keys)(const void* from, int64_t row, int64_t keys, int64_t features, float* to);
  void (*pack_values)(const void* from, int64_t row, int64_t keys, int64_t features, float* to);
  void (*attend)(const AttentionTile& tile);
  int64_t query_block;
};

AttentionVersion attention_avx512(DType type, bool bf16_pairs);
int64_t attention512_scratch_floats(int64_t features, int64_t value_features);

}  // namespace regraft::cpu
