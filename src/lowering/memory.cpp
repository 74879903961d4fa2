#include "lowering/memory.h"

#include <algorithm>

#include "base/fail.h"

namespace regraft::lowering {
namespace {

ir::Value* apply(ir::Graph& graph, const ViewStep& step, ir::Value* from) {
  return graph.add(step.op, {from}, step.attributes)->output();
}

// The value of all of a step's source once the view holds `value`; it held `before`.
ir::Value* undo(ir::Graph& graph, const ViewStep& step, ir::Value* before, ir::Value* value) {
  if (step.op == "reshape") return graph.add("reshape", {value}, {{"dims", step.from}})->output();
  if (step.op == "permute") {
    const Dims order = step.attributes.integers("dims");
    SymDims inverse(order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
    }
    return graph.add("permute", {value}, {{"dims", inverse}})->output();
  }
  if (step.op == "slice") {
    return graph.add("slice_scatter", {before, value}, step.attributes)->output();
  }
  if (step.op == "expand" && value->dims() == step.from) return value;
  base::fail("lowering", ErrorCode::Unsupported, "an in-place op writes through ",
             step.op == "expand" ? "an expanded tensor" : step.op);
}

struct Stated {
  SymDims sizes;
  SymDims strides;
};

// Sizes and strides of dimensions that are not 1, or nothing when some are unknown.
std::optional<Stated> layout_of(const program::TensorMeta& meta) {
  if (meta.strides.size() != meta.sizes.size()) return std::nullopt;
  Stated out;
  for (size_t i = 0; i < meta.sizes.size(); ++i) {
    if (!meta.sizes[i] || !meta.strides[i]) return std::nullopt;
    if (*meta.sizes[i] == SymInt(1)) continue;
    out.sizes.push_back(*meta.sizes[i]);
    out.strides.push_back(*meta.strides[i]);
  }
  return out;
}

// Merges neighbours that one stride spans: (2,3):(3,1) becomes (6):(1).
Stated merged(const Stated& layout) {
  Stated out;
  for (size_t i = 0; i < layout.sizes.size(); ++i) {
    if (!out.sizes.empty() && out.strides.back() == layout.sizes[i] * layout.strides[i]) {
      out.sizes.back() = out.sizes.back() * layout.sizes[i];
      out.strides.back() = layout.strides[i];
    } else {
      out.sizes.push_back(layout.sizes[i]);
      out.strides.push_back(layout.strides[i]);
    }
  }
  return out;
}

}  // namespace

ir::Value* read(ir::Graph& graph, Ref& ref) {
  if (ref.version == ref.memory->version) return ref.value;
  ir::Value* value = ref.memory->value;
  for (const ViewStep& step : ref.steps)
    value = apply(graph, step, value);
  ref.value = value;
  ref.version = ref.memory->version;
  return value;
}

void write(ir::Graph& graph, Ref& ref, ir::Value* value) {
  Memory& memory = *ref.memory;
  if (memory.has_unclear_alias) {
    base::fail("lowering", ErrorCode::Unsupported,
               "an in-place op writes to a tensor that may share memory with another");
  }
  std::vector<ir::Value*> before{memory.value};
  for (size_t i = 0; i + 1 < ref.steps.size(); ++i) {
    before.push_back(apply(graph, ref.steps[i], before.back()));
  }
  ir::Value* whole = value;
  for (size_t i = ref.steps.size(); i-- > 0;)
    whole = undo(graph, ref.steps[i], before[i], whole);
  memory.value = whole;
  ++memory.version;
  ref.value = value;
  ref.version = memory.version;
}

std::optional<bool> is_contiguous(const program::TensorMeta& meta) {
  const auto layout = layout_of(meta);
  if (!layout) return std::nullopt;
  SymInt expected = 1;
  for (size_t i = layout->sizes.size(); i-- > 0;) {
    if (!(layout->strides[i] == expected)) return false;
    expected = expected * layout->sizes[i];
  }
  return true;
}

// PyTorch's rule (computeStride): each run of memory-adjacent dimensions is split on its own.
std::optional<bool> is_viewable(const program::TensorMeta& meta, const SymDims& dims) {
  const auto layout = layout_of(meta);
  if (!layout) return std::nullopt;
  const Stated runs = merged(*layout);
  // With symbols, a run that is not met term by term may still be equal in value.
  const auto is_constant = [](const SymInt& size) { return size.is_constant(); };
  const bool is_static = std::all_of(dims.begin(), dims.end(), is_constant) &&
                         std::all_of(runs.sizes.begin(), runs.sizes.end(), is_constant);
  const std::optional<bool> no = is_static ? std::optional(false) : std::nullopt;
  size_t at = 0;
  for (const SymInt& run : runs.sizes) {
    SymInt product = 1;
    while (!(product == run)) {
      if (at == dims.size()) return no;
      product = product * dims[at++];
      if (is_static && product.value() > run.value()) return no;
    }
  }
  return true;
}

}  // namespace regraft::lowering
