#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace regraft {

// Element types. Ids are stored in engine files: append-only.
enum class DType : uint8_t {
  Bool = 0,
  U8 = 1,
  I8 = 2,
  I16 = 3,
  I32 = 4,
  I64 = 5,
  F16 = 6,
  BF16 = 7,
  F32 = 8,
  F64 = 9,
  C64 = 10,   // complex of two f32
  C128 = 11,  // complex of two f64
  // Only stored, moved and converted: ops do not calculate with them.
  F8E4M3FN = 12,  // torch.float8_e4m3fn
  F8E5M2 = 13,    // torch.float8_e5m2
};
inline constexpr int kDTypeCount = 14;

// Bytes of one element.
size_t item_size(DType dtype);
// Short name: "bool", "u8", "i64", "f16", "bf16", "f32", "c64", "f8e5m2", ...
std::string_view name(DType dtype);
// The dtype of a short name, or nothing.
std::optional<DType> try_parse_dtype(std::string_view text);
bool is_floating(DType dtype);  // f16, bf16, f32, f64, f8e4m3fn, f8e5m2
bool is_float8(DType dtype);
bool is_complex(DType dtype);
bool is_integral(DType dtype);  // u8 to i64; bool is not integral

// Sizes and strides are in elements, outermost dimension first.
using Dims = std::vector<int64_t>;

// Product of the sizes. Throws Error{OutOfMemory} on overflow of int64 and Error{InvalidArgument}
// on a negative size.
int64_t numel(const Dims& dims);
// Row-major strides of `dims`. Throws Error{OutOfMemory} on overflow of int64.
Dims contiguous_strides(const Dims& dims);
// "[2,3]"
std::string to_string(const Dims& dims);

// Read-only, non-owning view of strided memory. Copyable; the caller keeps the memory alive.
// Strides may be zero (expanded) but not negative.
struct TensorView {
  const void* data = nullptr;
  DType dtype = DType::F32;
  Dims dims;
  Dims strides;

  TensorView() = default;
  // A row-major view.
  TensorView(const void* data, DType dtype, Dims dims);
  TensorView(const void* data, DType dtype, Dims dims, Dims strides);

  int64_t count() const { return numel(dims); }
  size_t bytes() const { return static_cast<size_t>(count()) * item_size(dtype); }
  bool is_contiguous() const;
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  // "f32[2,3]"
  std::string spec() const;
};

// A view that may be written through.
struct MutableTensorView : TensorView {
  MutableTensorView() = default;
  MutableTensorView(void* data, DType dtype, Dims dims)
      : TensorView(data, dtype, std::move(dims)) {}
  MutableTensorView(void* data, DType dtype, Dims dims, Dims strides)
      : TensorView(data, dtype, std::move(dims), std::move(strides)) {}
  void* mutable_data() const { return const_cast<void*>(data); }
  template <typename T>
  T* as_mutable() const {
    return static_cast<T*>(mutable_data());
  }
};

// Owning row-major host tensor, 64-byte aligned. Copies share the memory.
// Thread-safety: as a shared_ptr; concurrent writers need their own order.
class Tensor {
 public:
  Tensor() = default;
  // Uninitialised memory. Throws Error{OutOfMemory}.
  Tensor(DType dtype, Dims dims);
  // A row-major copy of a view of any strides.
  static Tensor copy_of(const TensorView& view);

  const Dims& dims() const { return view_.dims; }
  DType dtype() const { return view_.dtype; }
  TensorView view() const { return view_; }
  MutableTensorView mutable_view() const { return view_; }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  std::shared_ptr<void> memory_;
  MutableTensorView view_;
};

}  // namespace regraft
