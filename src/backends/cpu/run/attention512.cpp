#include "backends/cpu/run/attention512.h"

#include <cstring>

#include "backends/cpu/run/simd512.h"

namespace regraft::cpu {
namespace {

// Queries per tile: a multiple of the rows of a register block.
constexpr int64_t kQueries = 48;
constexpr int kRows = 6;
// Keys are packed in panels of four vectors.
constexpr int64_t kPanel = 64;

struct Product {
  const void* a;                // [rows][depth]
  const void* b;                // [depth / step][columns][step]
  float* c;                     // [rows][columns]
  int64_t a_row, b_row, c_row;  // In elements; b's per step of depth.
  int64_t rows, depth;          // depth in steps.
  bool accumulate;
};

// c (+)= a * b for kR rows and kV vectors of columns, sums in registers.
template <int kR, int kV>
[[REGRAFT_TARGET_AVX512, gnu::always_inline]] inline void block_f32(const Product& p, int64_t r,
                                                                    int64_t v) {
  const float* const a = static_cast<const float*>(p.a) + r * p.a_row;
  const float* b = static_cast<const float*>(p.b) + v * 16;
  float* const c = p.c + r * p.c_row + v * 16;
  __m512 sums[kR][kV];
  for (int i = 0; i < kR; ++i) {
    for (int j = 0; j < kV; ++j) {
      sums[i][j] = p.accumulate ? _mm512_loadu_ps(c + i * p.c_row + j * 16) : _mm512_setzero_ps();
    }
  }
  for (int64_t k = 0; k < p.depth; ++k, b += p.b_row) {
    __m512 columns[kV];
    for (int j = 0; j < kV; ++j)
      columns[j] = _mm512_loadu_ps(b + j * 16);
    for (int i = 0; i < kR; ++i) {
      const __m512 x = _mm512_set1_ps(a[i * p.a_row + k]);
      for (int j = 0; j < kV; ++j)
        sums[i][j] = _mm512_fmadd_ps(x, columns[j], sums[i][j]);
    }
  }
  for (int i = 0; i < kR; ++i) {
    for (int j = 0; j < kV; ++j)
      _mm512_storeu_ps(c + i * p.c_row + j * 16, sums[i][j]);
  }
}

template <int kR, int kV>
[[REGRAFT_TARGET_BF16, gnu::always_inline]] inline void block_pairs(const Product& p, int64_t r,
                                                                    int64_t v) {
  const BFloat16* const a = static_cast<const BFloat16*>(p.a) + r * p.a_row;
  const BFloat16* b = static_cast<const BFloat16*>(p.b) + v * 32;
  float* const c = p.c + r * p.c_row + v * 16;
  __m512 sums[kR][kV];
  for (int i = 0; i < kR; ++i) {
    for (int j = 0; j < kV; ++j) {
      sums[i][j] = p.accumulate ? _mm512_loadu_ps(c + i * p.c_row + j * 16) : _mm512_setzero_ps();
    }
  }
  for (int64_t k = 0; k < p.depth; ++k, b += p.b_row) {
    __m512bh columns[kV];
    for (int j = 0; j < kV; ++j)
      columns[j] = (__m512bh)_mm512_loadu_si512(b + j * 32);
    for (int i = 0; i < kR; ++i) {
      int32_t pair;
      std::memcpy(&pair, a + i * p.a_row + 2 * k, sizeof pair);
      const auto x = (__m512bh)_mm512_set1_epi32(pair);
      for (int j = 0; j < kV; ++j)
        sums[i][j] = _mm512_dpbf16_ps(sums[i][j], x, columns[j]);
    }
  }
  for (int i = 0; i < kR; ++i) {
    for (int j = 0; j < kV; ++j)
      _mm512_storeu_ps(c + i * p.c_row + j * 16, sums[i][j]);
  }
}

template <int kR>
[[REGRAFT_TARGET_AVX512, gnu::always_inline]] inline void rows_f32(const Product& p, int64_t r,
                                                                   int64_t vectors) {
  int64_t v = 0;
  for (; v + 4 <= vectors; v += 4)
    block_f32<kR, 4>(p, r, v);
  if (v + 2 <= vectors) {
    block_f32<kR, 2>(p, r, v);
    v += 2;
  }
  if (v < vectors) block_f32<kR, 1>(p, r, v);
}
template <int kR>
[[REGRAFT_TARGET_BF16, gnu::always_inline]] inline void rows_pairs(const Product& p, int64_t r,
                                                                   int64_t vectors) {
  int64_t v = 0;
  for (; v + 4 <= vectors; v += 4)
    block_pairs<kR, 4>(p, r, v);
  if (v + 2 <= vectors) {
    block_pairs<kR, 2>(p, r, v);
    v += 2;
  }
  if (v < vectors) block_pairs<kR, 1>(p, r, v);
}

[[REGRAFT_TARGET_AVX512, gnu::noinline]] void product_f32(const Product& p, int64_t vectors) {
  int64_t r = 0;
  for (; r + kRows <= p.rows; r += kRows)
    rows_f32<kRows>(p, r, vectors);
  switch (p.rows - r) {
    case 5:
      rows_f32<5>(p, r, vectors);
      break;
    case 4:
      rows_f32<4>(p, r, vectors);
      break;
    case 3:
      rows_f32<3>(p, r, vectors);
      break;
    case 2:
      rows_f32<2>(p, r, vectors);
      break;
    case 1:
      rows_f32<1>(p, r, vectors);
      break;
    default:
      break;
  }
}
[[REGRAFT_TARGET_BF16, gnu::noinline]] void product_pairs(const Product& p, int64_t vectors) {
  int64_t r = 0;
  for (; r + kRows <= p.rows; r += kRows)
    rows_pairs<kRows>(p, r, vectors);
  switch (p.rows - r) {
    case 5:
      rows_pairs<5>(p, r, vectors);
      break;
    case 4:
      rows_pairs<4>(p, r, vectors);
      break;
    case 3:
      rows_pairs<3>(p, r, vectors);
      break;
    case 2:
      rows_pairs<2>(p, r, vectors);
      break;
    case 1:
      rows_pairs<1>(p, r, vectors);
      break;
    default:
      break;
  }
}

// e^x for x <= 0, 2 ulp; 0 below the smallest normal result.
REGRAFT_V512 __m512 exp_negative(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752F), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6F), r);
  __m512 p = _mm512_set1_ps(0.00139261761F);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.00836317307F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0416665547F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.166665770F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5F));
  p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r);
  p = _mm512_add_ps(p, _mm512_set1_ps(1.0F));
  // Not below: NaN stays NaN.
  const __mmask16 keep = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.3F), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(keep, p, n);
}

// What the mask adds to the 16 scores from key `column` of query `row`; lanes outside `lanes` are
// not read.
REGRAFT_V512 __m512 mask16(const AttentionTile& t, int64_t row, int64_t column, __mmask16 lanes) {
  const __m512 none = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  const int64_t at = row * t.mask_row + column * t.mask_column;
  if (t.mask_column == 1) {
    if (t.mask_kind == 1) {
      const __m128i bytes = _mm_maskz_loadu_epi8(lanes, static_cast<const char*>(t.mask) + at);
      const __mmask16 visible = _mm_test_epi8_mask(bytes, bytes);
      return _mm512_mask_blend_ps(visible, none, _mm512_setzero_ps());
    }
    if (t.mask_kind == 2) return load16(static_cast<const float*>(t.mask) + at, lanes);
    return load16(static_cast<const BFloat16*>(t.mask) + at, lanes);
  }
  alignas(64) float values[16] = {};
  for (int64_t l = 0; l < 16; ++l) {
    if (((lanes >> l) & 1U) != 0) values[l] = mask_value(t, row, column + l);
  }
  return _mm512_load_ps(values);
}

// Turns a row of products into probabilities against the row's running maximum: e^(s - maximum),
// stored as f32 or bf16 in place, zeros from `columns` to the next whole vector. Updates maximum
// and sum and gives the factor by which what was accumulated must shrink.
template <typename P>
REGRAFT_V512 float absorb(const AttentionTile& t, float* scores, int64_t row, int64_t first,
                          int64_t columns, float& maximum, float& sum) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int64_t vectors = (columns + 15) / 16;
  const __m512 scale = _mm512_set1_ps(t.scale);
  const __m512 none = _mm512_set1_ps(kNone);
  const int64_t visible =
      t.causal ? std::clamp<int64_t>(t.first_row + row + 1 - first, 0, columns) : columns;
  __m512 best = none;
  for (int64_t v = 0; v < vectors; ++v) {
    const __mmask16 in = lane_mask(std::clamp<int64_t>(visible - v * 16, 0, 16));
    __m512 s = _mm512_mul_ps(_mm512_loadu_ps(scores + v * 16), scale);
    if (t.mask_kind != 0) s = _mm512_add_ps(s, mask16(t, row, first + v * 16, in));
    s = _mm512_mask_blend_ps(in, none, s);
    _mm512_storeu_ps(scores + v * 16, s);
    best = _mm512_max_ps(best, s);
  }
  const float next = std::max(maximum, _mm512_reduce_max_ps(best));
  // A row without a visible key so far: its weights are all zero, not 0/0.
  const __m512 shift = _mm512_set1_ps(next == kNone ? 0.0F : next);
  __m512 total = _mm512_setzero_ps();
  P* const out = reinterpret_cast<P*>(scores);
  for (int64_t v = 0; v < vectors; ++v) {
    const __m512 e = exp_negative(_mm512_sub_ps(_mm512_loadu_ps(scores + v * 16), shift));
    total = _mm512_add_ps(total, e);
    store16(out + v * 16, e);
  }
  const float shrink =
      maximum == kNone ? 0.0F : _mm512_cvtss_f32(exp_negative(_mm512_set1_ps(maximum - next)));
  sum = sum * shrink + _mm512_reduce_add_ps(total);
  maximum = next;
  return shrink;
}

template <typename T, bool kPairs>
struct Kernels {
  // Elements of what is multiplied.
  using E = std::conditional_t<kPairs, BFloat16, float>;
  static constexpr int64_t kStep = kPairs ? 2 : 1;

  static void multiply(const Product& p, int64_t vectors) {
    if constexpr (kPairs) {
      product_pairs(p, vectors);
    } else {
      product_f32(p, vectors);
    }
  }

  // [panel][features / step][kPanel][step], the end of the last panel zero.
  [[REGRAFT_TARGET_AVX512]] static void pack_keys(const void* from, int64_t row, int64_t keys,
                                                  int64_t features, float* to) {
    const auto* const source = static_cast<const T*>(from);
    const int64_t steps = (features + kStep - 1) / kStep;
    for (int64_t first = 0; first < keys; first += kPanel) {
      float* const panel = to + first * steps;  // A step of one key takes 32 bits either way.
      for (int64_t j = 0; j < kPanel; j += 16) {
        for (int64_t k = 0; k < steps; k += 16) {
          const int64_t width = std::min<int64_t>(16, steps - k);
          __m512 block[16];
          for (int64_t i = 0; i < 16; ++i) {
            const bool exists = first + j + i < keys;
            block[i] = exists ? load_steps(source + (first + j + i) * row, k, width, features)
                              : _mm512_setzero_ps();
          }
          transpose_16x16(block);
          for (int64_t i = 0; i < width; ++i) {
            _mm512_storeu_ps(panel + (k + i) * kPanel + j, block[i]);
          }
        }
      }
    }
  }

  // Steps k to k + width of one key: floats, or pairs of bf16 as they lie.
  REGRAFT_V512 static __m512 load_steps(const T* key, int64_t k, int64_t width, int64_t features) {
    if constexpr (kPairs) {
      const int64_t count = std::min<int64_t>(2 * width, features - 2 * k);
      const auto mask = static_cast<__mmask32>((uint64_t{1} << count) - 1U);
      return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, key + 2 * k));
    } else {
      return load16(key + k, lane_mask(width));
    }
  }

  // [keys / step][lanes][step]
  [[REGRAFT_TARGET_AVX512]] static void pack_values(const void* from, int64_t row, int64_t keys,
                                                    int64_t features, float* to) {
    const auto* const source = static_cast<const T*>(from);
    const int64_t lanes = round_up(features, kLanes);
    for (int64_t j = 0; j < keys; j += kStep) {
      for (int64_t k = 0; k < lanes; k += 16) {
        const __mmask16 mask = lane_mask(std::clamp<int64_t>(features - k, 0, 16));
        float* const at = to + j / kStep * lanes + k;
        const __m512 even = load16(source + j * row + k, mask);
        if constexpr (kPairs) {
          const __m512 odd =
              j + 1 < keys ? load16(source + (j + 1) * row + k, mask) : _mm512_setzero_ps();
          // bf16 stands in the upper half of its float.
          _mm512_storeu_si512(at, _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(even), 16),
                                                  _mm512_castps_si512(odd)));
        } else {
          _mm512_storeu_ps(at, even);
        }
      }
    }
  }

  [[REGRAFT_TARGET_AVX512]] static void load_queries(const AttentionTile& t, E* to,
                                                     int64_t to_row) {
    for (int64_t r = 0; r < t.queries; ++r) {
      const T* const row = static_cast<const T*>(t.query) + r * t.query_row;
      for (int64_t k = 0; k < to_row; k += 16) {
        const __mmask16 in = lane_mask(std::clamp<int64_t>(t.features - k, 0, 16));
        const __mmask16 out = lane_mask(std::min<int64_t>(16, to_row - k));
        store16(to + r * to_row + k, load16(row + k, in), out);
      }
    }
  }

  [[REGRAFT_TARGET_AVX512]] static void attend(const AttentionTile& t) {
    const int64_t steps = (t.features + kStep - 1) / kStep;
    float* const scores = t.scratch;
    float* const accumulated = scores + kQueries * kKeyBlock;
    float* const maxima = accumulated + kQueries * t.value_lanes;
    float* const sums = maxima + kQueries;
    E* const queries = reinterpret_cast<E*>(sums + kQueries);
    load_queries(t, queries, steps * kStep);
    std::fill(maxima, maxima + t.queries, -std::numeric_limits<float>::infinity());
    std::fill(sums, sums + t.queries, 0.0F);
    const int64_t limit = t.causal ? std::min(t.keys, t.first_row + t.queries) : t.keys;
    if (limit <= 0) std::fill(accumulated, accumulated + t.queries * t.value_lanes, 0.0F);
    for (int64_t first = 0; first < limit; first += kKeyBlock) {
      const int64_t columns = std::min(kKeyBlock, limit - first);
      for (int64_t panel = 0; panel < columns; panel += kPanel) {
        const int64_t vectors = (std::min(kPanel, columns - panel) + 15) / 16;
        multiply({queries, t.keys_packed + (first + panel) * steps, scores + panel, steps * kStep,
                  kPanel * kStep, kKeyBlock, t.queries, steps, false},
                 vectors);
      }
      for (int64_t r = 0; r < t.queries; ++r) {
        const float shrink =
            absorb<E>(t, scores + r * kKeyBlock, r, first, columns, maxima[r], sums[r]);
        if (first == 0) continue;
        float* const row = accumulated + r * t.value_lanes;
        for (int64_t k = 0; k < t.value_lanes; k += 16) {
          _mm512_storeu_ps(row + k,
                           _mm512_mul_ps(_mm512_loadu_ps(row + k), _mm512_set1_ps(shrink)));
        }
      }
      // Rows of probabilities lie as far apart as rows of scores, of which they took the memory.
      multiply({scores, t.values_packed + first / kStep * t.value_lanes, accumulated,
                kKeyBlock * kStep, t.value_lanes * kStep, t.value_lanes, t.queries,
                (columns + kStep - 1) / kStep, first > 0},
               t.value_lanes / 16);
    }
    for (int64_t r = 0; r < t.queries; ++r) {
      // No visible key: PyTorch gives zeros.
      const __m512 inverse = _mm512_set1_ps(sums[r] == 0.0F ? 0.0F : 1.0F / sums[r]);
      T* const row = static_cast<T*>(t.out) + r * t.out_row;
      const float* const from = accumulated + r * t.value_lanes;
      for (int64_t k = 0; k < t.value_features; k += 16) {
        store16(row + k, _mm512_mul_ps(_mm512_loadu_ps(from + k), inverse),
                lane_mask(std::min<int64_t>(16, t.value_features - k)));
      }
    }
  }

  static AttentionVersion version() { return {&pack_keys, &pack_values, &attend, kQueries}; }
};

}  // namespace

AttentionVersion attention_avx512(DType type, bool bf16_pairs) {
  if (type == DType::F32) return Kernels<float, false>::version();
  return bf16_pairs ? Kernels<BFloat16, true>::version() : Kernels<BFloat16, false>::version();
}

int64_t attention512_scratch_floats(int64_t features, int64_t value_features) {
  return kQueries * (features + 1 + kKeyBlock + round_up(value_features, kLanes) + 2);
}

}  // namespace regraft::cpu
