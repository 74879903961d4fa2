// Which views of the IR strides can express.
#include <optional>
#include <utility>

#include "compilation/plan_builder.h"

namespace regraft::compilation {
namespace {

struct View {
  SymDims strides;
  SymInt offset;
};

// Whether `a` is a multiple of `b` for all values of symbols.
bool divides(const SymInt& b, const SymInt& a) {
  return !(b == SymInt(0)) && mod(a, b) == SymInt(0);
}

// Splits the sizes of both sides, from the last, into the shortest runs of equal product. A run of
// the operand must be evenly strided; the new sizes then divide its stride.
std::optional<View> reshape(const plan::Buffer& from, const SymDims& dims) {
  if (from.strides == row_major(from.type.dims)) return View{row_major(dims), from.offset};
  SymDims old_dims, old_strides;
  for (size_t i = 0; i < from.type.dims.size(); ++i) {
    if (from.type.dims[i] == SymInt(1)) continue;  // Its stride means nothing.
    old_dims.push_back(from.type.dims[i]);
    old_strides.push_back(from.strides[i]);
  }
  View view{SymDims(dims.size(), 1), from.offset};
  size_t old_end = old_dims.size(), end = dims.size();
  while (old_end > 0 && end > 0) {
    size_t old_begin = old_end - 1, begin = end - 1;
    SymInt old_size = old_dims[old_begin], size = dims[begin];
    while (!(old_size == size)) {
      if (divides(old_size, size) && old_begin > 0) {
        old_size = old_size * old_dims[--old_begin];
      } else if (divides(size, old_size) && begin > 0) {
        size = size * dims[--begin];
      } else {
        return std::nullopt;
      }
    }
    for (size_t i = old_begin; i + 1 < old_end; ++i) {
      if (!(old_strides[i] == old_strides[i + 1] * old_dims[i + 1])) return std::nullopt;
    }
    SymInt stride = old_strides[old_end - 1];
    for (size_t i = end; i-- > begin;) {
      view.strides[i] = stride;
      stride = stride * dims[i];
    }
    old_end = old_begin;
    end = begin;
  }
  if (old_end > 0) return std::nullopt;
  for (; end > 0; --end) {
    if (!(dims[end - 1] == SymInt(1))) return std::nullopt;
  }
  return view;
}

View permute(const plan::Buffer& from, const SymDims& order) {
  View view{{}, from.offset};
  const auto rank = static_cast<int64_t>(from.strides.size());
  for (const SymInt& dim : order) {
    const int64_t at = dim.value() < 0 ? dim.value() + rank : dim.value();
    view.strides.push_back(from.strides[at]);
  }
  return view;
}

View expand(const plan::Buffer& from, const SymDims& dims) {
  View view{SymDims(dims.size(), 0), from.offset};
  const size_t lead = dims.size() - from.type.dims.size();
  for (size_t i = 0; i < from.type.dims.size(); ++i) {
    const bool repeats = from.type.dims[i] == SymInt(1) && !(dims[lead + i] == SymInt(1));
    if (!repeats) view.strides[lead + i] = from.strides[i];
  }
  return view;
}

std::optional<View> slice(const plan::Buffer& from, const Attributes& attributes,
                          const SymDims& dims) {
  const SymDims& old_dims = from.type.dims;
  int64_t dim = attributes.integer("dim");
  if (dim < 0) dim += static_cast<int64_t>(old_dims.size());
  const SymInt& step = attributes.size("step");
  SymInt start = attributes.size("start");
  if (!start.is_constant() || !step.is_constant() || step.value() < 1) return std::nullopt;
  if (start.value() < 0) start = start + old_dims[dim];
  // The view must stay inside for every value of the symbols: either all sizes are known, or the
  // slice ends where its operand ends.
  const bool is_known = old_dims[dim].is_constant() && dims[dim].is_constant();
  if (is_known) {
    start = min(max(start, 0), old_dims[dim]);
  } else if (!(step == SymInt(1)) || !(start + dims[dim] == old_dims[dim])) {
    return std::nullopt;
  }
  View view{from.strides, from.offset + start * from.strides[dim]};
  view.strides[dim] = view.strides[dim] * step;
  return view;
}

std::optional<View> view_of(const ir::Node& node, const plan::Buffer& from) {
  const Attributes& attributes = node.attributes();
  const SymDims& dims = node.output()->dims();
  if (node.is("reshape")) return reshape(from, dims);
  if (node.is("permute")) return permute(from, attributes.sizes("dims"));
  if (node.is("expand")) return expand(from, dims);
  if (node.is("slice")) return slice(from, attributes, dims);
  return std::nullopt;
}

}  // namespace

bool PlanBuilder::try_alias(const ir::Node& node) {
  if (!node.is("reshape") && !node.is("permute") && !node.is("expand") && !node.is("slice")) {
    return false;
  }
  const int32_t of = buffer(node.input(size_t{0}), node.region());
  if (plan_.storage_of(of).kind == plan::StorageKind::Constant) return false;
  std::optional<View> view = view_of(node, at(of));
  if (!view) return false;
  set_view(node.output(), of, std::move(view->strides), std::move(view->offset));
  return true;
}

void PlanBuilder::set_view(const ir::Value* value, int32_t of, SymDims strides, SymInt offset) {
  home_[value] = add_buffer(value->name(), value->type(), at(of).storage, std::move(strides),
                            std::move(offset));
}

}  // namespace regraft::compilation
