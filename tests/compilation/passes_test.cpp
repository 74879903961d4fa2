// Runs every .irtest file of this folder (tests/support/irtest.h); "# precision: bf16" or f16 is an
// option of the passes.
#include <functional>
#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "compilation/hoist.h"
#include "compilation/pipeline.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "support/compare.h"
#include "support/evaluator.h"
#include "support/irtest.h"
#include "tensor/copy.h"

namespace regraft::compilation {
namespace {

std::string precision_of(const test::IrTest& test) {
  const auto found = test.header.find("precision");
  return found == test.header.end() ? "" : found->second;
}

class PassText : public testing::TestWithParam<std::string> {};

TEST_P(PassText, BecomesWhatTheFileSays) {
  const test::IrTest test = test::read_irtest(GetParam());
  const std::string precision = precision_of(test);
  Settings settings;
  if (precision == "bf16") settings.precision = Precision::BF16;
  if (precision == "f16") settings.precision = Precision::F16;
  const auto graph = ir::parse(test.before);
  for (const std::string& name : test.passes) {
    pass(name).run(*graph, settings);
    ir::verify(*graph);
    if (name == "hoist") verify_hoisted(*graph, settings);
  }
  EXPECT_EQ(ir::print(*graph), ir::print(*ir::parse(test.after)));
}

// Parameters and inputs of both graphs: the same values for the same names. Integers are 0 or 1, so
// that they can be indices and masks; floats are positive, so that they can be variances.
Tensor random_tensor(const ir::Value& value, const SymbolValues& sizes) {
  Tensor tensor(value.dtype(), eval(value.dims(), sizes));
  std::mt19937 random(static_cast<unsigned>(std::hash<std::string>()(value.name())));
  Tensor wide(DType::F64, tensor.dims());
  for (int64_t i = 0; i < wide.view().count(); ++i) {
    const double uniform = static_cast<double>(random() % 1000) / 1000;
    wide.mutable_view().as_mutable<double>()[i] =
        is_floating(value.dtype()) ? uniform + 0.5 : static_cast<double>(random() % 2);
  }
  copy(wide.view(), tensor.mutable_view());
  return tensor;
}

std::vector<Tensor> run(const ir::Graph& graph) {
  SymbolValues sizes;
  for (const ir::Value* input : graph.inputs()) {
    std::set<std::string> names;
    for (const SymInt& size : input->dims())
      size.collect_symbols(names);
    for (const std::string& name : names)
      sizes[name] = name == "s0" ? 2 : 5;
  }
  std::vector<Tensor> memory;
  std::vector<TensorView> inputs;
  for (const ir::Value* input : graph.inputs()) {
    memory.push_back(random_tensor(*input, sizes));
    inputs.push_back(memory.back().view());
  }
  std::map<std::string, TensorView> parameters;
  for (const ir::Graph::Parameter& parameter : graph.parameters()) {
    memory.push_back(random_tensor(*parameter.value, sizes));
    parameters[parameter.value->name()] = memory.back().view();
  }
  return test::evaluate(graph, inputs, sizes, parameters);
}

TEST_P(PassText, KeepsTheMeaning) {
  const test::IrTest test = test::read_irtest(GetParam());
  const std::vector<Tensor> before = run(*ir::parse(test.before));
  const std::vector<Tensor> after = run(*ir::parse(test.after));
  ASSERT_EQ(before.size(), after.size());
  const double tolerance = precision_of(test).empty() ? 1e-6 : 0.02;
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(
        test::mismatch(before[i].view(), after[i].view(), {{"f32", tolerance}, {"bf16", 0.02}}), "")
        << "output " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, PassText, testing::ValuesIn(test::irtest_files("compilation")),
                         [](const auto& info) {
                           return test::irtest_name(info.param, "compilation");
                         });

}  // namespace
}  // namespace regraft::compilation
