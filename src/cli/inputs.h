#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "regraft/engine.h"
#include "regraft/weight_source.h"

namespace regraft::cli {

// Which argument ("x.npy" in order, or "name=x.npy") goes to which tensor of the signature. Indices
// into `arguments`; -1 where there is none. Throws Error{"cli", InvalidArgument} that begins with
// the option.
std::vector<int> assign(const std::vector<std::string>& arguments,
                        const std::vector<TensorSpec>& specs, std::string_view option);

// The tensors of files, and what keeps them.
struct InputFiles {
  std::vector<TensorView> views;
  std::vector<SourceTensor> owners;
  std::vector<Tensor> converted;
};
// One for each input. Throws Error{"cli", InvalidArgument} for those without a file.
InputFiles read_inputs(const std::vector<std::string>& arguments, const Signature& signature);

}  // namespace regraft::cli
