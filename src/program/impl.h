#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "program/exported.h"
#include "regraft/program.h"
#include "tensor/size_guard.h"

namespace regraft {

// What lowering reads of a program. Immutable once built.
struct Program::Impl {
  program::ExportedProgram exported;
  std::vector<ProgramParameter> parameters;
  std::map<std::string, size_t, std::less<>> parameter_by_name;  // Aliases included.
  std::vector<ProgramTensor> inputs;
  std::vector<ProgramTensor> outputs;
  std::vector<SizeGuard> guards;  // Of the inputs' sizes.
  // A name for each user output of the signature, tensor or not.
  std::vector<std::string> output_names;
  std::shared_ptr<const WeightSource> weights;
};

}  // namespace regraft
