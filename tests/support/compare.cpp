#include "support/compare.h"

#include <cmath>
#include <complex>
#include <cstring>
#include <vector>

#include "base/text.h"
#include "tensor/convert.h"
#include "tensor/copy.h"

namespace regraft::test {
namespace {

template <typename T>
std::vector<T> read(const TensorView& view, DType dtype) {
  std::vector<T> values(static_cast<size_t>(view.count()));
  copy(view, MutableTensorView(values.data(), dtype, view.dims));
  return values;
}

std::string at(size_t i, const TensorView& view) {
  Dims position(view.dims.size());
  auto rest = static_cast<int64_t>(i);
  for (size_t axis = position.size(); axis-- > 0; rest /= view.dims[axis]) {
    position[axis] = rest % view.dims[axis];
  }
  return "at " + to_string(position) + ": ";
}

std::string float_mismatch(const TensorView& want, const TensorView& have, double allowed) {
  TensorView parts[2] = {want, have};
  for (TensorView& view : parts) {
    if (!is_complex(view.dtype)) continue;
    // The pair of numbers is one more axis; strides count elements of half the size.
    view.dtype = view.dtype == DType::C64 ? DType::F32 : DType::F64;
    for (int64_t& stride : view.strides)
      stride *= 2;
    view.dims.push_back(2);
    view.strides.push_back(1);
  }
  const auto w = read<double>(parts[0], DType::F64), h = read<double>(parts[1], DType::F64);
  double error = 0, norm = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const bool same_kind = std::isnan(w[i]) == std::isnan(h[i]) &&
                           (!(std::isinf(w[i]) || std::isinf(h[i])) || w[i] == h[i]);
    if (!same_kind) return base::cat(at(i, parts[0]), "want ", w[i], ", have ", h[i]);
    if (!std::isfinite(w[i])) continue;
    error += (w[i] - h[i]) * (w[i] - h[i]);
    norm += w[i] * w[i];
  }
  const double relative = norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
  if (relative <= allowed) return "";
  return base::cat("relative L2 error: want at most ", allowed, ", have ", relative);
}

}  // namespace

double default_tolerance(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return 0x1p-10;  // One unit in the last place.
    case DType::BF16:
      return 0x1p-7;
    case DType::F32:
    case DType::C64:
      return 1e-6;
    default:
      return 1e-14;
  }
}

std::string mismatch(const TensorView& want, const TensorView& have,
                     const std::map<std::string, double>& tolerance) {
  if (want.dtype != have.dtype || want.dims != have.dims) {
    return "want " + want.spec() + ", have " + have.spec();
  }
  if (is_floating(want.dtype) || is_complex(want.dtype)) {
    const auto stated = tolerance.find(std::string(name(want.dtype)));
    return float_mismatch(
        want, have, stated != tolerance.end() ? stated->second : default_tolerance(want.dtype));
  }
  const auto w = read<int64_t>(want, DType::I64), h = read<int64_t>(have, DType::I64);
  for (size_t i = 0; i < w.size(); ++i) {
    if (w[i] != h[i]) return base::cat(at(i, want), "want ", w[i], ", have ", h[i]);
  }
  return "";
}

std::string bit_mismatch(const TensorView& want, const TensorView& have) {
  if (want.dtype != have.dtype || want.dims != have.dims) {
    return "want " + want.spec() + ", have " + have.spec();
  }
  const Tensor w = Tensor::copy_of(want), h = Tensor::copy_of(have);
  const size_t size = item_size(want.dtype);
  for (size_t i = 0; i < static_cast<size_t>(want.count()); ++i) {
    if (std::memcmp(w.view().as<char>() + i * size, h.view().as<char>() + i * size, size) != 0) {
      return at(i, want) + "bits differ";
    }
  }
  return "";
}

}  // namespace regraft::test
