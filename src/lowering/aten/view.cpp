#include <algorithm>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

// `dims` with -1 computed from the number of elements.
SymDims resolved(Call& call, const ir::Value* x, SymDims dims) {
  SymInt known = 1;
  SymInt* unknown = nullptr;
  for (SymInt& size : dims) {
    if (size == SymInt(-1)) {
      if (unknown != nullptr) call.unsupported("two sizes of -1");
      unknown = &size;
    } else {
      known = known * size;
    }
  }
  if (unknown == nullptr) return dims;
  if (known == SymInt(0)) call.unsupported("a size of -1 beside a size of 0");
  *unknown = floordiv(numel(x->dims()), known);
  return dims;
}

Ref reshape_view(Call& call, const Ref& of, SymDims dims) {
  if (of.value->dims() == dims) return of;
  return call.view(of, "reshape", {{"dims", std::move(dims)}});
}

// A reshape that PyTorch makes a view of where the strides allow, else a copy.
void reshape_to(Call& call, const std::string& name, const SymDims& dims) {
  Ref& self = call.ref(name);
  ir::Value* x = call.tensor(name);
  const std::optional<bool> is_view =
      self.meta == nullptr ? std::nullopt : is_viewable(*self.meta, dims);
  if (is_view && !*is_view) return call.result(call.reshape(x, dims));
  Ref out = reshape_view(call, self, dims);
  if (!is_view) out.memory->has_unclear_alias = true;
  call.result(std::move(out));
}

void view(Call& call) {
  ir::Value* x = call.tensor("self");
  call.result(reshape_view(call, call.ref("self"), resolved(call, x, call.sizes("size"))));
}

void reshape(Call& call) {
  ir::Value* x = call.tensor("self");
  reshape_to(call, "self", resolved(call, x, call.sizes("shape")));
}

void view_as(Call& call) {
  call.tensor("self");
  call.result(reshape_view(call, call.ref("self"), call.tensor("other")->dims()));
}

void reshape_as(Call& call) { reshape_to(call, "self", call.tensor("other")->dims()); }

void flatten(Call& call) {
  const SymDims& dims = call.tensor("self")->dims();
  if (dims.empty()) return reshape_to(call, "self", {1});
  const auto begin = static_cast<size_t>(call.axis("start_dim", dims.size()));
  const auto end = static_cast<size_t>(call.axis("end_dim", dims.size()));
  if (end < begin) call.unsupported("end_dim before start_dim");
  SymDims out(dims.begin(), dims.begin() + static_cast<ptrdiff_t>(begin));
  SymInt merged = 1;
  for (size_t i = begin; i <= end; ++i)
    merged = merged * dims[i];
  out.push_back(merged);
  out.insert(out.end(), dims.begin() + static_cast<ptrdiff_t>(end) + 1, dims.end());
  reshape_to(call, "self", out);
}

void unflatten(Call& call) {
  const SymDims dims = call.tensor("self")->dims();
  const auto axis = static_cast<size_t>(call.axis("dim", dims.size()));
  SymDims out(dims.begin(), dims.begin() + static_cast<ptrdiff_t>(axis));
  SymDims sizes = call.sizes("sizes");
  SymInt known = 1;
  for (const SymInt& size : sizes)
    known = size == SymInt(-1) ? known : known * size;
  for (SymInt& size : sizes) {
    if (size == SymInt(-1)) size = floordiv(dims[axis], known);
  }
  out.insert(out.end(), sizes.begin(), sizes.end());
  out.insert(out.end(), dims.begin() + static_cast<ptrdiff_t>(axis) + 1, dims.end());
  call.result(reshape_view(call, call.ref("self"), out));
}

// A size counts as 1 only if it is the number 1: symbols are never 1 without being specialised.
void squeeze(Call& call) {
  const SymDims dims = call.tensor("self")->dims();
  std::vector<bool> drop(dims.size(), call.is_none("dim"));
  if (!call.is_none("dim")) {
    for (const int64_t axis : call.axes("dim", dims.size()).value_or(Dims{})) {
      if (!dims.empty()) drop[static_cast<size_t>(axis)] = true;
    }
  }
  SymDims out;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!drop[i] || !(dims[i] == SymInt(1))) out.push_back(dims[i]);
  }
  call.result(reshape_view(call, call.ref("self"), out));
}

void unsqueeze(Call& call) {
  SymDims dims = call.tensor("self")->dims();
  const int64_t axis = call.axis("dim", dims.size() + 1);
  dims.insert(dims.begin() + axis, 1);
  call.result(reshape_view(call, call.ref("self"), dims));
}

void permute_by(Call& call, const SymDims& order) {
  bool is_identity = true;
  for (size_t i = 0; i < order.size(); ++i) {
    is_identity = is_identity && order[i] == SymInt(static_cast<int64_t>(i));
  }
  call.tensor("self");
  const Ref& self = call.ref("self");
  call.result(is_identity ? self : call.view(self, "permute", {{"dims", order}}));
}

SymDims identity_order(size_t rank) {
  SymDims order(rank);
  for (size_t i = 0; i < rank; ++i)
    order[i] = static_cast<int64_t>(i);
  return order;
}

void permute(Call& call) {
  const size_t rank = call.tensor("self")->dims().size();
  SymDims order;
  for (int64_t axis : call.integers("dims")) {
    order.push_back(axis < 0 ? axis + static_cast<int64_t>(rank) : axis);
  }
  permute_by(call, order);
}

void swap_axes(Call& call, const char* first, const char* second) {
  const size_t rank = call.tensor("self")->dims().size();
  SymDims order = identity_order(rank);
  const int64_t a = call.axis(first, rank), b = call.axis(second, rank);
  if (rank > 0) std::swap(order[static_cast<size_t>(a)], order[static_cast<size_t>(b)]);
  permute_by(call, order);
}
void transpose(Call& call) { swap_axes(call, "dim0", "dim1"); }
void swapaxes(Call& call) { swap_axes(call, "axis0", "axis1"); }

// All dimensions in reverse: t() of a matrix, .T.
void reverse(Call& call) {
  SymDims order = identity_order(call.tensor("self")->dims().size());
  std::reverse(order.begin(), order.end());
  permute_by(call, order);
}

void transpose_matrices(Call& call) {
  SymDims order = identity_order(call.tensor("self")->dims().size());
  if (order.size() < 2) call.unsupported("fewer than two dimensions");
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  permute_by(call, order);
}

void movedim(Call& call) {
  const size_t rank = call.tensor("self")->dims().size();
  const Dims from = call.axes("source", rank).value_or(Dims{});
  const Dims to = call.axes("destination", rank).value_or(Dims{});
  if (from.size() != to.size()) call.unsupported("source and destination differ in length");
  SymDims order(rank, -1);
  std::vector<bool> used(rank, false);
  for (size_t i = 0; i < from.size(); ++i) {
    order[static_cast<size_t>(to[i])] = from[i];
    used[static_cast<size_t>(from[i])] = true;
  }
  size_t next = 0;
  for (SymInt& axis : order) {
    if (!(axis == SymInt(-1))) continue;
    while (next < rank && used[next])
      ++next;
    axis = static_cast<int64_t>(next++);
  }
  permute_by(call, order);
}

void expand_to(Call& call, SymDims dims) {
  const SymDims from = call.tensor("self")->dims();
  for (size_t i = 0; i < dims.size() && i < from.size(); ++i) {
    SymInt& size = dims[dims.size() - 1 - i];
    if (size == SymInt(-1)) size = from[from.size() - 1 - i];
  }
  const Ref& self = call.ref("self");
  call.result(dims == from ? self : call.view(self, "expand", {{"dims", dims}}));
}

void expand(Call& call) { expand_to(call, call.sizes("size")); }
void expand_as(Call& call) { expand_to(call, call.tensor("other")->dims()); }

// Whether the strides are those of a row-major tensor of these sizes.
bool is_row_major(const SymDims& dims, const SymDims& strides) {
  SymInt expected = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] == SymInt(1)) continue;
    if (!(strides[i] == expected)) return false;
    expected = expected * dims[i];
  }
  return true;
}

void as_strided(Call& call) {
  // Strides of the exported tensor, not of the row-major value that stands for it.
  Ref& self = call.ref("self");
  const std::optional<bool> contiguous =
      self.meta == nullptr ? std::nullopt : is_contiguous(*self.meta);
  if (!contiguous || !*contiguous || !self.steps.empty()) {
    call.unsupported("of a tensor that is not known to be row-major");
  }
  const ir::Value* x = call.tensor("self");
  const SymDims dims = call.sizes("size"), strides = call.sizes("stride", dims.size());
  const SymInt offset = call.is_none("storage_offset") ? SymInt(0) : call.size("storage_offset");
  if (offset == SymInt(0) && numel(dims) == numel(x->dims()) && is_row_major(dims, strides)) {
    return call.result(reshape_view(call, self, dims));
  }
  call.result(
      call.view(self, "as_strided", {{"dims", dims}, {"strides", strides}, {"offset", offset}}));
}

void diagonal(Call& call) {
  const size_t rank = call.tensor("self")->dims().size();
  call.result(call.view(call.ref("self"), "diagonal",
                        {{"offset", call.size("offset")},
                         {"dim1", SymInt(call.axis("dim1", rank))},
                         {"dim2", SymInt(call.axis("dim2", rank))}}));
}

// Windows of `size` along one dimension, appended as the last: [.., windows, .., size].
void unfold(Call& call) {
  Ref& self = call.ref("self");
  ir::Value* x = call.tensor("self");
  const SymDims& dims = x->dims();
  if (dims.empty()) call.unsupported("of a 0-d tensor");
  const auto axis = static_cast<size_t>(call.axis("dimension", dims.size()));
  const SymInt size = call.size("size"), step = call.size("step");
  SymDims out = dims, strides(dims.size(), 1);
  for (size_t i = dims.size() - 1; i > 0; --i)
    strides[i - 1] = strides[i] * dims[i];
  out[axis] = floordiv(dims[axis] - size, step) + 1;
  out.push_back(size);
  strides.push_back(strides[axis]);
  strides[axis] = strides[axis] * step;
  self.memory->has_unclear_alias = true;
  call.result(call.emit("as_strided", {x}, {{"dims", out}, {"strides", strides}}));
}

constexpr AtenOp kOps[] = {
    {"view(self, size)", view},
    {"_unsafe_view(self, size)", view},
    {"_reshape_alias(self, size, stride)", view},
    {"view_copy(self, size)", view},
    {"reshape(self, shape)", reshape},
    {"view_as(self, other)", view_as},
    {"reshape_as(self, other)", reshape_as},
    {"flatten.using_ints(self, start_dim=0, end_dim=-1)", flatten},
    {"ravel(self, start_dim=0, end_dim=-1)", flatten},
    {"unflatten.int(self, dim, sizes)", unflatten},
    {"squeeze.default,dim,dims(self, dim=None)", squeeze},
    {"unsqueeze(self, dim)", unsqueeze},
    {"permute(self, dims)", permute},
    {"permute_copy(self, dims)", permute},
    {"transpose.int(self, dim0, dim1)", transpose},
    {"swapaxes(self, axis0, axis1)", swapaxes},
    {"swapdims(self, dim0, dim1)", transpose},
    {"t(self)", reverse},
    {"numpy_T(self)", reverse},
    {"mT(self)", transpose_matrices},
    {"adjoint(self)", transpose_matrices},
    {"movedim.int,intlist(self, source, destination)", movedim},
    {"moveaxis.int,intlist(self, source, destination)", movedim},
    {"expand(self, size, implicit=False)", expand},
    {"expand_copy(self, size, implicit=False)", expand},
    {"expand_as(self, other)", expand_as},
    {"broadcast_to(self, size)", expand},
    {"as_strided(self, size, stride, storage_offset=None)", as_strided},
    {"diagonal(self, offset=0, dim1=0, dim2=1)", diagonal},
    {"unfold(self, dimension, size, step)", unfold},
};

}  // namespace

extern const AtenTable k_view;
const AtenTable k_view = kOps;

}  // namespace regraft::lowering::aten
