#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/tensor.h"
#include "regraft/weight_source.h"

namespace regraft {

enum class ParameterKind {
  Parameter,  // nn.Parameter
  Buffer,     // nn.Module.register_buffer
  Constant,   // A tensor that tracing lifted out of the code.
};

// A tensor the program owns.
struct ProgramParameter {
  std::string name;                  // FQN, the first of tied ones in the order of the file.
  std::vector<std::string> aliases;  // Other FQNs of the very same tensor (tied weights).
  DType dtype = DType::F32;
  Dims dims;
  ParameterKind kind = ParameterKind::Parameter;
  bool persistent = true;  // Part of the state_dict.
};

// A tensor the program takes or returns. Sizes are numbers or expressions over symbols: "s0*2".
struct ProgramTensor {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::string> dims;
};

// A model as torch.export wrote it: graph, parameter table, signature, and where its weights are.
// Immutable; copies share, so copying is cheap; const calls may run concurrently.
class Program {
 public:
  // Reads a .pt2 archive of torch 2.9 or later. The bytes of weights stay in the file, mapped,
  // until something asks for them. Throws Error{"program" or "sources"}: {NotFound, Io, Corrupt,
  // Version, Unsupported, OutOfMemory}.
  static Program read(const std::string& path);
  // The same from the archive's JSON (models/model.json) and a source with every parameter, buffer
  // and constant by FQN. Tensors of the source that are the same memory with the same dims and
  // strides are tied. Throws Error{"program", ...}.
  static Program from_json(std::string_view json, std::shared_ptr<const WeightSource> weights);

  // Every tensor the program owns, ties once, whether the graph reads it or not.
  const std::vector<ProgramParameter>& parameters() const;
  // What a caller passes and gets, flat, in order of the pytrees.
  const std::vector<ProgramTensor>& inputs() const;
  const std::vector<ProgramTensor>& outputs() const;
  // What has to hold between the inputs' sizes beyond the ranges of their symbols, since branches
  // of the model depended on it: "mod(s0,2) == 0". Runs with other sizes are refused.
  std::vector<std::string> guards() const;
  // The pytrees of arguments and results in PyTorch's serialised form; empty when unknown.
  const std::string& in_spec() const;
  const std::string& out_spec() const;
  // By FQN, every alias included. Reading from a program that was saved without weights throws.
  const std::shared_ptr<const WeightSource>& weights() const;

  // For the compiler.
  struct Impl;
  explicit Program(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace regraft
