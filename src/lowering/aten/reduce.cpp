#include <algorithm>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

Attributes reduction(Call& call, ir::Value* x) {
  Attributes out;
  if (const auto axes = call.axes("dim", x->dims().size())) out.set("dims", to_sym(*axes));
  out.set("keepdim", call.flag("keepdim"));
  return out;
}

// `unbiased` or `correction`, whichever the overload has.
ir::Value* variance(Call& call, ir::Value* x) {
  Attributes attributes = reduction(call, x);
  Attribute correction = SymInt(1);
  if (call.has("correction") && !call.is_none("correction")) correction = call.scalar("correction");
  if (call.has("unbiased")) correction = SymInt(call.flag("unbiased") ? 1 : 0);
  attributes.set("correction", correction);
  return call.emit("var", {x}, std::move(attributes));
}

void var(Call& call) { call.result(variance(call, call.tensor("self"))); }
void std(Call& call) { call.result(call.emit("sqrt", {variance(call, call.tensor("self"))})); }
void var_mean(Call& call) {
  ir::Value* x = call.tensor("self");
  call.result(variance(call, x));
  call.result(call.emit("mean", {x}, reduction(call, x)));
}
void std_mean(Call& call) {
  ir::Value* x = call.tensor("self");
  call.result(call.emit("sqrt", {variance(call, x)}));
  call.result(call.emit("mean", {x}, reduction(call, x)));
}

void argsort(Call& call) {
  ir::Value* x = call.tensor("self");
  call.result(call.emit_all("sort", {x},
                            {{"dim", SymInt(call.axis("dim", x->dims().size()))},
                             {"descending", call.flag("descending")}})[1]);
}

// Stable order is one of those an unstable sort may give.
void sort_stable(Call& call) {
  ir::Value* x = call.tensor("self");
  for (ir::Value* value :
       call.emit_all("sort", {x},
                     {{"dim", SymInt(call.axis("dim", x->dims().size()))},
                      {"descending", call.flag("descending")},
                      {"stable", !call.is_none("stable") && call.flag("stable")}})) {
    call.result(value);
  }
}

void diff(Call& call) {
  ir::Value* x = call.tensor("self");
  const int64_t axis = call.axis("dim", x->dims().size());
  const int64_t order = call.integer("n");
  if (order < 0 || order > 8) call.unsupported("a difference of order ", order);
  // Without a difference, PyTorch adds nothing to the ends either.
  if (order == 0) return call.result(x);
  std::vector<ir::Value*> parts;
  if (!call.is_none("prepend")) parts.push_back(call.tensor("prepend"));
  parts.push_back(x);
  if (!call.is_none("append")) parts.push_back(call.tensor("append"));
  if (parts.size() > 1) x = call.emit("cat", parts, {{"dim", SymInt(axis)}});
  for (int64_t i = 0; i < order; ++i) {
    const SymInt size = x->dims()[static_cast<size_t>(axis)];
    ir::Value* next = call.emit("slice", {x}, {{"dim", SymInt(axis)}, {"start", SymInt(1)}});
    ir::Value* previous = call.emit("slice", {x}, {{"dim", SymInt(axis)}, {"end", size - 1}});
    x = call.emit(x->dtype() == DType::Bool ? "logical_xor" : "sub", {next, previous});
  }
  call.result(x);
}

// `x` with the size that it broadcasts to along an axis, which counts from the end.
ir::Value* broadcast_along(Call& call, ir::Value* x, const SymDims& other, int64_t from_end) {
  const auto from = static_cast<size_t>(-from_end);
  SymDims dims = x->dims();
  while (dims.size() < from)
    dims.insert(dims.begin(), 1);
  SymInt& size = dims[dims.size() - from];
  const SymInt to = other.size() < from ? SymInt(1) : other[other.size() - from];
  if (size == SymInt(1)) size = to;
  return dims == x->dims() ? x : call.emit("expand", {x}, {{"dims", dims}});
}

// x1 . x2 / (max(|x1|, eps) * max(|x2|, eps))
void cosine_similarity(Call& call) {
  ir::Value *x = call.tensor("x1"), *y = call.tensor("x2");
  const size_t rank = std::max(x->dims().size(), y->dims().size());
  const int64_t from_end = call.axis("dim", rank) - static_cast<int64_t>(rank);
  if (rank != 0) {
    x = broadcast_along(call, x, y->dims(), from_end);
    y = broadcast_along(call, y, x->dims(), from_end);
  }
  const auto direction = [&](ir::Value* value) {
    ir::Value* length =
        call.emit("norm", {value}, {{"dims", SymDims{SymInt(from_end)}}, {"keepdim", true}});
    length = call.emit("clamp", {length, nullptr, nullptr}, {{"min", call.number("eps")}});
    return call.emit("div", {value, length});
  };
  ir::Value* product = call.emit("mul", {direction(x), direction(y)});
  call.result(call.emit("sum", {product}, {{"dims", SymDims{SymInt(from_end)}}}));
}

// With one axis, or without an order, a norm of vectors.
void linalg_norm(Call& call) {
  ir::Value* x = call.tensor("self");
  const auto axes = call.axes("dim", x->dims().size());
  const size_t count = axes ? axes->size() : x->dims().size();
  if (!call.is_none("ord") && count != 1) call.unsupported("of matrices");
  Attributes attributes{{"keepdim", call.flag("keepdim")}};
  if (axes) attributes.set("dims", to_sym(*axes));
  if (!call.is_none("ord")) attributes.set("ord", call.scalar("ord"));
  if (const auto dtype = call.dtype("dtype")) attributes.set("dtype", *dtype);
  call.result(call.emit("norm", {x}, std::move(attributes)));
}

void count_nonzero(Call& call) {
  ir::Value* x = call.tensor("self");
  Attributes attributes;
  if (const auto axes = call.axes("dim", x->dims().size())) attributes.set("dims", to_sym(*axes));
  call.result(call.emit("sum", {call.emit_scalar("ne", x, SymInt(0))}, std::move(attributes)));
}

constexpr AtenOp kOps[] = {
    {"sum.default,dim_IntList(self, dim=None, keepdim=False, dtype=None)",
     "sum(self) {dims=axes(dim), keepdim=keepdim, dtype=dtype}"},
    {"mean.default,dim(self, dim=None, keepdim=False, dtype=None)",
     "mean(self) {dims=axes(dim), keepdim=keepdim, dtype=dtype}"},
    {"prod.default,dim_int(self, dim=None, keepdim=False, dtype=None)",
     "prod(self) {dims=axes(dim), keepdim=keepdim, dtype=dtype}"},
    {"amax(self, dim=None, keepdim=False)", "amax(self) {dims=axes(dim), keepdim=keepdim}"},
    {"amin(self, dim=None, keepdim=False)", "amin(self) {dims=axes(dim), keepdim=keepdim}"},
    {"any.default,dim,dims(self, dim=None, keepdim=False)",
     "any(self) {dims=axes(dim), keepdim=keepdim}"},
    {"all.default,dim,dims(self, dim=None, keepdim=False)",
     "all(self) {dims=axes(dim), keepdim=keepdim}"},
    {"logsumexp(self, dim, keepdim=False)", "logsumexp(self) {dims=axes(dim), keepdim=keepdim}"},
    {"max.default(self)", "amax(self)"},
    {"min.default(self)", "amin(self)"},
    {"max.dim(self, dim, keepdim=False)", "max_dim(self) {dim=axis(dim), keepdim=keepdim}"},
    {"min.dim(self, dim, keepdim=False)", "min_dim(self) {dim=axis(dim), keepdim=keepdim}"},
    {"argmax(self, dim=None, keepdim=False)", "argmax(self) {dim=axis(dim), keepdim=keepdim}"},
    {"argmin(self, dim=None, keepdim=False)", "argmin(self) {dim=axis(dim), keepdim=keepdim}"},
    {"linalg_vector_norm(self, ord=2, dim=None, keepdim=False, dtype=None)",
     "norm(self) {ord=ord, dims=axes(dim), keepdim=keepdim, dtype=dtype}"},
    {"norm.Scalar,ScalarOpt_dim(self, p=2, dim=None, keepdim=False)",
     "norm(self) {ord=p, dims=axes(dim), keepdim=keepdim}"},
    {"linalg_norm(self, ord=None, dim=None, keepdim=False, dtype=None)", linalg_norm},
    {"cosine_similarity(x1, x2, dim=1, eps=1e-08)", cosine_similarity},
    {"cumsum(self, dim, dtype=None)", "cumsum(self) {dim=axis(dim), dtype=dtype}"},
    {"cumprod(self, dim, dtype=None)", "cumprod(self) {dim=axis(dim), dtype=dtype}"},
    {"sort(self, dim=-1, descending=False)", "sort(self) {dim=axis(dim), descending=descending}"},
    {"sort.stable(self, stable=None, dim=-1, descending=False)", sort_stable},
    {"topk(self, k, dim=-1, largest=True, sorted=True)",
     "topk(self) {k=k, dim=axis(dim), largest=largest, sorted=sorted}"},
    {"argsort(self, dim=-1, descending=False)", argsort},
    {"var.default,dim,correction(self, dim=None, unbiased=True, correction=None, keepdim=False)",
     var},
    {"std.default,dim,correction(self, dim=None, unbiased=True, correction=None, keepdim=False)",
     std},
    {"var_mean.default,dim,correction(self, dim=None, unbiased=True, correction=None, "
     "keepdim=False)",
     var_mean},
    {"std_mean.default,dim,correction(self, dim=None, unbiased=True, correction=None, "
     "keepdim=False)",
     std_mean},
    {"diff(self, n=1, dim=-1, prepend=None, append=None)", diff},
    {"count_nonzero.default,dim_IntList(self, dim=None)", count_nonzero},
};

}  // namespace

extern const AtenTable k_reduce;
const AtenTable k_reduce = kOps;

}  // namespace regraft::lowering::aten
