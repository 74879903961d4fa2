#include <algorithm>

#include "backends/reference/run/indexing.h"
#include "backends/reference/run/rows.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

// How the elements of x[indices] lie in x and in the tensor of the result's dims. Element (p, k) is
// at in_x[p] + kept_in_x[k] and at in_result[p] + kept_in_result[k], where p runs over the
// broadcast positions of the index tensors and k over the dims that are not indexed.
struct Selection {
  std::vector<int64_t> in_x, in_result, kept_in_x, kept_in_result;
};

std::vector<int64_t> all_offsets(const Dims& dims, const Dims& strides) {
  std::vector<int64_t> offsets(static_cast<size_t>(numel(dims)));
  for (size_t i = 0; i < offsets.size(); ++i) {
    offsets[i] = offset_of(static_cast<int64_t>(i), dims, strides);
  }
  return offsets;
}

Dims broadcast_dims(const Call& call, size_t first) {
  Dims dims;
  for (size_t i = first; i < call.input_count(); ++i) {
    if (!call.has(i)) continue;
    const Dims& other = call.in(i).dims;
    if (other.size() > dims.size()) dims.insert(dims.begin(), other.size() - dims.size(), 1);
    for (size_t k = 0; k < other.size(); ++k) {
      int64_t& size = dims[dims.size() - 1 - k];
      if (size == 1) size = other[other.size() - 1 - k];
    }
  }
  return dims;
}

// The axis of the result at which the broadcast dims stand: that of the first index where the
// indexed axes are neighbours, else 0.
size_t broadcast_axis(const Call& call, size_t first, size_t rank) {
  size_t begin = rank, runs = 0;
  for (size_t i = 0; i < rank; ++i) {
    if (!call.has(first + i)) continue;
    begin = std::min(begin, i);
    if (i == 0 || !call.has(first + i - 1)) ++runs;
  }
  return runs == 1 ? begin : 0;
}

// Dims of x[indices], where x is input 0.
Dims result_dims(const Call& call, size_t first) {
  const Dims& x = call.in(0).dims;
  Dims dims;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!call.has(first + i)) dims.push_back(x[i]);
  }
  const Dims positions = broadcast_dims(call, first);
  const size_t at = broadcast_axis(call, first, x.size());
  dims.insert(dims.begin() + static_cast<std::ptrdiff_t>(at), positions.begin(), positions.end());
  return dims;
}

// Inputs from `first` on are the index tensors of `x`; `strides` are those of the other tensor,
// broadcast to the result's dims. Negative indices count from the end.
Selection select(std::string_view op, const Call& call, size_t first, const TensorView& x,
                 const Dims& strides) {
  const Dims positions = broadcast_dims(call, first);
  const size_t at = broadcast_axis(call, first, x.dims.size());
  const auto begin = strides.begin() + static_cast<std::ptrdiff_t>(at);
  const auto end = begin + static_cast<std::ptrdiff_t>(positions.size());
  Selection out;
  out.in_result = all_offsets(positions, Dims(begin, end));
  out.in_x.assign(out.in_result.size(), 0);
  Dims kept, kept_strides, rest(strides.begin(), begin);
  rest.insert(rest.end(), end, strides.end());
  for (size_t axis = 0; axis < x.dims.size(); ++axis) {
    if (!call.has(first + axis)) {
      kept.push_back(x.dims[axis]);
      kept_strides.push_back(x.strides[axis]);
      continue;
    }
    const TensorView& index = call.in(first + axis);
    const std::vector<int64_t> indices = read_indices(
        TensorView(index.data, index.dtype, positions, broadcast_strides(index, positions)));
    for (size_t p = 0; p < indices.size(); ++p) {
      const int64_t wrapped = indices[p] + (indices[p] < 0 ? x.dims[axis] : 0);
      check_index(op, wrapped, x.dims[axis]);
      out.in_x[p] += wrapped * x.strides[axis];
    }
  }
  out.kept_in_x = all_offsets(kept, kept_strides);
  out.kept_in_result = all_offsets(kept, rest);
  return out;
}

void index(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  const Selection where = select("index", call, 1, x, broadcast_strides(out, result_dims(call, 1)));
  const auto kept = static_cast<int64_t>(where.kept_in_x.size());
  visit(x.dtype, [&](auto tag) {
    using T = decltype(tag);
    base::parallel_for(static_cast<int64_t>(where.in_x.size()), (1 << 14) / (kept + 1) + 1,
                       [&](int64_t begin, int64_t end) {
                         for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end);
                              ++p) {
                           const T* from = x.as<T>() + where.in_x[p];
                           T* to = out.as_mutable<T>() + where.in_result[p];
                           for (size_t k = 0; k < where.kept_in_x.size(); ++k) {
                             to[where.kept_in_result[k]] = from[where.kept_in_x[k]];
                           }
                         }
                       });
  });
}

// Sequential: where an element is written twice, the last one stays.
void index_put(const Call& call) {
  const TensorView& values = call.in(1);
  const MutableTensorView& out = call.out(0);
  const bool accumulate = call.attributes().flag("accumulate");
  copy(call.in(0), out);
  const Selection where =
      select("index_put", call, 2, out, broadcast_strides(values, result_dims(call, 2)));
  visit(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    using C = Compute<T>;
    for (size_t p = 0; p < where.in_x.size(); ++p) {
      for (size_t k = 0; k < where.kept_in_x.size(); ++k) {
        T& to = out.as_mutable<T>()[where.in_x[p] + where.kept_in_x[k]];
        const T value = values.as<T>()[where.in_result[p] + where.kept_in_result[k]];
        to = accumulate ? convert<T>(convert<C>(to) + convert<C>(value)) : value;
      }
    }
  });
}

constexpr KernelDef kKernels[] = {{"index", index}, {"index_put", index_put}};

}  // namespace

extern const KernelFile k_kernels_index;
const KernelFile k_kernels_index = kKernels;

}  // namespace regraft::reference
