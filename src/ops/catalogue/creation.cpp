#include <cmath>

#include "ops/op.h"

namespace regraft::ops {
namespace {

void full(TypeContext& context) {
  const SymDims& dims = context.attributes().sizes("dims");
  for (const SymInt& size : dims) {
    if (size.is_constant() && size.value() < 0) context.fail("negative size in ", to_string(dims));
  }
  context.out(context.attributes().dtype("dtype"), dims);
}

bool is_integer(const Attribute& scalar) { return std::holds_alternative<SymInt>(scalar); }

SymInt integer_range(const TypeContext& context, const SymInt& start, const SymInt& end,
                     const SymInt& step) {
  if (!step.is_constant() || step.value() == 0) {
    context.fail("step: want an integer but 0, have ", step.str());
  }
  const bool up = step.value() > 0;
  const SymInt length = up ? end - start : start - end;
  if (length.is_constant() && length.value() < 0) {
    context.fail("step ", step.str(), " does not lead from ", start.str(), " to ", end.str());
  }
  const SymInt pace = up ? step : SymInt(0) - step;
  return floordiv(length + pace - 1, pace);
}

// [start, end) by step, ceil((end - start) / step) elements.
void arange(TypeContext& context) {
  const Attributes& attributes = context.attributes();
  const DType dtype = attributes.dtype("dtype");
  const Attribute &start = *attributes.find("start"), &end = *attributes.find("end"),
                  &step = *attributes.find("step");
  if (is_integer(start) && is_integer(end) && is_integer(step)) {
    context.out(dtype, {integer_range(context, std::get<SymInt>(start), std::get<SymInt>(end),
                                      std::get<SymInt>(step))});
    return;
  }
  const double pace = attributes.number("step");
  const double steps = std::ceil((attributes.number("end") - attributes.number("start")) / pace);
  if (!(steps >= 0) || steps > 0x1p53) {
    context.fail("no range from ", to_string(start), " to ", to_string(end), " by ",
                 to_string(step));
  }
  context.out(dtype, {static_cast<int64_t>(steps)});
}

void eye(TypeContext& context) {
  const Attributes& attributes = context.attributes();
  context.out(attributes.dtype("dtype"), {attributes.size("n"), attributes.size("m")});
}

const OpDef kOps[] = {
    {"full", "(*, int[] dims, Scalar value, dtype dtype) -> Tensor", full, kCreation},
    {"arange", "(*, Scalar start=0, Scalar end, Scalar step=1, dtype dtype) -> Tensor", arange,
     kCreation},
    {"eye", "(*, int n, int m, dtype dtype) -> Tensor", eye, kCreation},
};

}  // namespace

extern const OpFamily k_family_creation;
const OpFamily k_family_creation = kOps;

}  // namespace regraft::ops
