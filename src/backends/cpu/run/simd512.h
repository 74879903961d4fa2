#pragma once

#include <immintrin.h>

#include "backends/cpu/run/isa.h"
#include "tensor/convert.h"

namespace regraft::cpu {

// Pieces of AVX-512 kernels. Callers are functions with REGRAFT_TARGET_AVX512.
#define REGRAFT_V512 [[REGRAFT_TARGET_AVX512, gnu::always_inline]] inline

// Of the first `count` lanes, 0 to 16.
REGRAFT_V512 __mmask16 lane_mask(int64_t count) {
  return static_cast<__mmask16>((1U << count) - 1U);
}

// Lanes outside the mask are zero and not read.
REGRAFT_V512 __m512 load16(const float* from, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, from);
}
REGRAFT_V512 __m512 load16(const BFloat16* from, __mmask16 mask) {
  const __m256i bits = _mm256_maskz_loadu_epi16(mask, from);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
REGRAFT_V512 __m512 load16(const float* from) { return _mm512_loadu_ps(from); }
REGRAFT_V512 __m512 load16(const BFloat16* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// Rounds to nearest even as to_bfloat16 does (the machine's own conversion flushes denormals). The
// result stands in the upper half of each element; the lower half is zero.
REGRAFT_V512 __m512i round_to_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_and_si512(_mm512_mask_mov_epi32(up, nan, quiet),
                          _mm512_set1_epi32(static_cast<int>(0xffff0000U)));
}

REGRAFT_V512 __m256i narrow_to_bf16(__m512 x) {
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_to_bf16(x), 16));
}

REGRAFT_V512 void store16(float* to, __m512 x) { _mm512_storeu_ps(to, x); }
REGRAFT_V512 void store16(BFloat16* to, __m512 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), narrow_to_bf16(x));
}
REGRAFT_V512 void store16(float* to, __m512 x, __mmask16 mask) {
  _mm512_mask_storeu_ps(to, mask, x);
}
REGRAFT_V512 void store16(BFloat16* to, __m512 x, __mmask16 mask) {
  _mm256_mask_storeu_epi16(to, mask, narrow_to_bf16(x));
}

// Writes around the caches; `to` must be aligned to the vector's size.
REGRAFT_V512 void stream16(float* to, __m512 x) { _mm512_stream_ps(to, x); }
REGRAFT_V512 void stream16(BFloat16* to, __m512 x) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), narrow_to_bf16(x));
}

REGRAFT_V512 void transpose_16x16(__m512 (&r)[16]) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

}  // namespace regraft::cpu
