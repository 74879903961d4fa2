#include "backends/reference/run/rows.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void full(const Call& call) {
  const MutableTensorView& out = call.out(0);
  const Tensor value = number_tensor(*call.attributes().find("value"));
  const Dims zeros(out.dims.size(), 0);
  copy(TensorView(value.view().data, value.dtype(), out.dims, zeros), out);
}

template <typename C>
void fill_range(const MutableTensorView& out, const Attributes& attributes) {
  const Tensor start = number_tensor(*attributes.find("start"));
  const Tensor step = number_tensor(*attributes.find("step"));
  const C first = load<C>(start.view(), 0), pace = load<C>(step.view(), 0);
  for_each_row(out.dims, {out.strides, {1}},
               [&](const int64_t* offsets, const int64_t* steps, int64_t count) {
                 C values[kRow];
                 for (int64_t i = 0; i < count; ++i) {
                   values[i] = first + pace * static_cast<C>(offsets[1] + i);
                 }
                 store_row(values, out, offsets[0], steps[0], count);
               });
}

void arange(const Call& call) {
  // An integer range keeps all 64 bits and truncates its start and step, as PyTorch does.
  const MutableTensorView& out = call.out(0);
  is_floating(out.dtype) ? fill_range<double>(out, call.attributes())
                         : fill_range<int64_t>(out, call.attributes());
}

void eye(const Call& call) {
  const MutableTensorView& out = call.out(0);
  const Tensor zero = number_tensor(Attribute(SymInt(0)));
  copy(TensorView(zero.view().data, zero.dtype(), out.dims, {0, 0}), out);
  for (int64_t i = 0; i < std::min(out.dims[0], out.dims[1]); ++i) {
    store<int64_t>(out, i * (out.strides[0] + out.strides[1]), 1);
  }
}

constexpr KernelDef kKernels[] = {{"full", full}, {"arange", arange}, {"eye", eye}};

}  // namespace

extern const KernelFile k_kernels_creation;
const KernelFile k_kernels_creation = kKernels;

}  // namespace regraft::reference
