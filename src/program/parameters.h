#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "program/impl.h"

namespace regraft::program {

// A tensor of a weight source, before ties are found.
struct StoredTensor {
  // What makes two names the same tensor: where it lies and how it is laid out there.
  using Identity = std::tuple<uint64_t, int64_t, DType, Dims, Dims>;
  std::string name;
  DType dtype = DType::F32;
  Dims dims;
  bool is_parameter = true;
  // Nothing when it owns no bytes (empty, or saved without them): such tensors are never tied.
  std::optional<Identity> identity;
};

// Fills the parameter table from the tensors and the signature. Throws Error{"program", Corrupt}
// listing every parameter of the signature that has no tensor or one of another dtype or shape.
void build_parameters(const std::vector<StoredTensor>& tensors, Program::Impl& impl);

}  // namespace regraft::program
