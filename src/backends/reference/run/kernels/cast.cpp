#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void cast(const Call& call) { copy(call.in(0), call.out(0)); }

constexpr KernelDef kKernels[] = {{"cast", cast}};

}  // namespace

extern const KernelFile k_kernels_cast;
const KernelFile k_kernels_cast = kKernels;

}  // namespace regraft::reference
