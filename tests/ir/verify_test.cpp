#include "ir/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "regraft/error.h"

namespace regraft::ir {
namespace {

using testing::HasSubstr;

std::string problem_of(const Graph& graph) {
  try {
    verify(graph);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Internal);
    return error.what();
  }
  return "";
}

std::unique_ptr<Graph> chain() {
  return parse(R"(
    parameters { @w: f32[4] }
    graph(%x: f32[s0,4]) {
      %a = mul(%x, @w)
      %b = relu(%a)
      return %b
    })");
}

TEST(Verify, AcceptsAGoodGraph) { EXPECT_EQ(problem_of(*chain()), ""); }

TEST(Verify, OrderOfDefinitionAndUse) {
  const auto graph = chain();
  graph->move_before(graph->find("b")->producer(), graph->find("a")->producer());
  EXPECT_THAT(problem_of(*graph), HasSubstr("%a is not defined before its use"));
}

TEST(Verify, ValueOfAnotherGraph) {
  const auto graph = chain();
  const auto other = chain();
  graph->set_input(graph->find("b")->producer(), 0, other->find("a"));
  EXPECT_THAT(problem_of(*graph), HasSubstr("not defined before its use"));
  graph->set_input(graph->find("b")->producer(), 0, graph->find("a"));
}

TEST(Verify, RegionsOnlyLookBack) {
  const auto graph = chain();
  graph->find("b")->producer()->set_region(Region::Shape);
  EXPECT_THAT(problem_of(*graph),
              HasSubstr("a shape node reads %a, which is known only in compute"));
}

TEST(Verify, TypesAreWhatInferenceGives) {
  const auto graph = chain();
  graph->set_input_type(graph->inputs()[0], {DType::F64, {SymInt::symbol("s0"), 4}});
  EXPECT_THAT(problem_of(*graph), HasSubstr("result 0: want f64[s0,4], have f32[s0,4]"));
}

TEST(Verify, SymbolsAreSizesOfInputs) {
  const auto graph = parse(R"(
    graph(%x: f32[s0]) {
      %a = full() {dims=[s1], value=0.0, dtype=f32}
      return %a
    })");
  EXPECT_THAT(problem_of(*graph), HasSubstr("symbol s1 is not in the sizes of any input"));
}

// PyTorch knows them once it has run the op.
TEST(Verify, OpaqueOpsMakeSymbols) {
  const auto graph = parse(R"(
    graph(%x: f32[s0]) {
      %a: f32[u0] = "torch.ops.aten.masked_select.default"(%x)
      %b = neg(%a)
      return %b
    })");
  EXPECT_EQ(problem_of(*graph), "");
}

TEST(Verify, ParametersHaveConstantSizes) {
  const auto graph = chain();
  graph->set_parameter_type(graph->find_parameter("w"), {DType::F32, {SymInt::symbol("s0")}});
  EXPECT_THAT(problem_of(*graph), HasSubstr("want constant sizes"));
}

}  // namespace
}  // namespace regraft::ir
