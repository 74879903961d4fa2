#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "backends/cpu/run/vector_math.h"

namespace regraft::cpu {

// One block of queries of one head against all its keys, in f32, keys in blocks with a running
// softmax (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018), so that
// scores stay in the L2 cache whatever the number of keys.

inline constexpr int64_t kQueryBlock = 32;
inline constexpr int64_t kKeyBlock = 256;
inline constexpr int64_t kLanes = 16;

// Sizes and memory of one call of attend(). Strides are in elements.
struct AttentionTile {
  int64_t queries, keys, features, value_features;
  const void* query;
  int64_t query_row;
  const float* keys_packed;    // [key block][features][kKeyBlock]: see pack_keys.
  const float* values_packed;  // [keys][value_lanes]
  int64_t value_lanes;         // value_features rounded up to kLanes.
  const void* mask;            // Null, bool or float [queries][keys] with the strides below.
  int64_t mask_row, mask_column;
  int mask_kind;      // 0 none, 1 bool, 2 f32, 3 bf16
  int64_t first_row;  // Row of the first query in the whole sequence, for the causal limit.
  bool causal;
  float scale;
  void* out;
  int64_t out_row;
  float* scratch;  // attention_scratch_floats()
};

inline int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

inline int64_t attention_scratch_floats(int64_t features, int64_t value_features) {
  return kQueryBlock * (features + kKeyBlock + round_up(value_features, kLanes) + 2);
}

typedef float Lanes __attribute__((vector_size(64)));

// Memory need not be aligned. By reference: returning a vector is another ABI on every machine.
REGRAFT_INLINE void load_lanes(Lanes& to, const float* from) {
  __builtin_memcpy(&to, from, sizeof to);
}
REGRAFT_INLINE void store_lanes(float* to, const Lanes& lanes) {
  __builtin_memcpy(to, &lanes, sizeof lanes);
}

// c[rows][vectors * kLanes] (+)= a[rows][depth] * b[depth][...]: b's rows are `b_row` floats apart.
template <int kRows, int kVectors>
REGRAFT_INLINE void multiply_tile(const float* a, int64_t a_row, const float* b, int64_t b_row,
                                  float* c, int64_t c_row, int64_t depth, bool accumulate) {
  Lanes sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = Lanes{};
      if (accumulate) load_lanes(sums[r][v], c + r * c_row + v * kLanes);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Lanes columns[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      load_lanes(columns[v], b + k * b_row + v * kLanes);
    }
    for (int r = 0; r < kRows; ++r) {
      const float x = a[r * a_row + k];
      for (int v = 0; v < kVectors; ++v)
        sums[r][v] += x * columns[v];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      store_lanes(c + r * c_row + v * kLanes, sums[r][v]);
    }
  }
}

template <int kVectors>
REGRAFT_INLINE void multiply_columns(const float* a, int64_t a_row, const float* b, int64_t b_row,
                                     float* c, int64_t c_row, int64_t rows, int64_t depth,
                                     bool accumulate) {
  constexpr int kRows = 6;
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    multiply_tile<kRows, kVectors>(a + r * a_row, a_row, b, b_row, c + r * c_row, c_row, depth,
                                   accumulate);
  }
  for (; r < rows; ++r) {
    multiply_tile<1, kVectors>(a + r * a_row, a_row, b, b_row, c + r * c_row, c_row, depth,
                               accumulate);
  }
}

// `columns` is a multiple of kLanes.
REGRAFT_INLINE void multiply(const float* a, int64_t a_row, const float* b, int64_t b_row, float* c,
                             int64_t c_row, int64_t rows, int64_t columns, int64_t depth,
                             bool accumulate) {
  int64_t j = 0;
  for (; j + 4 * kLanes <= columns; j += 4 * kLanes) {
    multiply_columns<4>(a, a_row, b + j, b_row, c + j, c_row, rows, depth, accumulate);
  }
  for (; j < columns; j += kLanes) {
    multiply_columns<1>(a, a_row, b + j, b_row, c + j, c_row, rows, depth, accumulate);
  }
}

REGRAFT_INLINE float mask_value(const AttentionTile& t, int64_t row, int64_t column) {
  const int64_t at = row * t.mask_row + column * t.mask_column;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  if (t.mask_kind == 1) return static_cast<const bool*>(t.mask)[at] ? 0.0f : kNone;
  if (t.mask_kind == 2) return static_cast<const float*>(t.mask)[at];
  return load_float(static_cast<const BFloat16*>(t.mask)[at]);
}

// Adds the mask and the causal limit to scores[columns] of query `row` against keys from `first`.
REGRAFT_INLINE void mask_scores(const AttentionTile& t, float* scores, int64_t row, int64_t first,
                                int64_t columns) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  if (t.mask_kind == 2 && t.mask_column == 1) {
    const float* mask = static_cast<const float*>(t.mask) + row * t.mask_row + first;
    for (int64_t j = 0; j < columns; ++j)
      scores[j] += mask[j];
  } else if (t.mask_kind == 1 && t.mask_column == 1) {
    const bool* mask = static_cast<const bool*>(t.mask) + row * t.mask_row + first;
    for (int64_t j = 0; j < columns; ++j)
      scores[j] = mask[j] ? scores[j] : kNone;
  } else if (t.mask_kind != 0) {
    for (int64_t j = 0; j < columns; ++j)
      scores[j] += mask_value(t, row, first + j);
  }
  if (t.causal) {
    const int64_t visible = std::max<int64_t>(t.first_row + row + 1 - first, 0);
    for (int64_t j = visible; j < columns; ++j)
      scores[j] = kNone;
  }
}

// exp(scores - maximum) in place, up to `padded`; columns beyond `columns` become 0. Gives the sum.
REGRAFT_INLINE float exponentiate(float* scores, int64_t columns, int64_t padded, float maximum) {
  float sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const float e = fast_exp(scores[j + l] - maximum);
      scores[j + l] = e;
      sums[l] += e;
    }
  }
  for (int64_t l = 0; j + l < columns; ++l) {
    const float e = fast_exp(scores[j + l] - maximum);
    scores[j + l] = e;
    sums[l] += e;
  }
  for (int64_t k = columns; k < padded; ++k)
    scores[k] = 0.0f;
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l)
    sum += sums[l];
  return sum;
}

REGRAFT_INLINE float maximum_of(const float* scores, int64_t columns, float start) {
  float best[kLanes];
  for (int64_t l = 0; l < kLanes; ++l)
    best[l] = start;
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      best[l] = scores[j + l] > best[l] ? scores[j + l] : best[l];
    }
  }
  for (int64_t l = 0; j + l < columns; ++l) {
    best[l] = scores[j + l] > best[l] ? scores[j + l] : best[l];
  }
  float out = best[0];
  for (int64_t l = 1; l < kLanes; ++l)
    out = best[l] > out ? best[l] : out;
  return out;
}

// The running softmax of one row after scores of another key block: rescales what was accumulated.
REGRAFT_INLINE void absorb_row(const AttentionTile& t, float* scores, int64_t row, int64_t first,
                               int64_t columns, int64_t padded, float* accumulated, float& maximum,
                               float& sum) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < padded; ++j)
    scores[j] *= t.scale;
  mask_scores(t, scores, row, first, columns);
  const float next = maximum_of(scores, columns, maximum);
  // A row without a visible key so far: its weights are all zero, not 0/0.
  const float shift = next == kNone ? 0.0f : next;
  const float block_sum = exponentiate(scores, columns, padded, shift);
  const float rescale = maximum == kNone ? 0.0f : fast_exp(maximum - shift);
  sum = sum * rescale + block_sum;
  for (int64_t j = 0; j < t.value_lanes; ++j)
    accumulated[j] *= rescale;
  maximum = next;
}

template <typename T>
struct Attend {
  REGRAFT_INLINE static void run(const AttentionTile& t) {
    float* queries = t.scratch;
    float* scores = queries + kQueryBlock * t.features;
    float* accumulated = scores + kQueryBlock * kKeyBlock;
    float* maxima = accumulated + kQueryBlock * t.value_lanes;
    float* sums = maxima + kQueryBlock;
    for (int64_t r = 0; r < t.queries; ++r) {
      const T* row = static_cast<const T*>(t.query) + r * t.query_row;
      for (int64_t k = 0; k < t.features; ++k)
        queries[r * t.features + k] = load_float(row[k]);
      maxima[r] = -std::numeric_limits<float>::infinity();
      sums[r] = 0.0f;
    }
    std::fill(accumulated, accumulated + t.queries * t.value_lanes, 0.0f);
    const int64_t limit = t.causal ? std::min(t.keys, t.first_row + t.queries) : t.keys;
    for (int64_t first = 0; first < limit; first += kKeyBlock) {
      const int64_t columns = std::min(kKeyBlock, limit - first);
      const int64_t padded = round_up(columns, kLanes);
      multiply(queries, t.features, t.keys_packed + first * t.features, kKeyBlock, scores,
               kKeyBlock, t.queries, padded, t.features, false);
      for (int64_t r = 0; r < t.queries; ++r) {
        absorb_row(t, scores + r * kKeyBlock, r, first, columns, padded,
                   accumulated + r * t.value_lanes, maxima[r], sums[r]);
      }
      multiply(scores, kKeyBlock, t.values_packed + first * t.value_lanes, t.value_lanes,
               accumulated, t.value_lanes, t.queries, t.value_lanes, columns, true);
    }
    for (int64_t r = 0; r < t.queries; ++r) {
      // No visible key: PyTorch gives zeros.
      const float inverse = sums[r] == 0.0f ? 0.0f : 1.0f / sums[r];
      T* row = static_cast<T*>(t.out) + r * t.out_row;
      const float* from = accumulated + r * t.value_lanes;
      for (int64_t j = 0; j < t.value_features; ++j)
        store_float(row + j, from[j] * inverse);
    }
  }
};

// Keys [keys][features] to [block][features][kKeyBlock], the end of the last block zero.
template <typename T>
struct PackKeys {
  REGRAFT_INLINE static void run(const void* from, int64_t row, int64_t keys, int64_t features,
                                 float* to) {
    for (int64_t first = 0; first < keys; first += kKeyBlock) {
      const int64_t columns = std::min(kKeyBlock, keys - first);
      float* block = to + first * features;
      for (int64_t j = 0; j < columns; ++j) {
        const T* key = static_cast<const T*>(from) + (first + j) * row;
        for (int64_t k = 0; k < features; ++k)
          block[k * kKeyBlock + j] = load_float(key[k]);
      }
      const int64_t padded = round_up(columns, kLanes);
      for (int64_t k = 0; k < features; ++k) {
        for (int64_t j = columns; j < padded; ++j)
          block[k * kKeyBlock + j] = 0.0f;
      }
    }
  }
};

template <typename T>
struct PackValues {
  REGRAFT_INLINE static void run(const void* from, int64_t row, int64_t keys, int64_t features,
                                 float* to) {
    const int64_t lanes = round_up(features, kLanes);
    for (int64_t j = 0; j < keys; ++j) {
      const T* value = static_cast<const T*>(from) + j * row;
      for (int64_t k = 0; k < features; ++k)
        to[j * lanes + k] = load_float(value[k]);
      for (int64_t k = features; k < lanes; ++k)
        to[j * lanes + k] = 0.0f;
    }
  }
};

}  // namespace regraft::cpu
