#include "regraft/tensor.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/fail.h"
#include "tensor/copy.h"

namespace regraft {
namespace {

struct DTypeInfo {
  std::string_view name;
  size_t size;
};

constexpr std::array<DTypeInfo, kDTypeCount> kDTypes = {{
    {"bool", 1},
    {"u8", 1},
    {"i8", 1},
    {"i16", 2},
    {"i32", 4},
    {"i64", 8},
    {"f16", 2},
    {"bf16", 2},
    {"f32", 4},
    {"f64", 8},
    {"c64", 8},
    {"c128", 16},
    {"f8e4m3fn", 1},
    {"f8e5m2", 1},
}};

}  // namespace

size_t item_size(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].size; }
std::string_view name(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

std::optional<DType> try_parse_dtype(std::string_view text) {
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    if (kDTypes[i].name == text) return static_cast<DType>(i);
  }
  return std::nullopt;
}

bool is_floating(DType dtype) {
  return (dtype >= DType::F16 && dtype <= DType::F64) || is_float8(dtype);
}
bool is_float8(DType dtype) { return dtype == DType::F8E4M3FN || dtype == DType::F8E5M2; }
bool is_complex(DType dtype) { return dtype == DType::C64 || dtype == DType::C128; }
bool is_integral(DType dtype) { return dtype >= DType::U8 && dtype <= DType::I64; }

int64_t numel(const Dims& dims) {
  int64_t count = 1;
  bool empty = false;
  for (const int64_t size : dims) {
    if (size < 0) {
      base::fail("tensor", ErrorCode::InvalidArgument, "negative size in ", to_string(dims));
    }
    if (size == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(count, size, &count)) {
      base::fail("tensor", ErrorCode::OutOfMemory, "too many elements: ", to_string(dims));
    }
  }
  return empty ? 0 : count;
}

Dims contiguous_strides(const Dims& dims) {
  Dims strides(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    if (__builtin_mul_overflow(stride, std::max<int64_t>(dims[i], 1), &stride)) {
      base::fail("tensor", ErrorCode::OutOfMemory, "too many elements: ", to_string(dims));
    }
  }
  return strides;
}

std::string to_string(const Dims& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) text += ',';
    text += std::to_string(dims[i]);
  }
  return text + "]";
}

TensorView::TensorView(const void* data, DType dtype, Dims dims)
    : TensorView(data, dtype, dims, contiguous_strides(dims)) {}

TensorView::TensorView(const void* data_in, DType dtype_in, Dims dims_in, Dims strides_in)
    : data(data_in), dtype(dtype_in), dims(std::move(dims_in)), strides(std::move(strides_in)) {}

bool TensorView::is_contiguous() const {
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) return true;
  int64_t expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] != 1 && strides[i] != expected) return false;
    expected *= dims[i];
  }
  return true;
}

std::string TensorView::spec() const { return base::cat(name(dtype), to_string(dims)); }

Tensor::Tensor(DType dtype, Dims dims) {
  constexpr size_t kAlignment = 64;
  const int64_t count = numel(dims);
  size_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<size_t>(count), item_size(dtype), &bytes) ||
      bytes > SIZE_MAX - kAlignment) {
    base::fail("tensor", ErrorCode::OutOfMemory, "too many bytes: ", to_string(dims));
  }
  const size_t rounded = std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) {
    base::fail("tensor", ErrorCode::OutOfMemory, "cannot allocate ", bytes, " bytes for ",
               name(dtype), to_string(dims));
  }
  memory_ = std::shared_ptr<void>(memory, std::free);
  view_ = MutableTensorView(memory, dtype, std::move(dims));
}

Tensor Tensor::copy_of(const TensorView& view) {
  Tensor tensor(view.dtype, view.dims);
  copy(view, tensor.mutable_view());
  return tensor;
}

}  // namespace regraft
