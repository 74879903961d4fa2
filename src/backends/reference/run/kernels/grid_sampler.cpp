#include "backends/grid_axis.h"
#include "backends/reference/run/sample.h"

namespace regraft::reference {
namespace {

template <typename R>
void sample_grid(const Call& call) {
  const Attributes& attributes = call.attributes();
  const std::string& mode = attributes.text("mode");
  const auto padding = backends::grid_padding(attributes.text("padding"));
  const Tensor x = doubles(call, 0), grid = doubles(call, 1);
  const Tensor result(DType::F64, call.out(0).dims);
  const size_t spatial = x.dims().size() - 2;
  check_size("grid_sampler", "batch of grid", x.dims()[0], grid.dims()[0]);
  check_size("grid_sampler", "coordinates", static_cast<int64_t>(spatial), grid.dims().back());
  check_planes("grid_sampler", call.in(0), spatial);
  const Triple in = spatial_sizes(x.dims(), spatial);
  const int64_t places = product(spatial_sizes(result.dims(), spatial));
  const int64_t images = x.dims()[0], channels = x.dims()[1];

  base::parallel_for(images * places, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Sample along[3] = {{1, {0}, {1.0}}, {}, {}};
      const double* at = grid.view().as<double>() + i * static_cast<int64_t>(spatial);
      // The grid names the last axis first.
      for (size_t axis = 0; axis < spatial; ++axis) {
        along[2 - axis] =
            backends::grid_sample<R>({in[2 - axis], padding, attributes.flag("align_corners")},
                                     static_cast<R>(at[axis]), mode);
      }
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t plane = i / places * channels + c;
        result.mutable_view().as_mutable<double>()[plane * places + i % places] =
            blend(x.view().as<double>() + plane * product(in), in, along[0], along[1], along[2]);
      }
    }
  });
  copy(result.view(), call.out(0));
}

void grid_sampler(const Call& call) {
  call.in(0).dtype == DType::F64 ? sample_grid<double>(call) : sample_grid<float>(call);
}

constexpr KernelDef kKernels[] = {{"grid_sampler", grid_sampler}};

}  // namespace

extern const KernelFile k_kernels_grid_sampler = kKernels;

}  // namespace regraft::reference
