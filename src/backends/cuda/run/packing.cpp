#include "backends/cuda/run/packing.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "base/fail.h"

namespace regraft::cuda {
namespace {

constexpr std::string_view kPrefix = "order:";

}  // namespace

std::vector<size_t> channels_last(size_t rank) {
  std::vector<size_t> order(rank);
  std::iota(order.begin(), order.end(), size_t{0});
  if (rank > 2) std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return order;
}

Dims strides_of(const Dims& dims, const std::vector<size_t>& order) {
  Dims strides(dims.size(), 1);
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= std::max<int64_t>(dims[order[i]], 1);
  }
  return strides;
}

backends::Packing packing_of(const backends::Operand& operand, const std::vector<size_t>& order) {
  const size_t bytes = static_cast<size_t>(numel(operand.dims)) * item_size(operand.dtype);
  if (std::is_sorted(order.begin(), order.end())) return {"plain", bytes};
  std::string id(kPrefix);
  for (size_t i = 0; i < order.size(); ++i)
    id += (i == 0 ? "" : ",") + std::to_string(order[i]);
  return {std::move(id), bytes};
}

Dims packed_strides(const backends::Packing& packing, const Dims& dims, DType dtype) {
  const size_t want = static_cast<size_t>(numel(dims)) * item_size(dtype);
  if (packing.bytes != want) {
    base::fail("backends", ErrorCode::Corrupt, "cuda: packing ", packing.id, " of ", packing.bytes,
               " bytes, want ", want);
  }
  if (packing.is_plain()) return contiguous_strides(dims);
  std::vector<size_t> order;
  std::string_view rest = packing.id;
  bool is_order = rest.starts_with(kPrefix);
  if (is_order) rest.remove_prefix(kPrefix.size());
  while (is_order && !rest.empty()) {
    size_t axis = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), axis);
    is_order = error == std::errc{} && axis < dims.size() &&
               std::find(order.begin(), order.end(), axis) == order.end();
    order.push_back(axis);
    rest.remove_prefix(std::min(rest.size(), static_cast<size_t>(end - rest.data()) + 1));
  }
  if (!is_order || order.size() != dims.size()) {
    base::fail("backends", ErrorCode::Unsupported, "cuda: unknown packing '", packing.id,
               "' of a tensor of ", dims.size(), " dimensions");
  }
  return strides_of(dims, order);
}

}  // namespace regraft::cuda
