#include "refit/lora.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "base/fail.h"
#include "base/parallel.h"
#include "refit/lora_kernel.h"
#include "tensor/convert.h"
#include "tensor/copy.h"

namespace regraft::refit {
namespace {

constexpr int64_t kColumns = lora::kColumns;

// One term as left [rows, rank] @ right [rank, padded columns], both f32 and row-major.
struct Factors {
  Tensor left, right;
  int64_t rank = 0;
  int64_t stride = 0;  // Columns of `right`: a multiple of kColumns, zeros behind the last.
  float scale = 1;
};

Dims without_trailing_ones(Dims dims, size_t least) {
  while (dims.size() > least && dims.back() == 1)
    dims.pop_back();
  return dims;
}

bool fits(const TensorView& base, const LoraTerm& term) {
  const Dims a = without_trailing_ones(term.a.dims, 2), b = without_trailing_ones(term.b.dims, 2);
  if (a.size() < 2 || b.size() != 2 || a[0] != b[1]) return false;
  if (term.transposed) {
    return base.dims.size() == 2 && a.size() == 2 && a[1] == base.dims[0] && b[0] == base.dims[1];
  }
  const Dims want = without_trailing_ones(base.dims, 2);
  return b[0] == want[0] && std::equal(a.begin() + 1, a.end(), want.begin() + 1, want.end());
}

// The matrix of `view` flattened behind its first dimension, as f32 with `stride` columns.
Tensor as_matrix(const TensorView& view, int64_t stride) {
  Tensor out(DType::F32, {view.dims[0], stride});
  MutableTensorView to = out.mutable_view();
  std::memset(to.mutable_data(), 0, to.bytes());
  Dims strides = contiguous_strides(view.dims);
  strides[0] = stride;
  if (view.count() > 0) copy(view, {to.mutable_data(), DType::F32, view.dims, strides});
  return out;
}

TensorView matrix_transposed(const TensorView& view) {
  return {view.data, view.dtype, {view.dims[1], view.dims[0]}, {view.strides[1], view.strides[0]}};
}

Factors factors_of(const LoraTerm& term, int64_t columns) {
  Factors out;
  out.rank = term.a.dims[0];
  out.scale = term.scale;
  out.stride = (columns + kColumns - 1) / kColumns * kColumns;
  const TensorView left = term.transposed ? matrix_transposed(term.a) : term.b;
  const TensorView right = term.transposed ? matrix_transposed(term.b) : term.a;
  out.left = as_matrix(left, out.rank);
  out.right = as_matrix(right, out.stride);
  return out;
}

template <typename T>
void add_to_base(const T* base, const float* total, int64_t count, T* out) {
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_same_v<T, double>) {
      out[i] = base[i] + static_cast<double>(total[i]);
    } else {
      out[i] = convert<T>(convert<float>(base[i]) + total[i]);
    }
  }
}

// Rows are walked in tiles: a block of `right` is used for all rows of a tile while it is cached.
template <typename T>
void merge_rows(const T* base, const std::vector<Factors>& terms, int64_t begin, int64_t end,
                int64_t columns, T* out) {
  constexpr int64_t kTile = 16;
  static const lora::AddProduct add = lora::kernels().back().run;
  for (int64_t tile = begin; tile < end; tile += kTile) {
    for (int64_t column = 0; column < columns; column += kColumns) {
      const int64_t count = std::min(kColumns, columns - column);
      for (int64_t row = tile; row < std::min(tile + kTile, end); ++row) {
        alignas(64) float total[kColumns] = {};
        for (const Factors& term : terms) {
          add(term.left.view().as<float>() + row * term.rank,
              term.right.view().as<float>() + column, term.stride, term.rank, term.scale, total);
        }
        const int64_t at = row * columns + column;
        add_to_base(base + at, total, count, out + at);
      }
    }
  }
}

template <typename T>
void merge(const TensorView& base, const std::vector<Factors>& terms, void* out) {
  constexpr int64_t kGrain = 1 << 15;  // Elements worth a thread.
  const int64_t rows = base.dims[0], columns = base.count() / rows;
  const T* from = base.as<T>();
  T* to = static_cast<T*>(out);
  base::parallel_for(rows, kGrain / columns + 1, [&](int64_t begin, int64_t end) {
    const base::KeepDenormals keep;
    merge_rows(from, terms, begin, end, columns, to);
  });
}

}  // namespace

std::optional<LoraProblem> problem_of(const TensorView& base, const LoraTerm& term) {
  for (const TensorView* view : {&base, &term.a, &term.b}) {
    if (!is_floating(view->dtype) || is_float8(view->dtype)) {
      return LoraProblem{
          ErrorCode::Unsupported,
          base::cat("lora: want floating tensors of 16 bits or more, have ", view->spec())};
    }
  }
  if (base.dims.size() >= 2 && fits(base, term)) return std::nullopt;
  return LoraProblem{
      ErrorCode::Mismatch,
      base::cat("lora: A ", term.a.spec(), " and B ", term.b.spec(),
                term.transposed ? ", transposed," : "", " do not fit the weight ", base.spec())};
}

bool is_active(const LoraTerm& term) { return term.scale != 0 && term.a.dims[0] > 0; }

Tensor merge_lora(const TensorView& base, std::span<const LoraTerm> terms) {
  Tensor out(base.dtype, base.dims);
  merge_lora(base, terms, out.mutable_view().mutable_data());
  return out;
}

void merge_lora(const TensorView& base, std::span<const LoraTerm> terms, void* to) {
  std::vector<Factors> factors;
  for (const LoraTerm& term : terms) {
    if (const auto problem = problem_of(base, term)) {
      base::fail("refit", problem->code, problem->text);
    }
  }
  if (base.count() == 0) return;
  for (const LoraTerm& term : terms) {
    if (is_active(term)) factors.push_back(factors_of(term, base.count() / base.dims[0]));
  }
  const Tensor dense = base.is_contiguous() ? Tensor() : Tensor::copy_of(base);
  const TensorView from = dense ? dense.view() : base;
  if (factors.empty()) {
    if (from.data != to) copy(from, {to, base.dtype, base.dims});
    return;
  }
  visit_computed(base.dtype, [&]<typename T>(T) {
    if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16> ||
                  std::is_floating_point_v<T>) {
      merge<T>(from, factors, to);
    }
  });
}

}  // namespace regraft::refit
