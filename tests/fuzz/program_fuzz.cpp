// Reads a serialised program and lowers it: bytes from anywhere give a graph or an Error.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "ir/text.h"
#include "lowering/lower.h"
#include "regraft/error.h"
#include "regraft/program.h"

namespace {

// What the programs of the corpus call their tensors; others are refused early.
std::shared_ptr<const regraft::WeightSource> weights() {
  using regraft::DType;
  std::vector<std::pair<std::string, regraft::SourceTensor>> tensors;
  const auto add = [&](const char* name, DType dtype, regraft::Dims dims) {
    auto tensor = std::make_shared<regraft::Tensor>(dtype, std::move(dims));
    tensors.emplace_back(name, regraft::SourceTensor{tensor->view(), tensor, true});
  };
  add("lin.weight", DType::F32, {3, 4});
  add("scale", DType::F32, {3});
  add("wte.weight", DType::F32, {7, 4});
  add("conv.weight", DType::F32, {4, 3, 3, 3});
  return regraft::make_source(std::move(tensors));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto source = weights();
  try {
    const std::string_view json(reinterpret_cast<const char*>(data), size);
    const regraft::Program program = regraft::Program::from_json(json, source);
    regraft::lowering::LoweringOptions options;
    options.allow_opaque = true;
    const auto graph = regraft::lowering::lower(program, options);
    // What lowering makes must have a text form that reads back.
    regraft::ir::parse(regraft::ir::print(*graph));
  } catch (const regraft::Error&) {
  }
  return 0;
}
