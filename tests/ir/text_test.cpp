#include "ir/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/random_graph.h"
#include "ir/verify.h"
#include "regraft/error.h"

namespace regraft::ir {
namespace {

using testing::HasSubstr;

std::string error_of(std::string_view text) {
  try {
    parse(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.stage(), "ir") << error.what();
    return error.what();
  }
  return "no error";
}

TEST(Text, ParseOfPrintIsTheGraph) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const auto graph = test::random_graph(seed);
    verify(*graph);
    const std::string text = print(*graph);
    const auto again = parse(text);
    verify(*again);
    ASSERT_EQ(print(*again), text) << "seed " << seed;
  }
}

TEST(Text, CloneIsTheGraph) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const auto graph = test::random_graph(seed);
    const auto copy = graph->clone();
    verify(*copy);
    ASSERT_EQ(print(*copy), print(*graph)) << "seed " << seed;
  }
}

TEST(Text, NestedCallsAndLiteralOperands) {
  const auto graph = parse(R"(
    parameters { @v: f32[4] }
    graph(%x: f32[s0,4]) {
      %y = mul(%x, rsqrt(add(@v, 1e-05)))
      %z = sub(1.0, %y)
      return %z as logits
    })");
  EXPECT_EQ(print(*graph),
            "parameters {\n  @v: f32[4]\n}\n"
            "graph(%x: f32[s0,4]) {\n"
            "  %add: f32[4] = add(@v, 1e-05)\n"
            "  %rsqrt: f32[4] = rsqrt(%add)\n"
            "  %y: f32[s0,4] = mul(%x, %rsqrt)\n"
            "  %z: f32[s0,4] = sub(1.0, %y)\n"
            "  return %z as logits\n}\n");
}

TEST(Text, Guards) {
  const std::string text =
      "symbols { s0 in [1,64], s1 in [2,inf] }\n"
      "guards { mod(s0,2) == 0, s0*2 <= max(s0,s1), s0 != 7, 1 < s1 }\n"
      "graph(%x: f32[s0,s1]) {\n  return %x\n}\n";
  const auto graph = parse(text);
  EXPECT_EQ(print(*graph), text);
  EXPECT_EQ(print(*graph->clone()), text);
  EXPECT_THAT(error_of("guards { s0 = 1 } graph() { return }"), HasSubstr("want ==, !=, < or <="));
}

TEST(Text, NamesThatNeedQuotes) {
  const std::string text =
      "parameters {\n  @\"a \\\"b\\\" c\": f32[2]\n  @\"x/y\": f32[2] = @\"a \\\"b\\\" c\"\n}\n"
      "graph() {\n  return @\"a \\\"b\\\" c\" as \"out put\"\n}\n";
  EXPECT_EQ(print(*parse(text)), text);
}

TEST(Text, ResultsThatSwapTheirDefaultNames) {
  const std::string text =
      "graph(%x: f32[4]) {\n  %sort_1: f32[4], %sort: i64[4] = sort(%x) {dim=0}\n"
      "  return %sort_1, %sort\n}\n";
  EXPECT_EQ(print(*parse(text)), text);
}

TEST(Text, OpaqueOpsKeepTheirTypes) {
  const std::string text =
      "graph(%x: f32[4]) {\n  %y: f32[2,2] = aten.strange(%x, none) {mode=\"a\"}\n"
      "  return %y\n}\n";
  EXPECT_EQ(print(*parse(text)), text);
}

TEST(Text, ErrorsSayWhere) {
  EXPECT_THAT(error_of("graph(%x: f32[4]) {\n  %y = relu(%z)\n  return %y\n}"),
              HasSubstr("line 2"));
  EXPECT_THAT(error_of("graph(%x: f32[4]) { %y: f32[5] = relu(%x)\n return %y }"),
              HasSubstr("'y' is f32[4], not f32[5]"));
  EXPECT_THAT(error_of("graph(%x: f32[4], %y: f32[3]) { %z = add(%x, %y) return %z }"),
              HasSubstr("cannot broadcast"));
  EXPECT_THAT(error_of("parameters { @a: f32[2] = @b } graph() { return }"),
              HasSubstr("alias of nothing"));
  EXPECT_THAT(error_of("parameters { @a: f32[2]\n @a: f32[2] } graph() { return }"),
              HasSubstr("two parameters named 'a'"));
  EXPECT_THAT(error_of("symbols { s0 in [4,2] } graph() { return }"), HasSubstr("empty range"));
  EXPECT_THAT(error_of("graph(%x: f32[9999999999999999999]) { return %x }"),
              HasSubstr("overflows"));
  EXPECT_THAT(error_of("graph(%x: f32[4]) { return %x } graph"), HasSubstr("text after"));
}

}  // namespace
}  // namespace regraft::ir
