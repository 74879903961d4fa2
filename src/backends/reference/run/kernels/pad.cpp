#include <algorithm>
#include <string>

#include "backends/reference/run/remap.h"

namespace regraft::reference {
namespace {

// Position that `at`, counted from the first element of an axis of `size`, reads.
int64_t source_of(int64_t at, int64_t size, const std::string& mode) {
  if (at >= 0 && at < size) return at;
  int64_t source = -1;
  if (mode == "reflect") {
    source = at < 0 ? -at : 2 * (size - 1) - at;
  } else if (mode == "replicate") {
    source = std::clamp<int64_t>(at, 0, size - 1);
  } else if (mode == "circular") {
    source = at < 0 ? at + size : at - size;
  } else {
    return -1;
  }
  if (source < 0 || source >= size) {
    base::fail("engine", ErrorCode::InvalidArgument, "pad: too much for mode ", mode, " and size ",
               size);
  }
  return source;
}

void pad(const Call& call) {
  const TensorView& x = call.in(0);
  const Dims padding = call.attributes().integers("padding");
  const std::string& mode = call.attributes().text("mode");
  if (call.out(0).count() == 0) return;
  std::vector<AxisTable> tables;
  for (size_t i = 0; i < x.dims.size(); ++i) {
    AxisTable table = identity_table(call.out(0).dims[i]);
    const size_t pair = 2 * (x.dims.size() - 1 - i);
    const int64_t before = pair < padding.size() ? padding[pair] : 0;
    for (int64_t& at : table)
      at = source_of(at - before, x.dims[i], mode);
    tables.push_back(std::move(table));
  }
  remap(x, call.out(0), tables, *call.attributes().find("value"));
}

constexpr KernelDef kKernels[] = {{"pad", pad}};

}  // namespace

extern const KernelFile k_kernels_pad;
const KernelFile k_kernels_pad = kKernels;

}  // namespace regraft::reference
