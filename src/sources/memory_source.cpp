#include "sources/memory_source.h"

#include "base/fail.h"
#include "sources/layout.h"
#include "sources/text.h"

namespace regraft::sources {
namespace {

std::vector<std::string> names_of(const Tensors& tensors) {
  std::vector<std::string> names;
  names.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors)
    names.push_back(name);
  return names;
}

void check(const std::string& name, const TensorView& view) {
  const auto fail = [&](std::string_view want) {
    base::fail("sources", ErrorCode::InvalidArgument, printable(name), ": want ", want, ", have ",
               view.spec(), " with strides ", to_string(view.strides));
  };
  if (view.strides.size() != view.dims.size()) fail("one stride for each dimension");
  if (!try_byte_count(view.dtype, view.dims) || !try_element_span(view.dims, view.strides)) {
    fail("sizes and strides >= 0");
  }
  if (view.count() > 0 && view.data == nullptr) fail("data");
  if (!is_aligned(view.data, alignment(view.dtype))) fail("aligned data");
}

}  // namespace

MemorySource::MemorySource(Tensors tensors)
    : NamedSource(base::cat("mapping of ", tensors.size(), " tensors"), names_of(tensors)) {
  for (const auto& [name, tensor] : tensors) {
    check(name, tensor.view);
    for (const LoraTerm& term : tensor.terms) {
      check(name, term.a);
      check(name, term.b);
    }
  }
  tensors_ = std::make_shared<const Tensors>(std::move(tensors));
}

TensorView MemorySource::spec(std::string_view name) const {
  const TensorView& view = (*tensors_)[index(name)].second.view;
  return {nullptr, view.dtype, view.dims, view.strides};
}

SourceTensor MemorySource::read(std::string_view name) const {
  return (*tensors_)[index(name)].second;
}

}  // namespace regraft::sources
