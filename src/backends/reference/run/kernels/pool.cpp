#include <cmath>
#include <limits>

#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

// The part of a window that lies on the plane, along one axis: positions begin, begin + step, ...
struct Range {
  int64_t begin, end, step;
};
using Window = std::array<Range, 3>;

// A pooling op: its windows over one plane, and the planes' sizes.
struct Planes {
  Triple in, out;
  int64_t count;
};

Planes planes(const Call& call, size_t spatial) {
  check_planes("pool", call.in(0), spatial);
  const Dims& dims = call.in(0).dims;
  const Dims lead(dims.begin(), dims.end() - static_cast<ptrdiff_t>(spatial));
  return {spatial_sizes(dims, spatial), spatial_sizes(call.out(0).dims, spatial), numel(lead)};
}

// Runs pool(plane of x, plane of the result, index of the result's plane) for all planes.
template <typename F>
void for_each_plane(const Planes& planes, const F& pool) {
  base::parallel_for(planes.count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      pool(i * product(planes.in), i * product(planes.out));
  });
}

// Calls f(index in the plane) for the positions of `window`.
template <typename F>
void for_each_element(const Window& window, const Triple& in, const F& f) {
  for (int64_t d = window[0].begin; d < window[0].end; d += window[0].step) {
    for (int64_t h = window[1].begin; h < window[1].end; h += window[1].step) {
      for (int64_t w = window[2].begin; w < window[2].end; w += window[2].step) {
        f((d * in[1] + h) * in[2] + w);
      }
    }
  }
}

template <typename C>
void max_pool(const Call& call, const Planes& planes, DType compute, const auto& window_at) {
  const Tensor x = copy_as(call.in(0), compute);
  const Tensor maxima(compute, call.out(0).dims);
  const Tensor indices(DType::I64, call.out(0).dims);
  C lowest = std::numeric_limits<C>::lowest();
  if constexpr (std::is_floating_point_v<C>) lowest = -std::numeric_limits<C>::infinity();
  for_each_plane(planes, [&](int64_t in, int64_t out) {
    const C* from = x.view().as<C>() + in;
    for_each_position(planes.out, [&](int64_t i, const Triple& at) {
      const Window window = window_at(at);
      C most = lowest;
      // The first element wins ties; the last NaN wins over everything.
      int64_t index =
          (window[0].begin * planes.in[1] + window[1].begin) * planes.in[2] + window[2].begin;
      for_each_element(window, planes.in, [&](int64_t element) {
        if (from[element] > most || from[element] != from[element]) {
          most = from[element];
          index = element;
        }
      });
      maxima.mutable_view().as_mutable<C>()[out + i] = most;
      indices.mutable_view().as_mutable<int64_t>()[out + i] = index;
    });
  });
  copy(maxima.view(), call.out(0));
  // Backends leave out results that nothing reads.
  if (call.output_count() > 1) copy(indices.view(), call.out(1));
}

void max_pool_of(const Call& call, const Planes& planes, const auto& window_at) {
  if (is_floating(call.in(0).dtype)) {
    max_pool<double>(call, planes, DType::F64, window_at);
  } else {
    max_pool<int64_t>(call, planes, DType::I64, window_at);
  }
}

void max_pool(const Call& call) {
  const Planes planes_of = planes(call, call.attributes().sizes("kernel").size());
  const Triple kernel = triple(call, "kernel", 1), stride = triple(call, "stride", 1);
  const Triple padding = triple(call, "padding", 0), dilation = triple(call, "dilation", 1);
  max_pool_of(call, planes_of, [&](const Triple& at) {
    Window window;
    for (size_t i = 0; i < 3; ++i) {
      int64_t begin = at[i] * stride[i] - padding[i];
      const int64_t end = std::min(begin + (kernel[i] - 1) * dilation[i] + 1, planes_of.in[i]);
      while (begin < 0)
        begin += dilation[i];
      window[i] = {begin, end, dilation[i]};
    }
    return window;
  });
}

// The window of result `i` of `count` over `size` elements.
Range adaptive_range(int64_t i, int64_t count, int64_t size) {
  return {i * size / count, ((i + 1) * size + count - 1) / count, 1};
}

Window adaptive_window(const Planes& planes, const Triple& at) {
  Window window;
  for (size_t i = 0; i < 3; ++i)
    window[i] = adaptive_range(at[i], planes.out[i], planes.in[i]);
  return window;
}

void adaptive_max_pool(const Call& call) {
  const Planes planes_of = planes(call, call.attributes().sizes("dims").size());
  max_pool_of(call, planes_of, [&](const Triple& at) { return adaptive_window(planes_of, at); });
}

// divisor_at(at, window): what the sum is divided by.
template <typename C>
void average(const Call& call, const Planes& planes, DType compute, const auto& window_at,
             const auto& divisor_at) {
  const Tensor x = copy_as(call.in(0), compute);
  const Tensor means(compute, call.out(0).dims);
  for_each_plane(planes, [&](int64_t in, int64_t out) {
    const C* from = x.view().as<C>() + in;
    for_each_position(planes.out, [&](int64_t i, const Triple& at) {
      const Window window = window_at(at);
      C sum = 0;
      for_each_element(window, planes.in, [&](int64_t element) { sum += from[element]; });
      bool is_empty = false;
      for (const Range& range : window)
        is_empty |= range.begin >= range.end;
      means.mutable_view().as_mutable<C>()[out + i] =
          is_empty ? C(0) : sum / static_cast<C>(divisor_at(at, window));
    });
  });
  copy(means.view(), call.out(0));
}

int64_t element_count(const Window& window) {
  int64_t count = 1;
  for (const Range& range : window)
    count *= range.end - range.begin;
  return count;
}

void avg_pool(const Call& call) {
  const Attributes& attributes = call.attributes();
  const Planes planes_of = planes(call, attributes.sizes("kernel").size());
  const Triple kernel = triple(call, "kernel", 1), stride = triple(call, "stride", 1);
  const Triple padding = triple(call, "padding", 0);
  const bool has_divisor = !attributes.is_none("divisor");
  const int64_t divisor = has_divisor ? attributes.integer("divisor") : 0;
  const bool count_padding = attributes.flag("count_include_pad");
  // A window reaches into the padding, but with ceil_mode not beyond it.
  const auto padded_window = [&](const Triple& at) {
    Window window;
    for (size_t i = 0; i < 3; ++i) {
      const int64_t begin = at[i] * stride[i] - padding[i];
      window[i] = {begin, std::min(begin + kernel[i], planes_of.in[i] + padding[i]), 1};
    }
    return window;
  };
  const auto window_at = [&](const Triple& at) {
    Window window = padded_window(at);
    for (size_t i = 0; i < 3; ++i) {
      window[i].begin = std::max<int64_t>(window[i].begin, 0);
      window[i].end = std::min(window[i].end, planes_of.in[i]);
    }
    return window;
  };
  const auto divisor_at = [&](const Triple& at, const Window& window) {
    if (has_divisor) return divisor;
    return element_count(count_padding ? padded_window(at) : window);
  };
  if (call.in(0).dtype == DType::I64) {
    average<int64_t>(call, planes_of, DType::I64, window_at, divisor_at);
  } else {
    average<double>(call, planes_of, DType::F64, window_at, divisor_at);
  }
}

void adaptive_avg_pool(const Call& call) {
  const Planes planes_of = planes(call, call.attributes().sizes("dims").size());
  average<double>(
      call, planes_of, DType::F64, [&](const Triple& at) { return adaptive_window(planes_of, at); },
      [](const Triple&, const Window& window) { return element_count(window); });
}

constexpr KernelDef kKernels[] = {
    {"max_pool", max_pool},
    {"adaptive_max_pool", adaptive_max_pool},
    {"avg_pool", avg_pool},
    {"adaptive_avg_pool", adaptive_avg_pool},
};

}  // namespace

extern const KernelFile k_kernels_pool = kKernels;

}  // namespace regraft::reference
