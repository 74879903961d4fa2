#include "backends/cpu/run/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "backends/cpu/run/simd512.h"
#include "base/parallel.h"
#include "tensor/copy.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kTile = 32;
constexpr int64_t kGrainElements = 16384;

template <typename From, typename To>
struct CopyRow {
  REGRAFT_INLINE static void run(const void* source, int64_t source_stride, void* target,
                                 int64_t target_stride, int64_t count) {
    const auto* from = static_cast<const From*>(source);
    auto* to = static_cast<To*>(target);
    if (source_stride == 1 && target_stride == 1) {
      if constexpr (std::is_same_v<From, To>) {
        std::memcpy(to, from, static_cast<size_t>(count) * sizeof(To));
      } else {
        for (int64_t i = 0; i < count; ++i)
          to[i] = convert<To>(from[i]);
      }
    } else if (source_stride == 0 && target_stride == 1) {
      const To value = convert<To>(from[0]);
      for (int64_t i = 0; i < count; ++i)
        to[i] = value;
    } else {
      for (int64_t i = 0; i < count; ++i)
        to[i * target_stride] = convert<To>(from[i * source_stride]);
    }
  }
};

template <typename From, typename To>
struct CopyTile {
  REGRAFT_INLINE static void run(const void* source, int64_t source_stride, void* target,
                                 int64_t target_stride, int64_t rows, int64_t columns) {
    const auto* from = static_cast<const From*>(source);
    auto* to = static_cast<To*>(target);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t i = 0; i < rows; ++i) {
        to[j * target_stride + i] = convert<To>(from[j + i * source_stride]);
      }
    }
  }
};

template <typename From, typename To>
[[REGRAFT_TARGET_AVX512]] void copy_tile_avx512(const void* source, int64_t source_stride,
                                                void* target, int64_t target_stride, int64_t rows,
                                                int64_t columns) {
  for (int64_t i = 0; i < rows; i += 16) {
    const int64_t height = std::min<int64_t>(16, rows - i);
    for (int64_t j = 0; j < columns; j += 16) {
      const int64_t width = std::min<int64_t>(16, columns - j);
      const From* from = static_cast<const From*>(source) + j + i * source_stride;
      To* to = static_cast<To*>(target) + j * target_stride + i;
      const __mmask16 in = lane_mask(width), out = lane_mask(height);
      __m512 block[16];
      for (int64_t k = 0; k < 16; ++k) {
        block[k] = k < height ? load16(from, in) : _mm512_setzero_ps();
        from += k + 1 < height ? source_stride : 0;
      }
      transpose_16x16(block);
      for (int64_t k = 0; k < width; ++k)
        store16(to + k * target_stride, block[k], out);
    }
  }
}

// A stand-in for element types that are only moved: equal sizes share one function.
template <size_t kSize>
struct Bytes {
  unsigned char bytes[kSize];
};

struct Functions {
  StridedCopy::RowFunction row = nullptr;
  StridedCopy::TileFunction tile = nullptr;
};

template <typename From, typename To>
Functions vectorised(Isa isa) {
  Functions out;
  out.row = select<CopyRow<From, To>, const void*, int64_t, void*, int64_t, int64_t>(isa);
  out.tile =
      isa == Isa::Avx512
          ? &copy_tile_avx512<From, To>
          : select<CopyTile<From, To>, const void*, int64_t, void*, int64_t, int64_t, int64_t>(isa);
  return out;
}

template <typename From, typename To>
Functions plain() {
  return {
      &run_baseline<CopyRow<From, To>, const void*, int64_t, void*, int64_t, int64_t>,
      &run_baseline<CopyTile<From, To>, const void*, int64_t, void*, int64_t, int64_t, int64_t>};
}

// Float8 and what models are computed in: rows are vectorised.
template <typename From, typename To>
Functions float8(RowCopy baseline) {
  using Row = CopyRow<From, To>;
  Functions out{baseline, plain<From, To>().tile};
  if (isa() == Isa::Avx2) out.row = &run_avx2<Row, const void*, int64_t, void*, int64_t, int64_t>;
  if (isa() == Isa::Avx512)
    out.row = &run_avx512<Row, const void*, int64_t, void*, int64_t, int64_t>;
  return out;
}

template <typename Float8>
Functions of_float8(DType from, DType to) {
  const RowCopy row = copy_row_of(from, to);
  if (to == DType::F32) return float8<Float8, float>(row);
  if (to == DType::BF16) return float8<Float8, BFloat16>(row);
  if (from == DType::F32) return float8<float, Float8>(row);
  if (from == DType::BF16) return float8<BFloat16, Float8>(row);
  return {row, nullptr};
}

Functions functions_of(DType from, DType to) {
  if (from == to) {
    switch (item_size(from)) {
      case 1:
        return plain<uint8_t, uint8_t>();
      case 2: {
        Functions out = plain<uint16_t, uint16_t>();
        // bf16 widens and narrows exactly, so it may be transposed as f32.
        if (from == DType::BF16 && isa() == Isa::Avx512) {
          out.tile = &copy_tile_avx512<BFloat16, BFloat16>;
        }
        return out;
      }
      case 4: {
        Functions out = plain<uint32_t, uint32_t>();
        if (isa() == Isa::Avx512) out.tile = &copy_tile_avx512<float, float>;
        return out;
      }
      case 8:
        return plain<uint64_t, uint64_t>();
      default:
        return plain<Bytes<16>, Bytes<16>>();
    }
  }
  if (from == DType::F32 && to == DType::BF16) return vectorised<float, BFloat16>(isa());
  if (from == DType::BF16 && to == DType::F32) return vectorised<BFloat16, float>(isa());
  if (from == DType::F8E4M3FN || to == DType::F8E4M3FN) return of_float8<Float8E4M3FN>(from, to);
  if (from == DType::F8E5M2 || to == DType::F8E5M2) return of_float8<Float8E5M2>(from, to);
  return visit_computed(from, [&](auto source) {
    return visit_computed(to,
                          [&](auto target) { return plain<decltype(source), decltype(target)>(); });
  });
}

}  // namespace

StridedCopy::RowFunction copy_row_function(DType from, DType to) {
  return functions_of(from, to).row;
}

StridedCopy::StridedCopy(const Dims& dims, DType from, const Dims& from_strides, DType to,
                         const Dims& to_strides)
    : from_size_(static_cast<int64_t>(item_size(from))),
      to_size_(static_cast<int64_t>(item_size(to))) {
  const Functions functions = functions_of(from, to);
  row_ = functions.row;
  std::vector<Loop> loops;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 0) return;  // outer_count_ stays 0.
    if (dims[d] != 1) loops.push_back({dims[d], from_strides[d], to_strides[d]});
  }
  std::stable_sort(loops.begin(), loops.end(),
                   [](const Loop& a, const Loop& b) { return a.to > b.to; });
  std::vector<Loop> merged;
  for (const Loop& loop : loops) {
    if (!merged.empty() && merged.back().from == loop.from * loop.size &&
        merged.back().to == loop.to * loop.size) {
      merged.back() = {merged.back().size * loop.size, loop.from, loop.to};
    } else {
      merged.push_back(loop);
    }
  }
  if (merged.empty()) merged.push_back({1, 1, 1});
  inner_ = merged.back();
  merged.pop_back();
  if (functions.tile != nullptr && inner_.to == 1 && inner_.from > 1) {
    const auto dense =
        std::find_if(merged.begin(), merged.end(), [](const Loop& loop) { return loop.from == 1; });
    if (dense != merged.end() && dense->size >= 4) {
      across_ = *dense;
      merged.erase(dense);
      tile_ = functions.tile;
    }
  }
  outer_ = merged;
  outer_count_ = 1;
  for (const Loop& loop : outer_)
    outer_count_ *= loop.size;
  int64_t unit = inner_.size;
  if (tile_ != nullptr) {
    outer_count_ *= (across_.size + kTile - 1) / kTile;
    unit *= kTile;
  }
  grain_ = std::max<int64_t>(1, kGrainElements / std::max<int64_t>(unit, 1));
}

void StridedCopy::run(const void* source, void* target) const {
  if (outer_count_ == 1 && tile_ == nullptr) {
    base::parallel_for(inner_.size, kGrainElements, [&](int64_t begin, int64_t end) {
      row_(static_cast<const char*>(source) + begin * inner_.from * from_size_, inner_.from,
           static_cast<char*>(target) + begin * inner_.to * to_size_, inner_.to, end - begin);
    });
    return;
  }
  base::parallel_for(outer_count_, grain_,
                     [&](int64_t begin, int64_t end) { run_range(source, target, begin, end); });
}

void StridedCopy::run_range(const void* source, void* target, int64_t begin, int64_t end) const {
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(target);
  tile_ != nullptr ? run_tiles(from, to, begin, end) : run_rows(from, to, begin, end);
}

void StridedCopy::run_rows(const char* source, char* target, int64_t begin, int64_t end) const {
  for (int64_t unit = begin; unit < end; ++unit) {
    int64_t rest = unit, from = 0, to = 0;
    for (size_t i = outer_.size(); i-- > 0;) {
      const int64_t x = rest % outer_[i].size;
      rest /= outer_[i].size;
      from += x * outer_[i].from;
      to += x * outer_[i].to;
    }
    row_(source + from * from_size_, inner_.from, target + to * to_size_, inner_.to, inner_.size);
  }
}

void StridedCopy::run_tiles(const char* source, char* target, int64_t begin, int64_t end) const {
  const int64_t tiles = (across_.size + kTile - 1) / kTile;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t column = unit % tiles * kTile;
    int64_t rest = unit / tiles, from = column, to = column * across_.to;
    for (size_t i = outer_.size(); i-- > 0;) {
      const int64_t x = rest % outer_[i].size;
      rest /= outer_[i].size;
      from += x * outer_[i].from;
      to += x * outer_[i].to;
    }
    const int64_t columns = std::min(kTile, across_.size - column);
    for (int64_t row = 0; row < inner_.size; row += kTile) {
      const int64_t rows = std::min(kTile, inner_.size - row);
      tile_(source + (from + row * inner_.from) * from_size_, inner_.from,
            target + (to + row) * to_size_, across_.to, rows, columns);
    }
  }
}

}  // namespace regraft::cpu
