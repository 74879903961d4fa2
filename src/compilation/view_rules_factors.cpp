// Rules that look inside sizes: a size is a run of factors, and views move factors.
#include <algorithm>
#include <optional>

#include "compilation/view_rules.h"

namespace regraft::compilation {
namespace {

// The factors of each size, outermost first, none of them 1.
using Factors = std::vector<SymDims>;

bool divides(const SymInt& a, const SymInt& b) {
  return !(a == SymInt(0)) && mod(b, a) == SymInt(0);
}

SymDims flat(const Factors& factors) {
  SymDims out;
  for (const SymDims& of_size : factors)
    out.insert(out.end(), of_size.begin(), of_size.end());
  return out;
}

// Splits each of `sizes` where a boundary of `other`, of the same product, falls inside it. Nothing
// where the two do not nest: [6,4] and [4,6].
std::optional<Factors> refine(const SymDims& sizes, const SymDims& other) {
  Factors out(sizes.size());
  size_t next = other.size();
  SymInt rest = 1;  // What is left of other[next].
  for (size_t i = sizes.size(); i-- > 0;) {
    SymInt size = sizes[i];
    while (!(size == SymInt(1))) {
      while (rest == SymInt(1)) {
        if (next == 0) return std::nullopt;
        rest = other[--next];
      }
      SymInt factor;
      if (divides(rest, size)) {
        factor = rest;
      } else if (divides(size, rest)) {
        factor = size;
      } else {
        return std::nullopt;
      }
      out[i].insert(out[i].begin(), factor);
      size = floordiv(size, factor);
      rest = floordiv(rest, factor);
    }
  }
  return out;
}

SymDims without_ones(const SymDims& dims) {
  SymDims out;
  for (const SymInt& size : dims) {
    if (!(size == SymInt(1))) out.push_back(size);
  }
  return out;
}

bool has_zero(const SymDims& dims) {
  return std::find(dims.begin(), dims.end(), SymInt(0)) != dims.end();
}

// The dimension of x along which the index tensor counts 0, 1, ...: the axis of its only size that
// is not 1. Nothing for any other tensor; the rank where x's size is 1.
std::optional<size_t> counted_axis(const ir::Value& index, const SymInt& size, size_t rank) {
  const ir::Node* node = index.producer();
  while (node != nullptr && node->is("reshape"))
    node = node->input(size_t{0})->producer();
  if (node == nullptr || !node->is("arange")) return std::nullopt;
  const Attributes& attributes = node->attributes();
  if (!(*attributes.find("start") == Attribute(SymInt(0))) ||
      !(*attributes.find("step") == Attribute(SymInt(1))) ||
      !(*attributes.find("end") == Attribute(size))) {
    return std::nullopt;
  }
  size_t axis = rank;
  for (size_t i = 0; i < index.dims().size(); ++i) {
    if (index.dims()[i] == SymInt(1)) continue;
    if (axis != rank) return std::nullopt;
    axis = rank - index.dims().size() + i;
  }
  return axis;
}

}  // namespace

ir::Value* reshape_of_permute_rule(const ir::Node& node, Rewriter& at) {
  const ir::Node* permute = producer_of(node, "permute");
  if (permute == nullptr) return nullptr;
  const ir::Node* inner = producer_of(*permute, "reshape");
  const SymDims& middle = permute->input(size_t{0})->dims();
  ir::Value* x = inner == nullptr ? permute->input(size_t{0}) : inner->input(size_t{0});
  const SymDims& wanted = node.output()->dims();
  if (has_zero(middle)) return nullptr;

  std::optional<Factors> factors = refine(middle, x->dims());
  if (!factors) return nullptr;
  const std::vector<size_t> order = order_of(*permute);
  SymDims permuted;
  for (const size_t dim : order) {
    permuted.insert(permuted.end(), (*factors)[dim].begin(), (*factors)[dim].end());
  }
  const std::optional<Factors> split = refine(permuted, wanted);
  // What the permutation leaves must be the wanted sizes, one by one.
  if (!split || flat(*split) != without_ones(wanted)) return nullptr;

  SymDims shape, moved;
  std::vector<SymDims> shapes(middle.size()), positions(middle.size());
  size_t next = 0;
  for (const size_t dim : order) {
    for (size_t i = 0; i < (*factors)[dim].size(); ++i, ++next) {
      shapes[dim].insert(shapes[dim].end(), (*split)[next].begin(), (*split)[next].end());
    }
  }
  int64_t position = 0;
  for (size_t dim = 0; dim < middle.size(); ++dim) {
    for (const SymInt& size : shapes[dim]) {
      shape.push_back(size);
      positions[dim].push_back(position++);
    }
  }
  for (const size_t dim : order) {
    moved.insert(moved.end(), positions[dim].begin(), positions[dim].end());
  }
  // As it is already.
  if (shape == without_ones(middle)) return nullptr;
  ir::Value* parts = at.reshape(x, shape);
  return at.reshape(at.call("permute", {parts}, {{"dims", moved}}), wanted);
}

ir::Value* index_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  const size_t count = node.inputs().size() - 1;
  const size_t rank = node.output()->dims().size() - (x->dims().size() - count);
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    const ir::Value* index = node.input(i + 1);
    if (index == nullptr) return nullptr;
    const auto axis = counted_axis(*index, x->dims()[i], rank);
    if (!axis || *axis < next) return nullptr;
    if (*axis < rank) next = *axis + 1;
  }
  return at.reshape(x, node.output()->dims());
}

}  // namespace regraft::compilation
