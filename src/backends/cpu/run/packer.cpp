#include "backends/cpu/run/packer.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/parallel.h"
#include "base/stream_copy.h"
#include "tensor/convert.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kLanes = 16;
// Lanes and rows that one unit of parallel work packs: 16 KiB of f32, inside the L1 cache.
constexpr int64_t kUnitLanes = 64;
constexpr int64_t kUnitRows = 256;
// Bigger targets are written around the caches.
constexpr size_t kStreamingBytes = size_t{1} << 20;

// Whether aligned blocks of 16 positions lie `step` elements apart.
bool has_lanes(const std::vector<int64_t>& offsets, int64_t step) {
  if (offsets.empty() || offsets.size() % kLanes != 0) return false;
  for (size_t x = 0; x < offsets.size(); ++x) {
    if (x % kLanes != 0 && offsets[x] - offsets[x - 1] != step) return false;
  }
  return true;
}

bool has_pairs(const std::vector<int64_t>& offsets) {
  if (offsets.empty() || offsets.size() % 2 != 0) return false;
  for (size_t x = 1; x < offsets.size(); x += 2) {
    if (offsets[x] - offsets[x - 1] != 1) return false;
  }
  return true;
}

// Counts through positions of several dimensions, the last of `order` fastest.
class Odometer {
 public:
  Odometer(std::vector<size_t> order, const Dims& sizes)
      : order_(std::move(order)), sizes_(sizes), at_(sizes.size(), 0) {}
  const Dims& at() const { return at_; }
  void next() {
    for (size_t i = order_.size(); i-- > 0;) {
      if (++at_[order_[i]] < sizes_[order_[i]]) return;
      at_[order_[i]] = 0;
    }
  }

 private:
  std::vector<size_t> order_;
  const Dims& sizes_;
  Dims at_;
};

}  // namespace

Packer::Packer(const backends::Operand& from, DType through, const PackedLayout& layout)
    : layout_(layout),
      from_(from.dtype),
      through_(through),
      strides_(layout.view().strides(layout.logical(), from.strides)) {
  if (from.dims != layout.logical()) {
    base::fail("backends", ErrorCode::Mismatch, "cpu: packing wants a tensor of ",
               to_string(layout.logical()), ", has ", to_string(from.dims));
  }
  for (size_t d = 0; d < layout.dims().size(); ++d)
    target_.push_back(layout.offsets(d));
  tile_ = pack_tile_function(from_, through_, layout.dtype(), isa());
  if (tile_ != nullptr) lanes_ = find_lanes();
  if (lanes_) tabulate();
}

std::optional<Packer::Lanes> Packer::find_lanes() const {
  for (size_t d = 0; d < target_.size(); ++d) {
    if (has_lanes(target_[d], 1)) return Lanes{d, std::nullopt};
    if (layout_.dtype() != DType::BF16 || !has_lanes(target_[d], 2)) continue;
    for (size_t p = 0; p < target_.size(); ++p) {
      if (p != d && has_pairs(target_[p])) return Lanes{d, p};
    }
  }
  return std::nullopt;
}

void Packer::tabulate() {
  const Dims& dims = layout_.dims();
  // Rows in the order of the source, so that neighbours are read together.
  std::vector<size_t> order;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (d != lanes_->dim) order.push_back(d);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return strides_[a] > strides_[b]; });
  int64_t count = 1, padded_count = 1;
  for (const size_t d : order) {
    count *= dims[d];
    padded_count *= layout_.padded()[d];
  }
  int64_t pair = 0;  // Rows between partners.
  if (lanes_->pair_dim) {
    const size_t p = *lanes_->pair_dim;
    pair = 1;
    for (size_t i = order.size(); order[--i] != p;)
      pair *= dims[order[i]];
    const bool alone = pair * dims[p] == count || dims[p] % 2 == 0;
    row_period_ = alone ? 2 * pair : dims[p] * pair;
  }
  Odometer rows(order, dims);
  for (int64_t r = 0; r < count; ++r, rows.next()) {
    int64_t source = 0, target = 0;
    for (const size_t d : order) {
      source += rows.at()[d] * strides_[d];
      target += target_[d][static_cast<size_t>(rows.at()[d])];
    }
    source_rows_.push_back(source);
    target_rows_.push_back(target);
    if (!lanes_->pair_dim) continue;
    const int64_t x = rows.at()[*lanes_->pair_dim];
    const bool has_partner = x + 1 < dims[*lanes_->pair_dim];
    partners_.push_back(x % 2 == 1    ? kIsPartner
                        : has_partner ? static_cast<int32_t>(pair)
                                      : kNoPartner);
  }
  runs_.assign(source_rows_.size(), 1);
  for (size_t r = runs_.size(); r-- > 1;) {
    if (source_rows_[r] == source_rows_[r - 1] + 1) runs_[r - 1] = runs_[r] + 1;
  }
  const int64_t row_elements = kLanes * (lanes_->pair_dim ? 2 : 1);
  const auto aligned = [&](int64_t offset) { return offset % row_elements == 0; };
  aligned_rows_ = std::all_of(target_rows_.begin(), target_rows_.end(), [&](int64_t offset) {
    return aligned(lanes_->pair_dim ? offset / 2 * 2 : offset);
  });
  for (size_t x = 0; x < target_[lanes_->dim].size(); x += kLanes) {
    aligned_rows_ = aligned_rows_ && aligned(target_[lanes_->dim][x]);
  }
  if (count == padded_count) return;
  Odometer padded(order, layout_.padded());
  for (int64_t r = 0; r < padded_count; ++r, padded.next()) {
    bool outside = false, partner = false;
    int64_t target = 0;
    for (const size_t d : order) {
      const int64_t x = padded.at()[d];
      outside = outside || x >= dims[d];
      partner = partner || (lanes_->pair_dim == d && x % 2 == 1);
      target += target_[d][static_cast<size_t>(x)];
    }
    if (outside && !partner) padding_rows_.push_back(target);
  }
}

bool Packer::takes_scale(const backends::Operand& scale) const {
  const Dims& logical = layout_.logical();
  if (!lanes_ || scale.dtype != DType::F32 || scale.dims.size() != logical.size()) return false;
  Dims broadcast = scale.strides;
  for (size_t d = 0; d < logical.size(); ++d) {
    if (scale.dims[d] != 1 && scale.dims[d] != logical[d]) return false;
    if (scale.dims[d] == 1) broadcast[d] = 0;
  }
  const Dims strides = layout_.view().strides(logical, broadcast);
  for (size_t d = 0; d < strides.size(); ++d) {
    const bool is_constant = strides[d] == 0 || layout_.dims()[d] == 1;
    if (d == lanes_->dim ? strides[d] != 1 : !is_constant) return false;
  }
  return true;
}

void Packer::run(const void* source, void* target, const float* scale) const {
  lanes_ ? run_tiles(source, target, scale) : run_elements(source, target);
}

void Packer::run_tiles(const void* source, void* target, const float* scale) const {
  const size_t v = lanes_->dim;
  const int64_t lane_count = layout_.dims()[v];
  const int64_t padded_lanes = layout_.padded()[v];
  const auto row_count = static_cast<int64_t>(source_rows_.size());
  const size_t from_size = item_size(from_), to_size = item_size(layout_.dtype());
  const int64_t tile_rows = (std::max(kUnitRows, row_period_) / row_period_) * row_period_;
  const int64_t lane_units = (padded_lanes + kUnitLanes - 1) / kUnitLanes;
  const int64_t row_units = std::max<int64_t>(1, (row_count + tile_rows - 1) / tile_rows);
  const int64_t row_elements = kLanes * (lanes_->pair_dim ? 2 : 1);
  const bool streaming = aligned_rows_ && layout_.bytes() >= kStreamingBytes &&
                         reinterpret_cast<uintptr_t>(target) % 64 == 0;
  auto* const out = static_cast<char*>(target);
  base::parallel_for(lane_units * row_units, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> staging(static_cast<size_t>(tile_rows * kLanes + kLanes));
    auto* const aligned =
        reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(staging.data()) + 63) / 64 * 64);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t row = unit % row_units * tile_rows;
      const int64_t first = unit / row_units * kUnitLanes;
      for (int64_t o = first; o < std::min(first + kUnitLanes, padded_lanes); o += kLanes) {
        char* const to = out + target_[v][static_cast<size_t>(o)] * static_cast<int64_t>(to_size);
        PackTile tile;
        tile.source = static_cast<const char*>(source) +
                      std::min(o, lane_count - 1) * strides_[v] * static_cast<int64_t>(from_size);
        tile.target = to;
        tile.source_rows = source_rows_.data() + row;
        tile.target_rows = target_rows_.data() + row;
        tile.partners = lanes_->pair_dim ? partners_.data() + row : nullptr;
        tile.runs = runs_.data() + row;
        tile.rows = std::min(tile_rows, row_count - row);
        tile.lanes = std::clamp<int64_t>(lane_count - o, 0, kLanes);
        tile.lane_stride = strides_[v];
        tile.scale = scale == nullptr ? nullptr : scale + std::min(o, lane_count - 1);
        tile.streaming = streaming;
        tile_(tile, aligned);
        if (row != 0) continue;
        for (const int64_t padding : padding_rows_) {
          std::memset(to + padding * static_cast<int64_t>(to_size), 0,
                      static_cast<size_t>(row_elements) * to_size);
        }
      }
    }
    if (streaming) base::finish_streaming();
  });
}

void Packer::run_elements(const void* source, void* target) const {
  const Dims& dims = layout_.dims();
  const size_t rank = dims.size();
  std::memset(target, 0, layout_.bytes());
  const int64_t inner = dims.back(), outer = inner == 0 ? 0 : numel(dims) / inner;
  visit(from_, [&](auto from_tag) {
    using From = decltype(from_tag);
    const auto* const in = static_cast<const From*>(source);
    const auto value = [&](int64_t at) {
      if constexpr (kIsComplex<From>) {
        return convert<float>(in[at]);
      } else {
        // One rounding: from the source's own precision to `through`.
        return through_ == DType::BF16 ? to_float(convert<BFloat16>(in[at]))
                                       : convert<float>(in[at]);
      }
    };
    base::parallel_for(outer, 1 + 16384 / std::max<int64_t>(inner, 1),
                       [&](int64_t begin, int64_t end) {
                         for (int64_t row = begin; row < end; ++row) {
                           int64_t rest = row, from = 0, to = 0;
                           for (size_t d = rank - 1; d-- > 0;) {
                             const int64_t x = rest % dims[d];
                             rest /= dims[d];
                             from += x * strides_[d];
                             to += target_[d][static_cast<size_t>(x)];
                           }
                           for (int64_t x = 0; x < inner; ++x) {
                             const float element = value(from + x * strides_[rank - 1]);
                             const int64_t at = to + target_[rank - 1][static_cast<size_t>(x)];
                             if (layout_.dtype() == DType::BF16) {
                               static_cast<BFloat16*>(target)[at] = to_bfloat16(element);
                             } else {
                               static_cast<float*>(target)[at] = element;
                             }
                           }
                         }
                       });
  });
}

}  // namespace regraft::cpu
