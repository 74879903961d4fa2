#include <algorithm>

#include "backends/reference/run/remap.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void permute(const Call& call) {
  const TensorView& x = call.in(0);
  TensorView view(x.data, x.dtype, {}, {});
  for (const int64_t dim : call.attributes().integers("dims")) {
    const size_t axis = axis_of(dim, x.dims.size());
    view.dims.push_back(x.dims[axis]);
    view.strides.push_back(x.strides[axis]);
  }
  copy(view, call.out(0));
}

void flip(const Call& call) {
  const TensorView& x = call.in(0);
  std::vector<AxisTable> tables;
  for (const int64_t size : x.dims)
    tables.push_back(identity_table(size));
  for (const int64_t dim : call.attributes().integers("dims")) {
    if (x.dims.empty()) continue;
    AxisTable& table = tables[axis_of(dim, x.dims.size())];
    std::reverse(table.begin(), table.end());
  }
  remap(x, call.out(0), tables);
}

constexpr KernelDef kKernels[] = {{"permute", permute}, {"flip", flip}};

}  // namespace

extern const KernelFile k_kernels_permute;
const KernelFile k_kernels_permute = kKernels;

}  // namespace regraft::reference
