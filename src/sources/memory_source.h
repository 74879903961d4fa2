#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "regraft/weight_source.h"
#include "sources/named_source.h"

namespace regraft::sources {

using Tensors = std::vector<std::pair<std::string, SourceTensor>>;

// What make_source() makes.
class MemorySource final : public NamedSource {
 public:
  // Throws Error{InvalidArgument} for views that cannot be read.
  explicit MemorySource(Tensors tensors);
  TensorView spec(std::string_view name) const override;
  SourceTensor read(std::string_view name) const override;
  const std::shared_ptr<const Tensors>& tensors() const { return tensors_; }

 private:
  std::shared_ptr<const Tensors> tensors_;
};

}  // namespace regraft::sources
