// The small readers inside exported programs: size expressions, pytrees, metadata.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program/pytree.h"
#include "program/read.h"
#include "program/srepr.h"

namespace regraft::program {
namespace {

using testing::ElementsAre;

std::string parsed(std::string_view text) {
  const auto value = try_parse_expression(text);
  return value ? value->str() : "none";
}

TEST(Expression, ReadsWhatSympyPrints) {
  EXPECT_EQ(parsed("Integer(3)"), "3");
  EXPECT_EQ(parsed("Symbol('s0', positive=True, integer=True)"), "s0");
  EXPECT_EQ(parsed("Add(Mul(Integer(16), Symbol('s15', positive=True)), Integer(-16))"),
            "s15*16-16");
  EXPECT_EQ(parsed("Mul(Symbol('s0'), Pow(Symbol('s1'), Integer(2)))"), "s0*s1*s1");
  EXPECT_EQ(parsed("FloorDiv(Symbol('s0'), Integer(2))"), "floordiv(s0,2)");
  EXPECT_EQ(parsed("Mod(Symbol('s0'), Integer(2))"), "mod(s0,2)");
  EXPECT_EQ(parsed("Max(Integer(1), Symbol('s0'))"), "max(1,s0)");
  EXPECT_EQ(parsed("TruncToInt(IntTrueDiv(Symbol('s0'), Integer(2)))"), "floordiv(s0,2)");
  EXPECT_EQ(parsed("Mul(Rational(1, 2), Symbol('s0'), Integer(4))"), "s0*2");
}

TEST(Expression, ReadsThePlainForm) { EXPECT_EQ(parsed("s0*2 + 1"), "s0*2+1"); }

TEST(Expression, RefusesTheRest) {
  EXPECT_EQ(parsed(""), "none");
  EXPECT_EQ(parsed("Symbol('s0'"), "none");
  EXPECT_EQ(parsed("Symbol('s0'))"), "none");
  EXPECT_EQ(parsed("Sin(Symbol('s0'))"), "none");
  EXPECT_EQ(parsed("Pow(Symbol('s0'), Integer(-1))"), "none");
  EXPECT_EQ(parsed("Pow(Symbol('s0'), Integer(1000000))"), "none");
  EXPECT_EQ(parsed("FloorDiv(Symbol('s0'), Integer(0))"), "none");
  EXPECT_EQ(parsed("Integer(99999999999999999999)"), "none");
  EXPECT_EQ(parsed("Mul(Integer(9223372036854775807), Integer(2))"), "none");
}

TEST(Expression, IsBounded) {
  std::string deep, wide = "Add(Symbol('a'), Symbol('b'))";
  for (int i = 0; i < 10000; ++i)
    deep += "Add(";
  EXPECT_EQ(parsed(deep), "none");
  // Each level doubles the terms of the product.
  std::string product = "Mul(" + wide;
  for (int i = 0; i < 40; ++i)
    product += ", " + wide;
  EXPECT_EQ(parsed(product + ")"), "none");
}

std::string leaf() { return R"({"type": null, "context": null, "children_spec": []})"; }

std::string node(const std::string& type, const std::string& context, const std::string& children) {
  return R"({"type": ")" + type + R"(", "context": ")" + context + R"(", "children_spec": [)" +
         children + "]}";
}

TEST(Pytree, NamesLeaves) {
  EXPECT_THAT(leaf_names("[1, " + leaf() + "]", 1), ElementsAre("output"));
  EXPECT_THAT(leaf_names("[1, " + node("builtins.tuple", "null", leaf() + "," + leaf()) + "]", 2),
              ElementsAre("output_0", "output_1"));
  const std::string pair = node("builtins.list", "null", leaf() + "," + leaf());
  EXPECT_THAT(
      leaf_names(
          "[1, " + node("builtins.dict", R"([\"logits\", \"past\"])", leaf() + "," + pair) + "]",
          3),
      ElementsAre("logits", "past.0", "past.1"));
}

TEST(Pytree, FallsBackToNumbers) {
  EXPECT_THAT(leaf_names("not json", 2), ElementsAre("output_0", "output_1"));
  EXPECT_THAT(leaf_names("[1, " + leaf() + "]", 2), ElementsAre("output_0", "output_1"));
  EXPECT_THAT(leaf_names("", 1), ElementsAre("output"));
  const std::string twice = node("builtins.dict", R"([\"a\", \"a\"])", leaf() + "," + leaf());
  EXPECT_THAT(leaf_names("[1, " + twice + "]", 2), ElementsAre("output_0", "output_1"));
}

TEST(Metadata, InnermostModule) {
  EXPECT_EQ(innermost_module("root,,Model;k,layer1.0,Block;k2,layer1.0.bn1,BatchNorm2d"),
            "layer1.0.bn1");
  EXPECT_EQ(innermost_module("L__self__,L['self'].fc,Linear"), "fc");
  EXPECT_EQ(innermost_module(""), "");
  EXPECT_EQ(innermost_module("nocommas"), "");
}

TEST(Metadata, InnermostLineOutsidePyTorch) {
  EXPECT_EQ(source_line("  File \"/a/model.py\", line 12, in forward\n    x\n"
                        "  File \"/lib/torch/nn/modules/linear.py\", line 134, in forward"),
            "model.py:12");
  EXPECT_EQ(source_line("File \"/lib/torch/nn/a.py\", line 3"), "a.py:3");
  EXPECT_EQ(source_line("File \"cut"), "");
}

}  // namespace
}  // namespace regraft::program
