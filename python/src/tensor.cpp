#include <array>

#include "base/fail.h"
#include "bindings.h"

namespace regraft::python {
namespace {

struct DLPackType {
  uint8_t code;
  uint8_t bits;
};

// By DType id.
constexpr std::array<DLPackType, kDTypeCount> kTypes = {{
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Bool), 8},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::UInt), 8},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Int), 8},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Int), 16},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Int), 32},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Int), 64},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Float), 16},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat), 16},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Float), 32},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Float), 64},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Complex), 64},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Complex), 128},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Float8_E4M3FN), 8},
    {static_cast<uint8_t>(nb::dlpack::dtype_code::Float8_E5M2), 8},
}};

DType to_dtype(nb::dlpack::dtype dtype) {
  if (const auto known = try_dtype(dtype)) return *known;
  base::fail("python", ErrorCode::Unsupported, "tensors of DLPack dtype code ",
             static_cast<int>(dtype.code), " with ", static_cast<int>(dtype.bits),
             " bits are not supported");
}

}  // namespace

std::optional<DType> try_dtype(nb::dlpack::dtype dtype) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].code == dtype.code && kTypes[i].bits == dtype.bits && dtype.lanes == 1) {
      return static_cast<DType>(i);
    }
  }
  return std::nullopt;
}

TensorView to_view(const nb::ndarray<nb::ro>& array) {
  if (array.device_type() != nb::device::cpu::value) {
    base::fail("python", ErrorCode::Mismatch,
               "want a tensor in host memory, have one on DLPack device type ",
               array.device_type());
  }
  return to_view_anywhere(array);
}

TensorView to_view_anywhere(const nb::ndarray<nb::ro>& array) {
  Dims dims, strides;
  for (size_t i = 0; i < array.ndim(); ++i) {
    dims.push_back(static_cast<int64_t>(array.shape(i)));
    strides.push_back(array.stride(i));
  }
  return {array.data(), to_dtype(array.dtype()), std::move(dims), std::move(strides)};
}

namespace {

nb::object to_torch(const TensorView& view, std::shared_ptr<const void> owner, int device_type,
                    int ordinal) {
  auto* held = new std::shared_ptr<const void>(std::move(owner));
  const nb::capsule capsule(held, [](void* pointer) noexcept {
    delete static_cast<std::shared_ptr<const void>*>(pointer);
  });
  const std::vector<size_t> shape(view.dims.begin(), view.dims.end());
  const DLPackType type = kTypes[static_cast<size_t>(view.dtype)];
  return nb::cast(nb::ndarray<nb::pytorch>(
      const_cast<void*>(view.data), shape.size(), shape.data(), capsule, view.strides.data(),
      nb::dlpack::dtype{type.code, type.bits, 1}, device_type, ordinal));
}

}  // namespace

nb::object to_torch(const TensorView& view, std::shared_ptr<const void> owner) {
  return to_torch(view, std::move(owner), nb::device::cpu::value, 0);
}

nb::object to_torch_on(const std::string& device, const TensorView& view,
                       std::shared_ptr<const void> owner) {
  const size_t colon = device.find(':');
  if (colon == std::string::npos) return to_torch(view, std::move(owner));
  return to_torch(view, std::move(owner), nb::device::cuda::value,
                  std::stoi(device.substr(colon + 1)));
}

nb::object to_torch(const Tensor& tensor) {
  auto held = std::make_shared<Tensor>(tensor);
  return to_torch(tensor.view(), held);
}

TensorView to_view(const Row& row) {
  const auto& [name, address, dtype_name, dims, strides] = row;
  const auto dtype = try_parse_dtype(dtype_name);
  if (!dtype) {
    base::fail("python", ErrorCode::Unsupported, name, ": dtype ", dtype_name, " is not supported");
  }
  return {reinterpret_cast<const void*>(address), *dtype, dims, strides};
}

std::shared_ptr<const WeightSource> to_source(const std::vector<Row>& rows) {
  std::vector<std::pair<std::string, SourceTensor>> tensors;
  tensors.reserve(rows.size());
  for (const Row& row : rows)
    tensors.emplace_back(std::get<0>(row), SourceTensor{to_view(row), nullptr, false});
  return make_source(std::move(tensors));
}

}  // namespace regraft::python
