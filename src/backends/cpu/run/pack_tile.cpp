#include <algorithm>
#include <bit>

#include "backends/cpu/run/packer.h"
#include "backends/cpu/run/simd512.h"
#include "tensor/convert.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kLanes = 16;

REGRAFT_INLINE float widen(float x) { return x; }
REGRAFT_INLINE float widen(BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
template <bool kRound>
REGRAFT_INLINE float rounded(float x) {
  return kRound ? widen(to_bfloat16(x)) : x;
}

// Plain loops: rows to staging, staging to target.
template <typename From, typename To, bool kRound>
struct PlainTile {
  REGRAFT_INLINE static void run(const PackTile* tile, float* staging) {
    const auto* const source = static_cast<const From*>(tile->source);
    for (int64_t r = 0; r < tile->rows; ++r) {
      float* const row = staging + r * kLanes;
      const From* const from = source + tile->source_rows[r];
      for (int64_t i = 0; i < tile->lanes; ++i) {
        const float x = widen(from[i * tile->lane_stride]);
        row[i] = rounded<kRound>(tile->scale == nullptr ? x : x * tile->scale[i]);
      }
      for (int64_t i = tile->lanes; i < kLanes; ++i)
        row[i] = 0;
    }
    auto* const target = static_cast<To*>(tile->target);
    for (int64_t r = 0; r < tile->rows; ++r) {
      To* const to = target + tile->target_rows[r];
      const float* const row = staging + r * kLanes;
      if (tile->partners == nullptr) {
        for (int64_t i = 0; i < kLanes; ++i)
          to[i] = convert<To>(row[i]);
        continue;
      }
      const int32_t partner = tile->partners[r];
      if (partner == kIsPartner) continue;
      for (int64_t i = 0; i < kLanes; ++i) {
        to[2 * i] = convert<To>(row[i]);
        to[2 * i + 1] = convert<To>(partner == kNoPartner ? 0.0F : row[partner * kLanes + i]);
      }
    }
  }
};

// ---- AVX-512 ----

// Elements that a lane is fetched ahead: 16 lanes are more streams than the machine follows itself.
constexpr int64_t kAhead = 64;

REGRAFT_V512 void store_pair(BFloat16* to, __m512 even, __m512 odd, bool streaming) {
  const __m512i low = _mm512_srli_epi32(round_to_bf16(even), 16);
  const __m512i both = _mm512_or_si512(low, round_to_bf16(odd));
  streaming ? _mm512_stream_si512(reinterpret_cast<__m512i*>(to), both)
            : _mm512_storeu_si512(to, both);
}

// A row that was read goes to its place in a dense target, else to staging.
template <typename To, bool kRound>
struct RowSink {
  const PackTile& tile;
  float* staging;
  __m512 scale;

  REGRAFT_V512 void put(int64_t r, __m512 row) const {
    if (tile.scale != nullptr) row = _mm512_mul_ps(row, scale);
    if constexpr (kRound) row = _mm512_castsi512_ps(round_to_bf16(row));
    if (tile.partners != nullptr) {
      _mm512_store_ps(staging + r * kLanes, row);
      return;
    }
    To* const to = static_cast<To*>(tile.target) + tile.target_rows[r];
    tile.streaming ? stream16(to, row) : store16(to, row);
  }
};

// Rows that are neighbours in the source: 16 lanes are read along the rows and transposed.
template <typename From, typename Sink>
REGRAFT_V512 void read_whole_block(const PackTile& tile, int64_t r, const Sink& sink) {
  const From* from = static_cast<const From*>(tile.source) + tile.source_rows[r];
  __m512 block[16];
  for (int64_t i = 0; i < 16; ++i) {
    block[i] = load16(from);
    _mm_prefetch(reinterpret_cast<const char*>(from + kAhead), _MM_HINT_T0);
    from += tile.lane_stride;
  }
  transpose_16x16(block);
  for (int64_t i = 0; i < 16; ++i)
    sink.put(r + i, block[i]);
}

template <typename From, typename Sink>
REGRAFT_V512 void read_block(const PackTile& tile, int64_t r, int64_t count, const Sink& sink) {
  const __mmask16 mask = lane_mask(count);
  const From* from = static_cast<const From*>(tile.source) + tile.source_rows[r];
  __m512 block[16];
  for (int64_t i = 0; i < 16; ++i) {
    block[i] = i < tile.lanes ? load16(from, mask) : _mm512_setzero_ps();
    from += i + 1 < tile.lanes ? tile.lane_stride : 0;
  }
  transpose_16x16(block);
  for (int64_t i = 0; i < count; ++i)
    sink.put(r + i, block[i]);
}

template <typename From, typename Sink>
REGRAFT_V512 void read_row(const PackTile& tile, int64_t r, const Sink& sink) {
  const From* const from = static_cast<const From*>(tile.source) + tile.source_rows[r];
  if (tile.lane_stride == 1) {
    sink.put(r, load16(from, lane_mask(tile.lanes)));
    return;
  }
  alignas(64) float row[kLanes] = {};
  for (int64_t i = 0; i < tile.lanes; ++i)
    row[i] = widen(from[i * tile.lane_stride]);
  sink.put(r, _mm512_load_ps(row));
}

template <typename From, typename To, bool kRound>
[[REGRAFT_TARGET_AVX512]] void avx512_tile(const PackTile& tile, float* staging) {
  const __m512 scale =
      tile.scale == nullptr ? _mm512_setzero_ps() : load16(tile.scale, lane_mask(tile.lanes));
  const RowSink<To, kRound> sink{tile, staging, scale};
  for (int64_t r = 0; r < tile.rows;) {
    const int64_t count = std::min<int64_t>({16, tile.runs[r], tile.rows - r});
    if (tile.lane_stride == 1 || count < 4) {
      read_row<From>(tile, r++, sink);
      continue;
    }
    if (count == 16 && tile.lanes == 16) {
      read_whole_block<From>(tile, r, sink);
    } else {
      read_block<From>(tile, r, count, sink);
    }
    r += count;
  }
  if constexpr (std::is_same_v<To, BFloat16>) {
    auto* const target = static_cast<BFloat16*>(tile.target);
    for (int64_t r = 0; tile.partners != nullptr && r < tile.rows; ++r) {
      const int32_t partner = tile.partners[r];
      if (partner == kIsPartner) continue;
      const __m512 odd = partner == kNoPartner ? _mm512_setzero_ps()
                                               : _mm512_load_ps(staging + (r + partner) * kLanes);
      store_pair(target + tile.target_rows[r], _mm512_load_ps(staging + r * kLanes), odd,
                 tile.streaming);
    }
  }
}

template <typename From, typename To, bool kRound>
PackTileFunction choose(Isa isa) {
  if (isa == Isa::Avx512) return &avx512_tile<From, To, kRound>;
  if (isa == Isa::Avx2) {
    return [](const PackTile& tile, float* staging) {
      run_avx2<PlainTile<From, To, kRound>>(&tile, staging);
    };
  }
  return [](const PackTile& tile, float* staging) {
    run_baseline<PlainTile<From, To, kRound>>(&tile, staging);
  };
}

}  // namespace

PackTileFunction pack_tile_function(DType from, DType through, DType to, Isa isa) {
  const bool round = through == DType::BF16 && to == DType::F32 && from == DType::F32;
  if (from == DType::F32 && to == DType::F32) {
    return round ? choose<float, float, true>(isa) : choose<float, float, false>(isa);
  }
  if (from == DType::F32 && to == DType::BF16) return choose<float, BFloat16, false>(isa);
  if (from == DType::BF16 && to == DType::F32) return choose<BFloat16, float, false>(isa);
  if (from == DType::BF16 && to == DType::BF16) return choose<BFloat16, BFloat16, false>(isa);
  return nullptr;
}

}  // namespace regraft::cpu
