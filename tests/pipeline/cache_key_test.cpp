#include "pipeline/cache_key.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "pipeline/build_id.h"
#include "support/program_json.h"

namespace regraft::pipeline {
namespace {

using ::testing::ElementsAre;

std::string digest(std::string_view text, const CompileOptions& options = {}) {
  return graph_key(*ir::parse(text), options).digest;
}

struct Pair {
  std::string what, one, other;

  friend void PrintTo(const Pair& pair, std::ostream* out) { *out << pair.what; }
};

class DifferentGraphs : public ::testing::TestWithParam<Pair> {};

TEST_P(DifferentGraphs, HaveDifferentKeys) {
  const auto one = ir::parse(GetParam().one), other = ir::parse(GetParam().other);
  EXPECT_NE(graph_key(*one, {}).digest, graph_key(*other, {}).digest) << canonical_text(*one, {});
}

std::string unary(const std::string& call, const std::string& result = "") {
  return "graph(%x: f32[4,4,4]) { %r" + result + " = " + call + " return %r }";
}

std::string two_inputs(const std::string& body) {
  return "graph(%x: f32[4,4], %y: f32[4,4]) { " + body + " }";
}

std::string convolution(const std::string& attributes) {
  const std::string more =
      attributes.find("dilation") == std::string::npos ? ", dilation=[1,1]" : "";
  return "parameters { @w: f32[4,4,3,3] } graph(%x: f32[1,4,9,9]) {"
         " %r = convolution(%x, @w) {" +
         attributes + ", padding=[0,0], output_padding=[0,0]" + more + "} return %r }";
}

std::string symbolic(const std::string& symbols, const std::string& inputs) {
  return "symbols { " + symbols + " } graph(" + inputs + ") { %r = relu(%x) return %r }";
}

INSTANTIATE_TEST_SUITE_P(
    , DifferentGraphs,
    ::testing::Values(
        Pair{"stride", convolution("stride=[1,1]"), convolution("stride=[2,2]")},
        Pair{"dilation", convolution("stride=[1,1]"), convolution("stride=[1,1], dilation=[2,2]")},
        Pair{"axis", unary("softmax(%x) {dim=1}"), unary("softmax(%x) {dim=2}")},
        Pair{"order_of_axes", unary("permute(%x) {dims=[0,2,1]}"),
             unary("permute(%x) {dims=[2,1,0]}")},
        Pair{"flag", unary("sum(%x) {dims=[1]}"), unary("sum(%x) {dims=[1], keepdim=true}")},
        Pair{"scalar", unary("add(%x, 1.0)"), unary("add(%x, 2.0)")},
        Pair{"last_digit_of_scalar", unary("add(%x, 0.1)"), unary("add(%x, 0.10000000000000002)")},
        Pair{"sign_of_zero", unary("add(%x, 0.0)"), unary("add(%x, -0.0)")},
        Pair{"kind_of_scalar", unary("add(%x, 1)"), unary("add(%x, 1.0)")},
        Pair{"side_of_scalar", unary("sub(%x, 1.0)"), unary("sub(1.0, %x)")},
        Pair{"text", unary("gelu(%x)"), unary("gelu(%x) {approximate=\"tanh\"}")},
        Pair{"op", unary("relu(%x)"), unary("tanh(%x)")},
        Pair{"order_of_operands", two_inputs("%r = sub(%x, %y) return %r"),
             two_inputs("%r = sub(%y, %x) return %r")},
        Pair{"edge", two_inputs("%a = mul(%x, %y) %r = add(%a, %x) return %r"),
             two_inputs("%a = mul(%x, %y) %r = add(%a, %y) return %r")},
        Pair{"order_of_outputs", two_inputs("%a = relu(%x) %b = tanh(%y) return %a, %b"),
             two_inputs("%a = relu(%x) %b = tanh(%y) return %b, %a")},
        Pair{"output_twice", two_inputs("%a = relu(%x) %b = tanh(%y) return %a, %a"),
             two_inputs("%a = relu(%x) %b = tanh(%y) return %a, %b")},
        Pair{"tie",
             "parameters { @w: f32[4,4] @v: f32[4,4] } graph(%x: f32[2,4]) {"
             " %a = linear(%x, @w) %r = linear(%a, @v) return %r }",
             "parameters { @w: f32[4,4] @v: f32[4,4] = @w } graph(%x: f32[2,4]) {"
             " %a = linear(%x, @w) %r = linear(%a, @v) return %r }"},
        Pair{"which_parameter_again",
             "parameters { @w: f32[4,4] @v: f32[4,4] } graph(%x: f32[2,4]) {"
             " %a = linear(%x, @w) %b = linear(%a, @v) %r = linear(%b, @w) return %r }",
             "parameters { @w: f32[4,4] @v: f32[4,4] } graph(%x: f32[2,4]) {"
             " %a = linear(%x, @w) %b = linear(%a, @v) %r = linear(%b, @v) return %r }"},
        Pair{"input_or_parameter",
             "parameters { @y: f32[4,4] } graph(%x: f32[4,4], %z: f32[4,4]) {"
             " %r = add(%x, @y) return %r }",
             "parameters { @y: f32[4,4] } graph(%x: f32[4,4], %z: f32[4,4]) {"
             " %r = add(%x, %z) return %r }"},
        Pair{"dtype_of_input", "graph(%x: f32[4]) { %r = neg(%x) return %r }",
             "graph(%x: f64[4]) { %r = neg(%x) return %r }"},
        Pair{"dtype_of_parameter",
             "parameters { @w: f32[4] } graph(%x: f32[4]) { %w = cast(@w) {dtype=f32}"
             " %r = add(%x, %w) return %r }",
             "parameters { @w: bf16[4] } graph(%x: f32[4]) { %w = cast(@w) {dtype=f32}"
             " %r = add(%x, %w) return %r }"},
        Pair{"dtype_attribute", unary("cast(%x) {dtype=f64}"), unary("cast(%x) {dtype=f16}")},
        Pair{"unused_input", "graph(%x: f32[4]) { %r = neg(%x) return %r }",
             "graph(%x: f32[4], %y: f32[4]) { %r = neg(%x) return %r }"},
        Pair{"upper_bound", symbolic("s0 in [1,64]", "%x: f32[s0]"),
             symbolic("s0 in [1,32]", "%x: f32[s0]")},
        Pair{"lower_bound", symbolic("s0 in [1,64]", "%x: f32[s0]"),
             symbolic("s0 in [2,64]", "%x: f32[s0]")},
        Pair{"optimum", symbolic("s0 in [1,64] at 8", "%x: f32[s0]"),
             symbolic("s0 in [1,64] at 16", "%x: f32[s0]")},
        Pair{"static", symbolic("s0 in [8,8]", "%x: f32[s0]"),
             symbolic("s0 in [8,8]", "%x: f32[8]")},
        Pair{"expression", symbolic("s0 in [1,64]", "%y: f32[s0], %x: f32[s0*2]"),
             symbolic("s0 in [1,64]", "%y: f32[s0], %x: f32[s0+1]")},
        Pair{"same_symbol",
             symbolic("s0 in [1,64], s1 in [1,64]", "%x: f32[s0], %y: f32[s1], %z: f32[s0]"),
             symbolic("s0 in [1,64], s1 in [1,64]", "%x: f32[s0], %y: f32[s1], %z: f32[s1]")},
        Pair{"whose_range", symbolic("s0 in [1,64], s1 in [1,32]", "%x: f32[s0], %y: f32[s1]"),
             symbolic("s0 in [1,64], s1 in [1,32]", "%x: f32[s1], %y: f32[s0]")}),
    [](const auto& info) { return info.param.what; });

class EqualGraphs : public ::testing::TestWithParam<Pair> {};

TEST_P(EqualGraphs, ShareAKey) {
  const auto one = ir::parse(GetParam().one), other = ir::parse(GetParam().other);
  EXPECT_EQ(canonical_text(*one, {}), canonical_text(*other, {}));
  EXPECT_EQ(graph_key(*one, {}).digest, graph_key(*other, {}).digest);
}

INSTANTIATE_TEST_SUITE_P(
    , EqualGraphs,
    ::testing::Values(
        Pair{"names_of_inputs_and_results", two_inputs("%a = mul(%x, %y) return %a"),
             "graph(%left: f32[4,4], %right: f32[4,4]) { %z = mul(%left, %right) return %z as q }"},
        Pair{"names_of_symbols",
             symbolic("s0 in [1,64], s1 in [2,32]", "%x: f32[s0,s1], %y: f32[s0*2+s1]"),
             symbolic("s7 in [2,32], s9 in [1,64]", "%x: f32[s9,s7], %y: f32[s9*2+s7]")},
        Pair{"names_and_order_of_parameters",
             "parameters { @a: f32[4,4] @b: f32[4] } graph(%x: f32[2,4]) {"
             " %r = linear(%x, @a, @b) return %r }",
             "parameters { @x.b: f32[4] @x.w: f32[4,4] } graph(%x: f32[2,4]) {"
             " %r = linear(%x, @x.w, @x.b) return %r }"},
        Pair{"exchanged_parameters",
             "parameters { @a: f32[4,4] @b: f32[4,4] } graph(%x: f32[2,4]) {"
             " %y = linear(%x, @a) %r = linear(%y, @b) return %r }",
             "parameters { @a: f32[4,4] @b: f32[4,4] } graph(%x: f32[2,4]) {"
             " %y = linear(%x, @b) %r = linear(%y, @a) return %r }"},
        Pair{"number_of_aliases",
             "parameters { @a: f32[4,4] @b: f32[4,4] = @a } graph(%x: f32[2,4]) {"
             " %y = linear(%x, @a) %r = linear(%y, @b) return %r }",
             "parameters { @a: f32[4,4] } graph(%x: f32[2,4]) {"
             " %y = linear(%x, @a) %r = linear(%y, @a) return %r }"}),
    [](const auto& info) { return info.param.what; });

TEST(CacheKey, KnowsWhetherTf32IsAllowed) {
  CompileOptions allowed;
  allowed.allow_tf32 = true;
  EXPECT_NE(digest(unary("relu(%x)")), digest(unary("relu(%x)"), allowed));
}

TEST(CacheKey, KnowsEveryAttributeOfEveryNode) {
  const auto graph = ir::parse(
      "parameters { @w: f32[4,4,3,3] @g: f32[4] } graph(%x: f32[2,4,9,9]) {"
      " %a = convolution(%x, @w) {stride=[1,1], padding=[1,1], dilation=[1,1], "
      "output_padding=[0,0]} %b = softmax(%a) "
      "{dim=1} %r = "
      "mul(%b, 3.0)"
      " return %r }");
  std::set<std::string> digests = {graph_key(*graph, {}).digest};
  size_t count = 1;
  for (ir::Node* node : graph->node_list()) {
    const Attributes before = node->attributes();
    for (const auto& [name, value] : before.entries()) {
      Attributes changed = before;
      if (const auto* number = std::get_if<SymInt>(&value)) changed.set(name, *number + 1);
      if (const auto* number = std::get_if<double>(&value)) changed.set(name, *number * 2);
      if (const auto* sizes = std::get_if<SymDims>(&value)) {
        SymDims more = *sizes;
        for (SymInt& size : more)
          size = size + 1;
        changed.set(name, more);
      }
      if (changed == before) continue;
      try {
        graph->set_attributes(node, changed);
      } catch (const Error&) {
        continue;  // No such node.
      }
      digests.insert(graph_key(*graph, {}).digest);
      ++count;
      graph->set_attributes(node, before);
    }
  }
  EXPECT_EQ(digests.size(), count);
  EXPECT_GE(count, 6u);
}

TEST(CacheKey, KnowsTheSettings) {
  const std::string graph = unary("relu(%x)");
  CompileOptions backend, precision, pass, same;
  backend.backend = "reference";
  precision.precision = DType::BF16;
  pass.disabled_passes = {"merge-linears"};
  same.name = "another";
  same.weights = false;
  same.metadata["call"] = "other pytrees";
  same.engine.retain = Retain::None;
  const std::set<std::string> digests = {digest(graph), digest(graph, backend),
                                         digest(graph, precision), digest(graph, pass)};
  EXPECT_EQ(digests.size(), 4u);
  EXPECT_EQ(digest(graph), digest(graph, same));
}

TEST(CacheKey, TakesDisabledPassesInAnyOrder) {
  CompileOptions one, other;
  one.disabled_passes = {"simplify", "merge-linears"};
  other.disabled_passes = {"merge-linears", "simplify", "simplify"};
  EXPECT_EQ(digest(unary("relu(%x)"), one), digest(unary("relu(%x)"), other));
}

TEST(CacheKey, KnowsTheCompilerDownToItsMachineCode) {
  EXPECT_GE(build_id().size(), 16u);
  EXPECT_THAT(canonical_text(*ir::parse(unary("relu(%x)")), {}), ::testing::HasSubstr(build_id()));
}

TEST(CacheKey, GivesTheNamesOfAProgramByPosition) {
  test::ProgramJson json;
  json.input("image", "f32[s5,4]").range("s5", 1, 8);
  json.parameter("p_b", "head.bias", "f32[3]").parameter("p_w", "head.weight", "f32[3,4]");
  json.node("aten.linear.default", "input=%image, weight=%p_w, bias=%p_b", "y: f32[s5,3]");
  json.output("y");
  const CacheKey key = cache_key(json.program());
  EXPECT_EQ(key.digest.size(), 32u);
  EXPECT_THAT(key.parameters, ElementsAre("head.weight", "head.bias"));
  EXPECT_THAT(key.inputs, ElementsAre("image"));
  EXPECT_THAT(key.outputs, ElementsAre(json.program().outputs()[0].name));
  EXPECT_THAT(key.symbols, ElementsAre("s5"));
}

}  // namespace
}  // namespace regraft::pipeline
