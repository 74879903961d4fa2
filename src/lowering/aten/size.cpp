#include "lowering/aten/aten.h"

// Ops whose result is a Python number.
namespace regraft::lowering::aten {
namespace {

void size(Call& call) {
  const SymDims& dims = call.tensor("self")->dims();
  if (dims.empty()) call.unsupported("of a 0-d tensor");
  call.result(Symbolic(dims[static_cast<size_t>(call.axis("dim", dims.size()))]));
}

void count(Call& call) { call.result(Symbolic(numel(call.tensor("self")->dims()))); }

void stride(Call& call) {
  const program::TensorMeta* meta = (call.tensor("self"), call.ref("self").meta);
  if (meta == nullptr || meta->strides.empty()) call.unsupported("of unknown strides");
  const auto axis = static_cast<size_t>(call.axis("dim", meta->strides.size()));
  if (!meta->strides[axis]) call.unsupported("of unknown strides");
  call.result(Symbolic(*meta->strides[axis]));
}

constexpr AtenOp kOps[] = {
    {"sym_size.int(self, dim)", size},
    {"size.int(self, dim)", size},
    {"sym_numel(self)", count},
    {"numel(self)", count},
    {"sym_stride.int(self, dim)", stride},
};

}  // namespace

extern const AtenTable k_size;
const AtenTable k_size = kOps;

}  // namespace regraft::lowering::aten
