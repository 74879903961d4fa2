#include "refit/merges.h"

#include "refit/lora.h"

namespace regraft::refit {
namespace {

// [first dimension, the rest].
TensorView flattened(const TensorView& view) {
  const int64_t rows = view.dims[0], columns = rows == 0 ? 0 : view.count() / rows;
  return {view.data, view.dtype, {rows, columns}};
}

}  // namespace

void Merges::add(const TensorView& base, void* to, const std::vector<LoraTerm>& terms) {
  if (base.count() == 0) return;
  if (device_.is_host()) {
    merges_.push_back({base, to, terms});
    return;
  }
  backends::LoraMerge merge{flattened(base), to, {}};
  for (const LoraTerm& term : terms)
    merge.terms.push_back({matrix_of(term.a), matrix_of(term.b), term.scale, term.transposed});
  merges_.push_back(std::move(merge));
}

// In memory of the device.
TensorView Merges::matrix_of(const TensorView& factor) {
  const bool is_there = memory_.holds(factor.data);
  if (is_there && factor.dims.size() == 2) return factor;
  if (is_there && factor.is_contiguous()) return flattened(factor);
  blocks_.push_back(pool_.take(factor.bytes()));
  std::byte* const memory = blocks_.back()->writable;
  if (is_there) {
    device_.convert(factor, {memory, factor.dtype, factor.dims}, device_.work_stream());
  } else {
    kept_.push_back(factor.is_contiguous() ? Tensor() : Tensor::copy_of(factor));
    const void* from = kept_.back() ? kept_.back().view().data : factor.data;
    uploads_.push_back({memory, static_cast<const std::byte*>(from), factor.bytes()});
  }
  return flattened({memory, factor.dtype, factor.dims});
}

void Merges::run() {
  if (merges_.empty()) return;
  if (device_.is_host()) {
    for (const backends::LoraMerge& merge : merges_)
      merge_lora(merge.base, merge.terms, merge.to);
    return;
  }
  device_.upload(uploads_);
  device_.merge_lora(merges_);
}

}  // namespace regraft::refit
