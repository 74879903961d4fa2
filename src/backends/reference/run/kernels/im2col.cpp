#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

// Sliding windows over the planes of an image.
struct Windows {
  Triple in, kernel, stride, padding, dilation, count;
  int64_t planes;  // Of all images.

  Windows(const Call& call, const Dims& image)
      : in(spatial_sizes(image, 2)),
        kernel(triple(call, "kernel", 1)),
        stride(triple(call, "stride", 1)),
        padding(triple(call, "padding", 0)),
        dilation(triple(call, "dilation", 1)),
        planes(numel(Dims(image.begin(), image.end() - 2))) {
    for (size_t i = 0; i < 3; ++i) {
      count[i] = (in[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1;
    }
  }

  // Calls f(index in the columns, index in the image) for each element of a window that lies on
  // the image. Columns are [planes * kernel, count].
  template <typename F>
  void for_each_pair(const F& f) const {
    const int64_t taps = product(kernel);
    base::parallel_for(planes, 1, [&](int64_t begin, int64_t end) {
      for (int64_t plane = begin; plane < end; ++plane) {
        for_each_position(kernel, [&](int64_t tap, const Triple& k) {
          for_each_position(count, [&](int64_t i, const Triple& at) {
            int64_t index = plane;
            for (size_t axis = 0; axis < 3; ++axis) {
              const int64_t x = at[axis] * stride[axis] - padding[axis] + k[axis] * dilation[axis];
              if (x < 0 || x >= in[axis]) return;
              index = index * in[axis] + x;
            }
            f((plane * taps + tap) * product(count) + i, index);
          });
        });
      }
    });
  }
};

template <typename C>
void im2col(const Call& call, DType compute) {
  const Tensor x = copy_as(call.in(0), compute);
  const Tensor columns(compute, call.out(0).dims);
  auto* to = columns.mutable_view().as_mutable<C>();
  std::fill_n(to, columns.view().count(), C(0));
  Windows(call, x.dims()).for_each_pair([&](int64_t column, int64_t pixel) {
    to[column] = x.view().as<C>()[pixel];
  });
  copy(columns.view(), call.out(0));
}

template <typename C>
void col2im(const Call& call, DType compute) {
  const Tensor columns = copy_as(call.in(0), compute);
  const Tensor image(compute, call.out(0).dims);
  auto* to = image.mutable_view().as_mutable<C>();
  std::fill_n(to, image.view().count(), C(0));
  const Windows windows(call, image.dims());
  check_size("col2im", "columns of x", product(windows.count), columns.dims().back());
  check_size("col2im", "elements of x", windows.planes * product(windows.kernel),
             numel(Dims(columns.dims().begin(), columns.dims().end() - 1)));
  windows.for_each_pair(
      [&](int64_t column, int64_t pixel) { to[pixel] += columns.view().as<C>()[column]; });
  copy(image.view(), call.out(0));
}

void run_im2col(const Call& call) {
  const DType dtype = call.in(0).dtype;
  if (is_complex(dtype)) return im2col<std::complex<double>>(call, DType::C128);
  return is_floating(dtype) ? im2col<double>(call, DType::F64) : im2col<int64_t>(call, DType::I64);
}

void run_col2im(const Call& call) {
  const DType dtype = call.in(0).dtype;
  if (is_complex(dtype)) return col2im<std::complex<double>>(call, DType::C128);
  return is_floating(dtype) ? col2im<double>(call, DType::F64) : col2im<int64_t>(call, DType::I64);
}

constexpr KernelDef kKernels[] = {
    {"im2col", run_im2col},
    {"col2im", run_col2im},
};

}  // namespace

extern const KernelFile k_kernels_im2col = kKernels;

}  // namespace regraft::reference
