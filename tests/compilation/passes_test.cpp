// Runs every .irtest file of this folder: a graph before a pass and the graph it must become.
//
//     # pass: fold-batch-norm        (or several, run in order: "simplify, hoist")
//     # why: what is hard about this case
//     # precision: bf16              (optional)
//     --- before
//     graph(...) {...}
//     --- after
//     graph(...) {...}
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "compilation/hoist.h"
#include "compilation/pipeline.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "support/compare.h"
#include "support/evaluator.h"
#include "tensor/copy.h"

namespace regraft::compilation {
namespace {

struct Case {
  std::string passes, precision, before, after;
};

Case read_case(const std::string& path) {
  std::ifstream file(path);
  Case out;
  std::string* part = nullptr;
  for (std::string line; std::getline(file, line);) {
    if (line == "--- before") {
      part = &out.before;
    } else if (line == "--- after") {
      part = &out.after;
    } else if (part != nullptr) {
      *part += line + "\n";
    } else if (line.starts_with("# pass: ")) {
      out.passes = line.substr(8);
    } else if (line.starts_with("# precision: ")) {
      out.precision = line.substr(13);
    }
  }
  return out;
}

std::vector<std::string> cases() {
  std::vector<std::string> paths;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(REGRAFT_TEST_DATA "/compilation")) {
    if (entry.path().extension() == ".irtest") paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

class PassText : public testing::TestWithParam<std::string> {};

TEST_P(PassText, BecomesWhatTheFileSays) {
  const Case test = read_case(GetParam());
  ASSERT_FALSE(test.passes.empty()) << "no '# pass:' line";
  ASSERT_FALSE(test.after.empty()) << "no '--- after' line";
  Settings settings;
  if (test.precision == "bf16") settings.precision = Precision::BF16;
  if (test.precision == "f16") settings.precision = Precision::F16;
  const auto graph = ir::parse(test.before);
  std::stringstream names(test.passes);
  for (std::string name; std::getline(names, name, ',');) {
    name.erase(0, name.find_first_not_of(' '));
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
  return regraft::test::evaluate(graph, inputs, sizes, parameters);
}

TEST_P(PassText, KeepsTheMeaning) {
  const Case test = read_case(GetParam());
  const std::vector<Tensor> before = run(*ir::parse(test.before));
  const std::vector<Tensor> after = run(*ir::parse(test.after));
  ASSERT_EQ(before.size(), after.size());
  const double tolerance = test.precision.empty() ? 1e-6 : 0.02;
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(regraft::test::mismatch(before[i].view(), after[i].view(),
                                      {{"f32", tolerance}, {"bf16", 0.02}}),
              "")
        << "output " << i;
  }
}

// "fold_batch_norm/shared_conv" -> fold_batch_norm_shared_conv
std::string test_name(const testing::TestParamInfo<std::string>& info) {
  const std::filesystem::path path(info.param);
  std::string name = path.parent_path().filename().string() + "_" + path.stem().string();
  std::replace_if(name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Files, PassText, testing::ValuesIn(cases()), test_name);

}  // namespace
}  // namespace regraft::compilation
