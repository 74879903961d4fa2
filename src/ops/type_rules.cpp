#include "ops/type_rules.h"

#include <algorithm>
#include <map>
#include <set>

namespace regraft::ops {

const Attribute* given(const TypeContext& context, std::string_view name) {
  return context.attributes().is_none(name) ? nullptr : context.attributes().find(name);
}

std::optional<DType> optional_dtype(const TypeContext& context, std::string_view name) {
  const Attribute* attribute = given(context, name);
  return attribute == nullptr ? std::nullopt : std::optional(std::get<DType>(*attribute));
}

TensorType pointwise_type(const TypeContext& context,
                          std::initializer_list<std::string_view> scalars) {
  std::vector<PromotionOperand> operands;
  SymDims dims;
  for (size_t i = 0; i < context.input_count(); ++i) {
    if (!context.has(i)) continue;
    const TensorType& type = context.in(i);
    operands.push_back(
        {type.dtype, type.dims.empty() ? PromotionRank::ZeroDim : PromotionRank::Dimensioned});
    dims = broadcast(context, dims, type.dims);
  }
  for (const std::string_view name : scalars) {
    const Attribute* scalar = given(context, name);
    if (scalar != nullptr) operands.push_back({number_dtype(*scalar), PromotionRank::Number});
  }
  return {regraft::promote(operands), std::move(dims)};
}

std::vector<size_t> dims_of(const TypeContext& context, const Dims& dims, size_t rank) {
  std::vector<size_t> out;
  for (const int64_t dim : dims) {
    out.push_back(context.dim(dim, rank));
    if (std::count(out.begin(), out.end(), out.back()) > 1) {
      context.fail("dim ", dim, " appears twice in ", to_string(dims));
    }
  }
  return out;
}

std::vector<bool> reduced_dims(const TypeContext& context, size_t rank) {
  Dims dims;
  if (given(context, "dims") != nullptr) dims = context.attributes().integers("dims");
  std::vector<bool> reduced(rank, dims.empty());
  for (const size_t dim : dims_of(context, dims, rank)) {
    if (dim < rank) reduced[dim] = true;
  }
  return reduced;
}

SymDims reduce(const SymDims& dims, const std::vector<bool>& reduced, bool keepdim) {
  SymDims out;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!reduced[i]) {
      out.push_back(dims[i]);
    } else if (keepdim) {
      out.push_back(1);
    }
  }
  return out;
}

namespace {

// True where `x` is negative however large its symbols are: the sign of a symbolic bound is a fact
// of the program ("-s0", "-1"), not of one run.
bool is_negative(const SymInt& x) {
  if (x.is_constant()) return x.value() < 0;
  std::set<std::string> symbols;
  x.collect_symbols(symbols);
  for (const int64_t probe : {3, 101}) {
    SymbolValues values;
    for (const std::string& symbol : symbols)
      values[symbol] = probe;
    if (x.eval(values) >= 0) return false;
  }
  return true;
}

SymInt bound(const SymInt& at, const SymInt& size, bool is_end) {
  if (at.is_constant() && at.value() == INT64_MAX) return size;
  const SymInt from_start = is_negative(at) ? size + at : at;
  if (from_start.is_constant() && size.is_constant()) {
    return std::clamp<int64_t>(from_start.value(), 0, size.value());
  }
  return is_end && from_start.is_constant() ? min(from_start, size) : from_start;
}

}  // namespace

SymInt slice_size(const TypeContext& context, const SymInt& size, const SymInt& start,
                  const SymInt& end, const SymInt& step) {
  if (!step.is_constant() || step.value() < 1)
    context.fail("want a step above 0, have ", step.str());
  const SymInt first = bound(start, size, false);
  const SymInt last = bound(end, size, true);
  const SymInt length = last - first;
  if (length.is_constant() && length.value() <= 0) return 0;
  return floordiv(length + step - 1, step);
}

void check_same_dims(const TypeContext& context, std::string_view what, const SymDims& want,
                     const SymDims& have) {
  bool same = want.size() == have.size();
  for (size_t i = 0; same && i < want.size(); ++i) {
    same = !want[i].is_constant() || !have[i].is_constant() || want[i] == have[i];
  }
  if (!same) context.fail(what, ": want ", to_string(want), ", have ", to_string(have));
}

void check_index_dtype(const TypeContext& context, std::string_view what, DType dtype) {
  if (dtype != DType::I64 && dtype != DType::I32) {
    context.fail(what, ": want i64 or i32, have ", name(dtype));
  }
}

void check_not_bool(const TypeContext& context, DType dtype) {
  if (dtype == DType::Bool) context.fail("is not defined on bool");
}

void check_not_complex(const TypeContext& context, DType dtype) {
  if (is_complex(dtype)) context.fail("is not defined on ", name(dtype));
}

void check_computed(const TypeContext& context, DType dtype) {
  if (!is_float8(dtype)) return;
  base::fail("ops", ErrorCode::Unsupported, context.op(), ": does not calculate with ", name(dtype),
             ", which is only stored: cast it");
}

void check_floating(const TypeContext& context, DType dtype) {
  if (!is_floating(dtype)) context.fail("want a floating-point tensor, have ", name(dtype));
}

}  // namespace regraft::ops
