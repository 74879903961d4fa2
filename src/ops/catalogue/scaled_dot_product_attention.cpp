#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

// Batch dimensions of key or value as the query sees them: with enable_gqa each of its heads serves
// a group of neighbouring query heads.
SymDims shared_batch(const TypeContext& context, const TensorType& query, const TensorType& other) {
  SymDims batch(other.dims.begin(), other.dims.end() - 2);
  if (!context.attributes().flag("enable_gqa")) return batch;
  if (query.rank() < 3 || other.rank() < 3) {
    context.fail("enable_gqa: want heads, have ", query.str(), " and ", other.str());
  }
  const SymInt& heads = query.dims[query.rank() - 3];
  if (is_below(batch.back(), 1) || !can_equal(mod(heads, batch.back()), 0)) {
    context.fail("enable_gqa: ", batch.back().str(), " heads do not divide ", heads.str());
  }
  batch.back() = heads;
  return batch;
}

void check_mask(const TypeContext& context, const SymDims& scores) {
  const TensorType& mask = context.in(3);
  if (context.attributes().flag("is_causal")) context.fail("mask: cannot go with is_causal");
  if (mask.dtype != DType::Bool && mask.dtype != DType::F32) check_same_dtype(context, 3, "mask");
  if (mask.rank() < 2 || mask.rank() > scores.size()) {
    context.fail("mask: want rank 2 to ", scores.size(), ", have ", mask.str());
  }
  const size_t lead = scores.size() - mask.rank();
  for (size_t i = 0; i < mask.rank(); ++i) {
    if (mask.dims[i] != SymInt(1) && !can_equal(mask.dims[i], scores[lead + i])) {
      context.fail("mask: ", to_string(mask.dims), " does not broadcast to ", to_string(scores));
    }
  }
}

void attention(TypeContext& context) {
  const TensorType& query = context.in(0);
  const TensorType& key = context.in(1);
  const TensorType& value = context.in(2);
  check_floating(context, query.dtype);
  check_same_dtype(context, 1, "key");
  check_same_dtype(context, 2, "value");
  for (const TensorType* type : {&query, &key, &value}) {
    if (type->rank() < 2) context.fail("want at least two dimensions, have ", type->str());
  }
  same_size(context, query.dims.back(), key.dims.back(), "features of key");
  const SymInt keys =
      same_size(context, key.dims[key.rank() - 2], value.dims[value.rank() - 2], "rows of value");

  SymDims dims(query.dims.begin(), query.dims.end() - 2);
  dims = broadcast(context, dims, shared_batch(context, query, key));
  dims = broadcast(context, dims, shared_batch(context, query, value));
  dims.push_back(query.dims[query.rank() - 2]);
  dims.push_back(keys);
  if (context.has(3)) check_mask(context, dims);
  dims.back() = value.dims.back();
  context.out(query.dtype, std::move(dims));
}

constexpr OpDef kOps[] = {
    {"scaled_dot_product_attention",
     "(Tensor query, Tensor key, Tensor value, Tensor? mask=None, *, bool is_causal=false, "
     "float? scale=None, bool enable_gqa=false) -> Tensor",
     attention},
};

}  // namespace

extern const OpFamily k_family_scaled_dot_product_attention = kOps;

}  // namespace regraft::ops
