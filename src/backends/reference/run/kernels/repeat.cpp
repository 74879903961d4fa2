#include "backends/reference/run/remap.h"

namespace regraft::reference {
namespace {

std::vector<AxisTable> identity_tables(const Dims& dims) {
  std::vector<AxisTable> tables;
  for (const int64_t size : dims)
    tables.push_back(identity_table(size));
  return tables;
}

int64_t modulo(int64_t a, int64_t b) { return ((a % b) + b) % b; }

void repeat(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  if (out.count() == 0) return;
  TensorView view(x.data, x.dtype, Dims(out.dims.size(), 1), Dims(out.dims.size(), 0));
  const size_t lead = out.dims.size() - x.dims.size();
  for (size_t i = 0; i < x.dims.size(); ++i) {
    view.dims[lead + i] = x.dims[i];
    view.strides[lead + i] = x.strides[i];
  }
  std::vector<AxisTable> tables = identity_tables(out.dims);
  for (size_t i = 0; i < tables.size(); ++i) {
    for (int64_t& at : tables[i])
      at %= view.dims[i];
  }
  remap(view, out, tables);
}

void repeat_interleave(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  const int64_t times = call.attributes().integer("repeats");
  if (out.count() == 0) return;
  const bool flatten = call.attributes().is_none("dim");
  Tensor flat;
  TensorView view = x;
  if (flatten) {
    flat = Tensor::copy_of(x);
    view = TensorView(flat.view().data, x.dtype, {x.count()});
  }
  const size_t axis = flatten ? 0 : axis_of(call.attributes().integer("dim"), x.dims.size());
  std::vector<AxisTable> tables = identity_tables(out.dims);
  for (int64_t& at : tables[axis])
    at /= times;
  remap(view, out, tables);
}

void roll(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  const Dims shifts = call.attributes().integers("shifts");
  const Dims dims = call.attributes().integers("dims");
  if (out.count() == 0) return;
  std::vector<AxisTable> tables = identity_tables(x.dims);
  for (size_t i = 0; i < dims.size() && !x.dims.empty(); ++i) {
    const size_t axis = axis_of(dims[i], x.dims.size());
    for (int64_t& at : tables[axis])
      at = modulo(at - shifts[i], x.dims[axis]);
  }
  if (!dims.empty()) return remap(x, out, tables);
  // Without dims the elements roll in row-major order.
  const Tensor from = Tensor::copy_of(x);
  visit(x.dtype, [&](auto tag) {
    const auto* data = from.view().as<decltype(tag)>();
    for (int64_t i = 0; i < x.count(); ++i) {
      out.as_mutable<decltype(tag)>()[offset_of(i, out.dims, out.strides)] =
          data[modulo(i - shifts[0], x.count())];
    }
  });
}

constexpr KernelDef kKernels[] = {
    {"repeat", repeat}, {"repeat_interleave", repeat_interleave}, {"roll", roll}};

}  // namespace

extern const KernelFile k_kernels_repeat;
const KernelFile k_kernels_repeat = kKernels;

}  // namespace regraft::reference
