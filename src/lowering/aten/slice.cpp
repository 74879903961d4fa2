#include <algorithm>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

constexpr int64_t kEnd = INT64_MAX;

// [start, end) of one dimension. The whole dimension is the tensor itself.
Ref slice_view(Call& call, const Ref& of, int64_t axis, const SymInt& start, const SymInt& end,
               const SymInt& step = 1) {
  const SymInt& size = of.value->dims()[static_cast<size_t>(axis)];
  const bool reaches_end =
      end == size || (end.is_constant() &&
                      (end.value() == kEnd || (size.is_constant() && end.value() >= size.value())));
  if (start == SymInt(0) && reaches_end && step == SymInt(1)) return of;
  return call.view(of, "slice",
                   {{"dim", SymInt(axis)}, {"start", start}, {"end", end}, {"step", step}});
}

Ref without_axis(Call& call, const Ref& of, int64_t axis) {
  SymDims dims = of.value->dims();
  dims.erase(dims.begin() + axis);
  return call.view(of, "reshape", {{"dims", dims}});
}

int64_t tensor_axis(Call& call, const char* name) {
  const size_t rank = call.tensor("self")->dims().size();
  if (rank == 0) call.unsupported("of a 0-d tensor");
  return call.axis(name, rank);
}

Ref select_view(Call& call, const Ref& of, int64_t axis, SymInt index) {
  const SymInt& size = of.value->dims()[static_cast<size_t>(axis)];
  if (index.is_constant() && index.value() < 0) index = index + size;
  return without_axis(call, slice_view(call, of, axis, index, index + 1), axis);
}

void select(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  call.result(select_view(call, call.ref("self"), axis, call.size("index")));
}

SymInt bound(Call& call, const char* name, int64_t fallback, const SymInt& size) {
  if (call.is_none(name)) return fallback;
  const SymInt value = call.size(name);
  if (!value.is_constant() || value.value() >= 0 || !size.is_constant()) return value;
  return std::max<int64_t>(value.value() + size.value(), 0);
}

void slice(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  const SymInt size = call.tensor("self")->dims()[static_cast<size_t>(axis)];
  const SymInt start = bound(call, "start", 0, size), end = bound(call, "end", kEnd, size);
  call.result(slice_view(call, call.ref("self"), axis, start, end, call.size("step")));
}

void narrow(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  SymInt start = call.size("start");
  if (start.is_constant() && start.value() < 0) {
    start = start + call.tensor("self")->dims()[static_cast<size_t>(axis)];
  }
  call.result(slice_view(call, call.ref("self"), axis, start, start + call.size("length")));
}

// A program that asks for more pieces than it names would be made of nothing else.
void check_count(Call& call, int64_t count) {
  if (count != static_cast<int64_t>(call.result_count())) {
    call.unsupported("into ", count, " pieces, of which ", call.result_count(), " are named");
  }
}

void pieces(Call& call, int64_t axis, const SymDims& sizes) {
  check_count(call, static_cast<int64_t>(sizes.size()));
  SymInt start = 0;
  for (const SymInt& size : sizes) {
    call.result(slice_view(call, call.ref("self"), axis, start, start + size));
    start = start + size;
  }
}

// Pieces of `size`, the last one smaller.
SymDims equal_pieces(Call& call, const SymInt& total, const SymInt& size) {
  const SymInt count = floordiv(total + size - 1, size);
  if (!count.is_constant()) call.unsupported("into a dynamic number of pieces");
  if (count.value() < 1) return {total};
  check_count(call, count.value());
  SymDims out(static_cast<size_t>(count.value()), size);
  out.back() = total - size * (count - 1);
  return out;
}

void split(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  const SymInt total = call.tensor("self")->dims()[static_cast<size_t>(axis)];
  pieces(call, axis, equal_pieces(call, total, call.size("split_size")));
}

void split_sizes(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  pieces(call, axis, call.sizes("split_sizes"));
}

void chunk(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  const SymInt total = call.tensor("self")->dims()[static_cast<size_t>(axis)];
  const int64_t chunks = call.integer("chunks");
  if (chunks < 1) call.unsupported("into ", chunks, " chunks");
  pieces(call, axis, equal_pieces(call, total, floordiv(total + (chunks - 1), chunks)));
}

void tensor_split(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  const SymInt total = call.tensor("self")->dims()[static_cast<size_t>(axis)];
  SymDims sizes;
  if (call.has("sections")) {
    const int64_t sections = call.integer("sections");
    if (sections < 1 || !total.is_constant()) call.unsupported("into ", sections, " sections");
    check_count(call, sections);
    for (int64_t i = 0; i < sections; ++i) {
      sizes.push_back(total.value() / sections + (i < total.value() % sections ? 1 : 0));
    }
  } else {
    SymInt start = 0;
    for (const SymInt& end : call.sizes("indices")) {
      sizes.push_back(end - start);
      start = end;
    }
    sizes.push_back(total - start);
  }
  pieces(call, axis, sizes);
}

void unbind(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  const SymInt count = call.tensor("self")->dims()[static_cast<size_t>(axis)];
  if (!count.is_constant()) call.unsupported("of a dynamic size");
  check_count(call, count.value());
  for (int64_t i = 0; i < count.value(); ++i) {
    call.result(select_view(call, call.ref("self"), axis, i));
  }
}

void slice_scatter(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  ir::Value* x = call.tensor("self");
  const SymInt size = x->dims()[static_cast<size_t>(axis)];
  call.result(call.emit("slice_scatter", {x, call.cast(call.tensor("src"), x->dtype())},
                        {{"dim", SymInt(axis)},
                         {"start", bound(call, "start", 0, size)},
                         {"end", bound(call, "end", kEnd, size)},
                         {"step", call.size("step")}}));
}

void select_scatter(Call& call) {
  const int64_t axis = tensor_axis(call, "dim");
  ir::Value* x = call.tensor("self");
  ir::Value* source = call.cast(call.tensor("src"), x->dtype());
  SymDims dims = source->dims();
  dims.insert(dims.begin() + axis, 1);
  SymInt index = call.size("index");
  if (index.is_constant() && index.value() < 0) {
    index = index + x->dims()[static_cast<size_t>(axis)];
  }
  call.result(call.emit("slice_scatter", {x, call.reshape(source, dims)},
                        {{"dim", SymInt(axis)}, {"start", index}, {"end", index + 1}}));
}

constexpr AtenOp kOps[] = {
    {"select.int(self, dim, index)", select},
    {"select_copy.int(self, dim, index)", select},
    {"slice.Tensor(self, dim=0, start=None, end=None, step=1)", slice},
    {"slice_copy.Tensor(self, dim=0, start=None, end=None, step=1)", slice},
    {"narrow(self, dim, start, length)", narrow},
    {"split.Tensor(self, split_size, dim=0)", split},
    {"split_copy.Tensor(self, split_size, dim=0)", split},
    {"split.sizes(self, split_sizes, dim=0)", split_sizes},
    {"split_with_sizes(self, split_sizes, dim=0)", split_sizes},
    {"split_with_sizes_copy(self, split_sizes, dim=0)", split_sizes},
    {"chunk(self, chunks, dim=0)", chunk},
    {"tensor_split.sections,indices(self, sections=None, indices=None, dim=0)", tensor_split},
    {"unbind.int(self, dim=0)", unbind},
    {"unbind_copy.int(self, dim=0)", unbind},
    {"slice_scatter(self, src, dim=0, start=None, end=None, step=1)", slice_scatter},
    {"select_scatter(self, src, dim, index)", select_scatter},
};

}  // namespace

extern const AtenTable k_slice;
const AtenTable k_slice = kOps;

}  // namespace regraft::lowering::aten
