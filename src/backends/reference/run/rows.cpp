#include "backends/reference/run/rows.h"

#include <algorithm>

#include "tensor/promotion.h"

namespace regraft::reference {
namespace {

constexpr int64_t kGrain = 1 << 14;

bool needs_rounding(const Source& source) {
  return source.view.dtype != source.through && source.through != DType::F64 &&
         source.through != DType::I64 && source.through != DType::C128;
}

}  // namespace

template <typename C>
void load_row(const TensorView& view, int64_t offset, int64_t stride, int64_t count, C* to) {
  visit(view.dtype, [&](auto tag) {
    const auto* from = view.as<decltype(tag)>() + offset;
    if (stride == 1) {
      for (int64_t i = 0; i < count; ++i)
        to[i] = convert<C>(from[i]);
    } else if (stride == 0) {
      std::fill_n(to, count, convert<C>(from[0]));
    } else {
      for (int64_t i = 0; i < count; ++i)
        to[i] = convert<C>(from[i * stride]);
    }
  });
}

template <typename C>
void store_row(const C* from, const MutableTensorView& view, int64_t offset, int64_t stride,
               int64_t count) {
  visit(view.dtype, [&](auto tag) {
    using T = decltype(tag);
    T* to = view.as_mutable<T>() + offset;
    if (stride == 1) {
      for (int64_t i = 0; i < count; ++i)
        to[i] = convert<T>(from[i]);
    } else {
      for (int64_t i = 0; i < count; ++i)
        to[i * stride] = convert<T>(from[i]);
    }
  });
}

template <typename C>
void round_row(C* values, int64_t count, DType dtype) {
  visit(dtype, [&](auto tag) {
    for (int64_t i = 0; i < count; ++i)
      values[i] = convert<C>(convert<decltype(tag)>(values[i]));
  });
}

void collapse(Dims& dims, std::vector<Dims>& strides) {
  Dims merged;
  std::vector<Dims> merged_strides(strides.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 1) continue;
    bool even = !merged.empty();
    for (size_t k = 0; even && k < strides.size(); ++k) {
      even = merged_strides[k].back() == strides[k][i] * dims[i];
    }
    if (even) {
      merged.back() *= dims[i];
    } else {
      merged.push_back(dims[i]);
    }
    for (size_t k = 0; k < strides.size(); ++k) {
      if (even) merged_strides[k].pop_back();
      merged_strides[k].push_back(strides[k][i]);
    }
  }
  if (merged.empty()) {
    merged = {1};
    for (Dims& steps : merged_strides)
      steps = {1};
  }
  dims = std::move(merged);
  strides = std::move(merged_strides);
}

void for_each_position(const Dims& dims, const std::vector<Dims>& strides, int64_t work,
                       const PositionFunction& body) {
  base::parallel_for(numel(dims), kGrain / (work + 1) + 1, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> offsets(strides.size());
    for (int64_t at = begin; at < end; ++at) {
      for (size_t k = 0; k < strides.size(); ++k)
        offsets[k] = offset_of(at, dims, strides[k]);
      body(offsets.data());
    }
  });
}

void for_each_row(const Dims& dims_in, std::vector<Dims> strides, const RowFunction& row) {
  const int64_t total = numel(dims_in);
  if (total == 0) return;
  Dims dims = dims_in;
  collapse(dims, strides);
  const int64_t inner = dims.back();
  base::parallel_for(total, kGrain, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> offsets(strides.size()), steps(strides.size());
    for (size_t k = 0; k < strides.size(); ++k)
      steps[k] = strides[k].back();
    for (int64_t at = begin; at < end;) {
      const int64_t count = std::min({inner - at % inner, end - at, kRow});
      for (size_t k = 0; k < strides.size(); ++k)
        offsets[k] = offset_of(at, dims, strides[k]);
      row(offsets.data(), steps.data(), count);
      at += count;
    }
  });
}

template <typename Out, typename In>
void map(const MutableTensorView& to, const std::vector<Source>& sources,
         const MapFunction<Out, In>& f) {
  constexpr size_t kMaxSources = 3;
  std::vector<Dims> strides = {to.strides};
  for (const Source& source : sources)
    strides.push_back(broadcast_strides(source.view, to.dims));
  for_each_row(to.dims, std::move(strides),
               [&](const int64_t* offsets, const int64_t* steps, int64_t count) {
                 In rows[kMaxSources][kRow];
                 const In* pointers[kMaxSources];
                 Out out[kRow];
                 for (size_t i = 0; i < sources.size(); ++i) {
                   const Source& source = sources[i];
                   load_row(source.view, offsets[i + 1], steps[i + 1], count, rows[i]);
                   if (needs_rounding(source)) round_row(rows[i], count, source.through);
                   pointers[i] = rows[i];
                 }
                 f(pointers, out, count);
                 store_row(out, to, offsets[0], steps[0], count);
               });
}

#define REGRAFT_ROWS(C)                                                                      \
  template void load_row<C>(const TensorView&, int64_t, int64_t, int64_t, C*);               \
  template void store_row<C>(const C*, const MutableTensorView&, int64_t, int64_t, int64_t); \
  template void round_row<C>(C*, int64_t, DType);
REGRAFT_ROWS(int64_t)
REGRAFT_ROWS(double)
REGRAFT_ROWS(std::complex<double>)
#undef REGRAFT_ROWS

#define REGRAFT_MAP(Out, In)                                                       \
  template void map<Out, In>(const MutableTensorView&, const std::vector<Source>&, \
                             const MapFunction<Out, In>&);
REGRAFT_MAP(int64_t, int64_t)
REGRAFT_MAP(double, double)
REGRAFT_MAP(std::complex<double>, std::complex<double>)
REGRAFT_MAP(int64_t, double)
REGRAFT_MAP(int64_t, std::complex<double>)
REGRAFT_MAP(double, std::complex<double>)
#undef REGRAFT_MAP

Tensor number_tensor(const Attribute& scalar) {
  if (const auto* value = std::get_if<double>(&scalar)) {
    Tensor tensor(DType::F64, {});
    store<double>(tensor.mutable_view(), 0, *value);
    return tensor;
  }
  const auto* flag = std::get_if<bool>(&scalar);
  Tensor tensor(flag != nullptr ? DType::Bool : DType::I64, {});
  store<int64_t>(tensor.mutable_view(), 0,
                 flag != nullptr ? int64_t{*flag} : std::get<SymInt>(scalar).value());
  return tensor;
}

Operands operands_of(const Call& call,
                     std::initializer_list<std::pair<size_t, std::string_view>> entries) {
  Operands out;
  std::vector<PromotionOperand> promotion;
  for (const auto& [input, scalar] : entries) {
    if (call.has(input)) {
      const TensorView& view = call.in(input);
      promotion.push_back(
          {view.dtype, view.dims.empty() ? PromotionRank::ZeroDim : PromotionRank::Dimensioned});
      out.sources.push_back({view, view.dtype});
    } else if (!call.attributes().is_none(scalar)) {
      const Attribute& number = *call.attributes().find(scalar);
      promotion.push_back({number_dtype(number), PromotionRank::Number});
      out.numbers.push_back(number_tensor(number));
      out.sources.push_back({out.numbers.back().view(), out.numbers.back().dtype()});
    }
  }
  out.common = promote(promotion);
  for (Source& source : out.sources)
    source.through = out.common;
  return out;
}

}  // namespace regraft::reference
