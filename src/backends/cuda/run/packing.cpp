#include "backends/cuda/run/packing.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <string_view>

#include "base/fail.h"

namespace regraft::cuda {
namespace {

constexpr std::string_view kOrder = "order:", kChannels = "channels:";
constexpr int64_t kMostChannels = 64;

[[noreturn]] void unknown(const backends::Packing& packing, const Dims& dims) {
  base::fail("backends", ErrorCode::Unsupported, "cuda: unknown packing '", packing.id,
             "' of a tensor of ", dims.size(), " dimensions");
}

// Takes the number that `rest` begins with; nothing where it begins with none.
std::optional<int64_t> take_number(std::string_view& rest) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc{} || number < 0) return std::nullopt;
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  return number;
}

bool take(std::string_view& rest, std::string_view word) {
  if (!rest.starts_with(word)) return false;
  rest.remove_prefix(word.size());
  return true;
}

// The number of channels that an id begins with, and what follows; 0 for none.
int64_t take_channels(const backends::Packing& packing, std::string_view& rest, const Dims& dims) {
  if (!take(rest, kChannels)) return 0;
  const auto channels = take_number(rest);
  if (!channels || !take(rest, " ") || dims.size() < 2 || *channels > kMostChannels ||
      *channels <= dims[1]) {
    unknown(packing, dims);
  }
  return *channels;
}

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

backends::Packing packing_of(const backends::Operand& operand, const std::vector<size_t>& order,
                             int64_t channels) {
  Dims dims = operand.dims;
  if (channels > 0) dims[1] = channels;
  const size_t bytes = static_cast<size_t>(numel(dims)) * item_size(operand.dtype);
  if (channels == 0 && std::is_sorted(order.begin(), order.end())) return {"plain", bytes};
  std::string id = channels > 0 ? base::cat(kChannels, channels, " ", kOrder) : std::string(kOrder);
  for (size_t i = 0; i < order.size(); ++i)
    id += (i == 0 ? "" : ",") + std::to_string(order[i]);
  return {std::move(id), bytes};
}

Dims packed_dims(const backends::Packing& packing, const Dims& dims) {
  std::string_view rest = packing.id;
  const int64_t channels = take_channels(packing, rest, dims);
  Dims out = dims;
  if (channels > 0) out[1] = channels;
  return out;
}

Dims packed_strides(const backends::Packing& packing, const Dims& dims, DType dtype) {
  const Dims whole = packed_dims(packing, dims);
  const size_t want = static_cast<size_t>(numel(whole)) * item_size(dtype);
  if (packing.bytes != want) {
    base::fail("backends", ErrorCode::Corrupt, "cuda: packing ", packing.id, " of ", packing.bytes,
               " bytes, want ", want);
  }
  if (packing.is_plain()) return contiguous_strides(dims);
  std::string_view rest = packing.id;
  take_channels(packing, rest, dims);
  bool is_order = take(rest, kOrder);
  std::vector<size_t> order;
  while (is_order && !rest.empty()) {
    const auto axis = take_number(rest);
    is_order = axis && *axis < static_cast<int64_t>(dims.size()) &&
               std::find(order.begin(), order.end(), static_cast<size_t>(*axis)) == order.end() &&
               (rest.empty() || take(rest, ","));
    if (is_order) order.push_back(static_cast<size_t>(*axis));
  }
  if (!is_order || order.size() != dims.size()) unknown(packing, dims);
  return strides_of(whole, order);
}

}  // namespace regraft::cuda
