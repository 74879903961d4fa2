// Functionalisation: what in-place ops, views and regions of an exported program become.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "lowering/lower.h"
#include "support/program_json.h"

namespace regraft::lowering {
namespace {

using test::ProgramJson;
using testing::HasSubstr;
using testing::Not;

std::string lowered(const ProgramJson& json, const LoweringOptions& options = {}) {
  return ir::print(*lower(json.program(), options));
}

// The message of the error that lowering must give.
std::string error_of(const ProgramJson& json, ErrorCode code = ErrorCode::Unsupported) {
  try {
    const auto graph = lower(json.program());
    return "no error: " + ir::print(*graph);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
}

std::string body(const std::string& text) { return text.substr(text.find("graph(")); }

void expect_graph(const ProgramJson& json, const std::string& want) {
  EXPECT_EQ(lowered(json), ir::print(*ir::parse(want)));
}

TEST(Import, WriteToAViewIsSeenByTheBase) {
  ProgramJson json;
  json.input("x", "f32[2,3]");
  json.node("aten.clone.default", "self=%x", "b: f32[2,3]");
  json.node("aten.select.int", "self=%b, dim=1, index=1", "v: f32[2]");
  json.node("aten.add_.Tensor", "self=%v, other=10", "v2: f32[2]");
  json.output("b").output("v");
  expect_graph(json, R"(graph(%x: f32[2,3]) {
    %v.slice = slice(%x) {dim=1, start=1, end=2}
    %v = reshape(%v.slice) {dims=[2]}
    %v2 = add(%v, 10)
    %reshape = reshape(%v2) {dims=[2,1]}
    %slice_scatter = slice_scatter(%x, %reshape) {dim=1, start=1, end=2}
    return %slice_scatter as output_0, %v2 as output_1
  })");
}

TEST(Import, WriteToTheBaseIsSeenByViewsTakenBefore) {
  ProgramJson json;
  json.input("x", "f32[2,3]");
  json.node("aten.clone.default", "self=%x", "b: f32[2,3]");
  json.node("aten.view.default", "self=%b, size=[6]", "v: f32[6]");
  json.node("aten.relu_.default", "self=%b", "r: f32[2,3]");
  json.output("v");
  expect_graph(json, R"(graph(%x: f32[2,3]) {
    %r = relu(%x)
    %reshape = reshape(%r) {dims=[6]}
    return %reshape as output
  })");
}

TEST(Import, WritesGoThroughPermutes) {
  ProgramJson json;
  json.input("x", "f32[2,3]");
  json.node("aten.clone.default", "self=%x", "b: f32[2,3]");
  json.node("aten.t.default", "self=%b", "t: f32[3,2]");
  json.node("aten.slice.Tensor", "self=%t, dim=0, start=0, end=1", "s: f32[1,2]");
  json.node("aten.zero_.default", "self=%s", "z: f32[1,2]");
  json.output("b");
  expect_graph(json, R"(graph(%x: f32[2,3]) {
    %z = full() {dims=[1,2], value=0, dtype=f32}
    %permute = permute(%x) {dims=[1,0]}
    %slice_scatter = slice_scatter(%permute, %z) {end=1}
    %permute_1 = permute(%slice_scatter) {dims=[1,0]}
    return %permute_1 as output
  })");
}

TEST(Import, CloneAndCastAreMemoryOfTheirOwn) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.mul.Tensor", "self=%x, other=2.0", "a: f32[2]");
  json.node("aten.to.dtype", "self=%a, dtype=f64", "wide: f64[2]");
  json.node("aten.to.dtype", "self=%a, dtype=f32", "same: f32[2]");
  json.node("aten.clone.default", "self=%a", "copy: f32[2]");
  json.node("aten.neg_.default", "self=%same", "n: f32[2]");
  json.output("a").output("wide").output("copy");
  expect_graph(json, R"(graph(%x: f32[2]) {
    %a = mul(%x, 2.0)
    %wide = cast(%a) {dtype=f64}
    %n = neg(%a)
    return %n as output_0, %wide as output_1, %a as output_2
  })");
}

TEST(Import, InPlaceKeepsTheDtype) {
  ProgramJson json;
  json.input("x", "f16[2]").input("y", "f32[2]");
  json.node("aten.clone.default", "self=%x", "a: f16[2]");
  json.node("aten.add_.Tensor", "self=%a, other=%y", "s: f16[2]");
  json.output("s");
  EXPECT_THAT(lowered(json), HasSubstr("= cast(%s.add) {dtype=f16}"));
}

TEST(Import, DropoutInEvaluationIsItsInput) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.relu.default", "self=%x", "a: f32[2]");
  json.node("aten.dropout_.default", "self=%a, p=0.5, train=false", "d: f32[2]");
  json.node("aten.relu_.default", "self=%d", "r: f32[2]");
  json.output("a");
  EXPECT_THAT(body(lowered(json)), HasSubstr("return %r as output"));
}

TEST(Import, UnsqueezeInPlaceRebindsTheName) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.relu.default", "self=%x", "a: f32[2]");
  json.node("aten.unsqueeze_.default", "self=%a, dim=0", "u: f32[1,2]");
  json.node("aten.neg.default", "self=%a", "n: f32[1,2]");
  json.output("n");
  EXPECT_THAT(lowered(json), HasSubstr("%n: f32[1,2] = neg(%u)"));
}

TEST(Import, WriteThroughAnExpandedTensorIsRefused) {
  ProgramJson json;
  json.input("x", "f32[2,1]");
  json.node("aten.clone.default", "self=%x", "b: f32[2,1]");
  json.node("aten.expand.default", "self=%b, size=[2,3]", "e: f32[2,3]");
  json.node("aten.neg_.default", "self=%e", "n: f32[2,3]");
  json.output("b");
  EXPECT_THAT(error_of(json), HasSubstr("writes through an expanded tensor"));
}

TEST(Import, BufferThatChangesIsNamed) {
  ProgramJson json;
  json.input("x", "f32[2]").buffer("b_sum", "cache.sum", "f32[2]");
  json.node("aten.add_.Tensor", "self=%b_sum, other=%x", "s: f32[2]");
  json.node("aten.neg.default", "self=%s", "y: f32[2]");
  json.output("y");
  EXPECT_THAT(error_of(json), HasSubstr("changes the buffer 'cache.sum'"));
}

TEST(Import, BufferThatOnlyCountsIsDropped) {
  ProgramJson json;
  json.input("x", "f32[2]").buffer("b_n", "bn.num_batches_tracked", "i64[]");
  json.node("aten.add_.Tensor", "self=%b_n, other=1", "n: i64[]");
  json.node("aten.neg.default", "self=%x", "y: f32[2]");
  json.output("y");
  EXPECT_THAT(lowered(json), Not(HasSubstr("parameters")));
}

TEST(Import, BufferMutationOfFunctionalProgramsIsNamed) {
  ProgramJson json;
  json.functional().input("x", "f32[2]").buffer("b_sum", "cache.sum", "f32[2]");
  json.node("aten.add.Tensor", "self=%b_sum, other=%x", "s: f32[2]");
  json.buffer_mutation("s", "cache.sum").output("s");
  EXPECT_THAT(error_of(json), HasSubstr("changes the buffer 'cache.sum'"));
}

TEST(Import, InputThatChangesIsNamed) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.relu_.default", "self=%x", "r: f32[2]");
  json.output("r");
  EXPECT_THAT(error_of(json), HasSubstr("changes its input 'x' in place"));
}

TEST(Import, TiedParametersAreOne) {
  ProgramJson json;
  json.input("x", "i64[3]");
  json.parameter("p_a", "wte.weight", "f32[7,4]").parameter("p_b", "head.weight", "f32[7,4]");
  json.node("aten.embedding.default", "weight=%p_a, indices=%x", "e: f32[3,4]");
  json.node("aten.linear.default", "input=%e, weight=%p_b", "y: f32[3,7]");
  json.output("y");
  const auto graph = lower(json.program({{"wte.weight", "head.weight"}}));
  ASSERT_EQ(graph->parameters().size(), 1u);
  EXPECT_EQ(graph->parameters()[0].aliases, std::vector<std::string>{"head.weight"});
  EXPECT_EQ(lower(json.program())->parameters().size(), 2u);
}

TEST(Import, RegionsAreInlined) {
  ProgramJson inner;
  inner.input("a", "f32[2]").input("b", "f32[2]");
  inner.node("aten.add.Tensor", "self=%a, other=%b", "s: f32[2]");
  inner.output("s");
  ProgramJson json;
  json.subgraph("body", inner).input("x", "f32[2]");
  json.node("higher_order.wrap_with_set_grad_enabled", "false, &body, %x, %x", "y: f32[2]");
  json.node("higher_order.wrap_with_autocast", "\"cpu\", none, false, none, &body, %y, %x",
            "z: f32[2]");
  json.output("z");
  expect_graph(json, R"(graph(%x: f32[2]) {
    %s = add(%x, %x)
    %s_1 = add(%s, %x)
    return %s_1 as output
  })");
}

TEST(Import, AutocastIsRefused) {
  ProgramJson inner;
  inner.input("a", "f32[2]").output("a");
  ProgramJson json;
  json.subgraph("body", inner).input("x", "f32[2]");
  json.node("higher_order.wrap_with_autocast", "\"cpu\", bf16, true, none, &body, %x", "y: f32[2]");
  json.output("y");
  EXPECT_THAT(error_of(json), HasSubstr("autocast is enabled"));
}

TEST(Import, SizesAreExpressions) {
  ProgramJson json;
  json.range("s0", 2, 64).input("x", "f32[s0,6]");
  json.node("aten.sym_size.int", "self=%x, dim=0", "#n");
  json.node("_operator.mul", "a=#n, b=2", "#m");
  json.node("_operator.floordiv", "a=#m, b=2", "#k");
  json.node("aten.view.default", "self=%x, size=[#m,-1]", "v: f32[s0*2,3]");
  json.node("aten.arange.default", "end=#k", "r: i64[s0]");
  json.node("aten.slice.Tensor", "self=%x, dim=0, start=0, end=1", "s: f32[1,6]");
  json.output("v").output("r").output("s");
  expect_graph(json, R"(symbols { s0 in [2,64] }
  graph(%x: f32[s0,6]) {
    %v = reshape(%x) {dims=[s0*2,3]}
    %r = arange() {end=s0, dtype=i64}
    %s.slice = slice(%x) {dim=0, end=1}
    %s = reshape(%s.slice) {dims=[1,6]}
    return %v as output_0, %r as output_1, %s as output_2
  })");
}

TEST(Import, InfinityStaysInfinity) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.eq.Scalar", "self=%x, other=-inf", "y: bool[2]");
  json.output("y");
  EXPECT_THAT(lowered(json), HasSubstr("eq(%x, -inf)"));
}

TEST(Import, OriginsPointAtTheProgram) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.at("encoder.act", "model.py", 12);
  json.node("aten.add.Tensor", "self=%x, other=1.0, alpha=2", "y: f32[2]");
  json.output("y");
  const auto graph = lower(json.program());
  const ir::Origin& origin = graph->nodes().back()->origin();
  EXPECT_EQ(origin.node, "y");
  EXPECT_EQ(origin.module_path, "encoder.act");
  EXPECT_EQ(origin.source_line, "model.py:12");
}

TEST(Import, NumbersThatOnlyChecksReadAreLeftOut) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.sum.default", "self=%x", "sum: f32[]");
  json.node("aten.item.default", "self=%sum", "#item");
  json.node("_operator.mul", "a=#item, b=2", "#twice");
  json.node("aten._assert_scalar.default", "self=#twice, assert_msg=\"few\"", "");
  json.node("aten.neg.default", "self=%x", "y: f32[2]");
  json.output("y");
  expect_graph(json, R"(graph(%x: f32[2]) {
    %y = neg(%x)
    return %y as output
  })");
}

}  // namespace
}  // namespace regraft::lowering
