#include <algorithm>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

bool has_mask(const std::vector<ir::Value*>& indices) {
  return std::any_of(indices.begin(), indices.end(), [](const ir::Value* index) {
    return index != nullptr && (index->dtype() == DType::Bool || index->dtype() == DType::U8);
  });
}

void index(Call& call) {
  std::vector<ir::Value*> inputs = call.tensors("indices");
  if (has_mask(inputs)) call.unsupported("a boolean mask: the result's shape depends on values");
  inputs.insert(inputs.begin(), call.tensor("self"));
  call.result(call.emit("index", inputs));
}

// x[mask] = values, where all places of the mask get the same, is a choice between the two.
bool try_fill_mask(Call& call, ir::Value* x, const std::vector<ir::Value*>& indices,
                   ir::Value* values) {
  const auto given = [](const ir::Value* index) { return index != nullptr; };
  if (std::count_if(indices.begin(), indices.end(), given) != 1 || call.flag("accumulate")) {
    return false;
  }
  const auto found = std::find_if(indices.begin(), indices.end(), given);
  ir::Value* mask = *found;
  const auto before = static_cast<size_t>(found - indices.begin());
  const size_t rank = x->dims().size(), masked = mask->dims().size();
  if (mask->dtype() != DType::Bool || before + masked > rank) return false;
  SymDims dims = values->dims();
  if (numel(dims) == SymInt(1)) {
    dims.clear();
  } else if (dims.size() > rank - before - masked) {
    // One of its dimensions counts the places.
    const auto places = dims.end() - static_cast<std::ptrdiff_t>(rank - before - masked + 1);
    if (*places != SymInt(1)) return false;
    dims.insert(dims.erase(places), masked, 1);
  }
  SymDims where(before, 1);
  where.insert(where.end(), mask->dims().begin(), mask->dims().end());
  where.resize(rank, 1);
  call.result(call.emit("where", {call.reshape(mask, where), call.reshape(values, dims), x}));
  return true;
}

void index_put(Call& call) {
  ir::Value* x = call.tensor("self");
  std::vector<ir::Value*> inputs = call.tensors("indices");
  ir::Value* values = call.cast(call.tensor("values"), x->dtype());
  if (has_mask(inputs)) {
    if (try_fill_mask(call, x, inputs, values)) return;
    call.unsupported("a boolean mask with more than one value");
  }
  inputs.insert(inputs.begin(), {x, values});
  call.result(call.emit("index_put", inputs, {{"accumulate", call.flag("accumulate")}}));
}

// The places of the mask get the elements of the source, one after the other.
void masked_scatter(Call& call) {
  ir::Value *x = call.tensor("self"), *mask = call.tensor("mask"), *source = call.tensor("source");
  if (mask->dtype() != DType::Bool) call.unsupported("a mask of ", name(mask->dtype()));
  // PyTorch lets `self` and `mask` broadcast; a choice among zeros has the sizes of both.
  ir::Value* both = call.emit("where", {mask, x, x});
  const SymDims dims = both->dims();
  if (mask->dims() != dims) mask = call.emit("expand", {mask}, {{"dims", dims}});
  ir::Value* flat = call.reshape(call.cast(mask, DType::I64), {numel(dims)});
  ir::Value* count = call.emit("cumsum", {flat}, {{"dim", SymInt(0)}});
  // Before the first place comes a zero, which is not chosen.
  ir::Value* position = call.reshape(count, dims);
  ir::Value* none = call.emit(
      "full", {}, {{"dims", SymDims{1}}, {"value", SymInt(0)}, {"dtype", source->dtype()}});
  ir::Value* elements = call.reshape(source, {numel(source->dims())});
  elements = call.emit("cat", {none, elements}, {{"dim", SymInt(0)}});
  call.result(call.emit("where", {mask, call.emit("index", {elements, position}), x}));
}

// Elements by their position in row-major order.
void take(Call& call) {
  ir::Value* x = call.tensor("self");
  call.result(call.emit("index", {call.reshape(x, {numel(x->dims())}), call.tensor("index")}));
}

// Writes `source` at `index` of one dimension.
void put_along(Call& call, ir::Value* source, bool accumulate) {
  ir::Value* x = call.tensor("self");
  const int64_t axis = call.axis("dim", x->dims().size());
  if (x->dims().empty()) call.unsupported("of a 0-d tensor");
  std::vector<ir::Value*> inputs(static_cast<size_t>(axis) + 2, nullptr);
  inputs[0] = x;
  inputs[1] = call.cast(source, x->dtype());
  inputs.push_back(call.reshape(call.tensor("index"), {numel(call.tensor("index")->dims())}));
  call.result(call.emit("index_put", inputs, {{"accumulate", accumulate}}));
}

void index_copy(Call& call) { put_along(call, call.tensor("source"), false); }

void index_add(Call& call) {
  ir::Value* source = call.tensor("source");
  const Attribute alpha = call.scalar("alpha");
  if (!(alpha == Attribute(SymInt(1)))) source = call.emit_scalar("mul", source, alpha);
  put_along(call, source, true);
}

void index_fill(Call& call) {
  ir::Value* x = call.tensor("self");
  ir::Value* value =
      call.is_tensor("value")
          ? call.tensor("value")
          : call.emit(
                "full", {},
                {{"dims", SymDims{}}, {"value", call.scalar("value")}, {"dtype", x->dtype()}});
  put_along(call, value, false);
}

// A tensor of sources, or one number (`value`).
void scatter(Call& call, std::string_view source, const std::string& reduce, bool include_self) {
  ir::Value* x = call.tensor("self");
  Attributes attributes{{"dim", SymInt(call.axis("dim", x->dims().size()))},
                        {"reduce", reduce},
                        {"include_self", include_self}};
  const bool is_tensor = call.is_tensor(source);
  if (!is_tensor) attributes.set("value", call.scalar(source));
  call.result(call.emit(
      "scatter", {x, call.tensor("index"), is_tensor ? call.tensor(source) : nullptr}, attributes));
}

void scatter_src(Call& call) { scatter(call, "src", "none", true); }
void scatter_value(Call& call) { scatter(call, "value", "none", true); }
void scatter_add(Call& call) { scatter(call, "src", "sum", true); }
void scatter_reduce(Call& call) {
  scatter(call, "src", call.text("reduce"), call.flag("include_self"));
}
// The older overloads speak of "add" and "multiply".
void scatter_with(Call& call) {
  scatter(call, call.has("src") ? "src" : "value", call.text("reduce") == "add" ? "sum" : "prod",
          true);
}

void stack(Call& call) {
  std::vector<ir::Value*> parts = call.tensors("tensors");
  if (parts.empty() || parts[0] == nullptr) call.unsupported("of no tensors");
  const int64_t axis = call.axis("dim", parts[0]->dims().size() + 1);
  for (ir::Value*& part : parts) {
    SymDims dims = part->dims();
    if (axis > static_cast<int64_t>(dims.size())) call.unsupported("of tensors of unequal rank");
    dims.insert(dims.begin() + axis, 1);
    part = call.reshape(part, dims);
  }
  call.result(call.emit("cat", parts, {{"dim", SymInt(axis)}}));
}

// Empty 1-d tensors have no part in the result, whatever its rank.
void cat(Call& call) {
  std::vector<ir::Value*> parts = call.tensors("tensors");
  if (parts.empty()) call.unsupported("of no tensors");
  size_t rank = 1;
  for (const ir::Value* part : parts)
    rank = std::max(rank, part == nullptr ? 0 : part->dims().size());
  const int64_t axis = call.axis("dim", rank);
  call.result(parts.size() == 1 && parts[0] != nullptr
                  ? parts[0]
                  : call.emit("cat", parts, {{"dim", SymInt(axis)}}));
}

// Along the columns; vectors end to end.
void hstack(Call& call) {
  const std::vector<ir::Value*> parts = call.tensors("tensors");
  if (parts.empty() || parts[0] == nullptr) call.unsupported("of no tensors");
  const int64_t axis = parts[0]->dims().size() > 1 ? 1 : 0;
  call.result(call.emit("cat", parts, {{"dim", SymInt(axis)}}));
}

// Along the rows; a vector is a row.
void vstack(Call& call) {
  std::vector<ir::Value*> parts = call.tensors("tensors");
  for (ir::Value*& part : parts) {
    if (part == nullptr || part->dims().empty()) call.unsupported("of 0-d tensors");
    if (part->dims().size() == 1) part = call.reshape(part, {1, part->dims()[0]});
  }
  call.result(call.emit("cat", parts, {{"dim", SymInt(0)}}));
}

void tile(Call& call) {
  ir::Value* x = call.tensor("self");
  SymDims repeats = call.sizes("dims");
  while (repeats.size() < x->dims().size())
    repeats.insert(repeats.begin(), 1);
  call.result(call.emit("repeat", {x}, {{"repeats", repeats}}));
}

void repeat_interleave(Call& call) {
  ir::Value* x = call.tensor("self");
  Attributes attributes{{"repeats", call.size("repeats")}};
  if (!call.is_none("dim")) attributes.set("dim", SymInt(call.axis("dim", x->dims().size())));
  call.result(call.emit("repeat_interleave", {x}, attributes));
}

// Overload Tensor_Scalar calls its number `test_element`.
void isin(Call& call) {
  ir::Value* x = call.tensor("elements");
  const bool invert = call.flag("invert");
  if (call.is_none("test_elements")) {
    return call.result(call.emit_scalar(invert ? "ne" : "eq", x, call.scalar("test_element")));
  }
  call.result(call.emit("isin", {x, call.tensor("test_elements")}, {{"invert", invert}}));
}

// Positions that may count from the end of `size`, counted from the begin.
ir::Value* from_begin(Call& call, ir::Value* positions, const SymInt& size) {
  ir::Value* is_negative = call.emit_scalar("lt", positions, SymInt(0));
  return call.emit("where", {is_negative, call.emit_scalar("add", positions, size), positions});
}

// No index is of another type, but for empty ones.
void gather(Call& call) {
  ir::Value *x = call.tensor("self"), *index = call.tensor("index");
  if (numel(index->dims()) == SymInt(0)) index = call.cast(index, DType::I64);
  const int64_t axis = call.axis("dim", x->dims().size());
  call.result(call.emit("gather", {x, index}, {{"dim", SymInt(axis)}}));
}

void flip(Call& call) {
  ir::Value* x = call.tensor("self");
  const auto axes = call.axes("dims", x->dims().size());
  call.result(axes ? call.emit("flip", {x}, {{"dims", to_sym(*axes)}}) : x);
}

// Sizes beside the axis broadcast; positions count from the end where they are negative.
void take_along_dim(Call& call) {
  ir::Value *x = call.tensor("self"), *positions = call.tensor("indices");
  if (call.is_none("dim")) {
    x = call.reshape(x, {numel(x->dims())});
    positions = from_begin(call, call.reshape(positions, {numel(positions->dims())}), x->dims()[0]);
    return call.result(call.emit("gather", {x, positions}, {{"dim", SymInt(0)}}));
  }
  const size_t rank = x->dims().size();
  if (rank != positions->dims().size()) call.unsupported("of tensors of unequal rank");
  const auto axis = static_cast<size_t>(call.axis("dim", rank));
  SymDims to = x->dims(), at = positions->dims();
  positions = from_begin(call, positions, to[axis]);
  for (size_t d = 0; d < rank; ++d) {
    if (d != axis && to[d] == SymInt(1)) to[d] = at[d];
    if (d != axis) at[d] = to[d];
  }
  if (to != x->dims()) x = call.emit("expand", {x}, {{"dims", to}});
  if (at != positions->dims()) positions = call.emit("expand", {positions}, {{"dims", at}});
  call.result(call.emit("gather", {x, positions}, {{"dim", SymInt(static_cast<int64_t>(axis))}}));
}

constexpr AtenOp kOps[] = {
    {"embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False)",
     "embedding(weight, indices)"},
    {"index.Tensor(self, indices)", index},
    {"_unsafe_index.Tensor(self, indices)", index},
    {"index_put(self, indices, values, accumulate=False)", index_put},
    {"_unsafe_index_put(self, indices, values, accumulate=False)", index_put},
    {"masked_scatter(self, mask, source)", masked_scatter},
    {"index_select(self, dim, index)", "index_select(self, index) {dim=axis(dim)}"},
    {"gather(self, dim, index, sparse_grad=False)", gather},
    {"take_along_dim(self, indices, dim=None)", take_along_dim},
    {"scatter.src(self, dim, index, src)", scatter_src},
    {"scatter.value(self, dim, index, value)", scatter_value},
    {"scatter.reduce,value_reduce(self, dim, index, src=None, value=None, reduce=\"add\")",
     scatter_with},
    {"scatter_add(self, dim, index, src)", scatter_add},
    {"scatter_reduce.two(self, dim, index, src, reduce, include_self=True)", scatter_reduce},
    {"index_copy(self, dim, index, source)", index_copy},
    {"index_add(self, dim, index, source, alpha=1)", index_add},
    {"take(self, index)", take},
    {"index_fill.int_Scalar,int_Tensor(self, dim, index, value)", index_fill},
    {"isin.Tensor_Tensor,Tensor_Scalar(elements, test_elements=None, test_element=None, "
     "assume_unique=False, invert=False)",
     isin},
    {"bucketize.Tensor(self, boundaries, out_int32=False, right=False)",
     "bucketize(self, boundaries) {out_int32=out_int32, right=right}"},
    {"cat(tensors, dim=0)", cat},
    {"concat(tensors, dim=0)", cat},
    {"stack(tensors, dim=0)", stack},
    {"hstack(tensors)", hstack},
    {"vstack(tensors)", vstack},
    {"flip(self, dims)", flip},
    {"roll(self, shifts, dims=[])", "roll(self) {shifts=shifts, dims=axes(dims)}"},
    {"repeat(self, repeats)", "repeat(self) {repeats=repeats}"},
    {"tile(self, dims)", tile},
    {"repeat_interleave.self_int(self, repeats, dim=None, output_size=None)", repeat_interleave},
};

}  // namespace

extern const AtenTable k_index;
const AtenTable k_index = kOps;

}  // namespace regraft::lowering::aten
