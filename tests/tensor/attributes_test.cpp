#include "tensor/attributes.h"

#include <cmath>

#include <gtest/gtest.h>

#include "regraft/error.h"

namespace regraft {
namespace {

const SymInt s0 = SymInt::symbol("s0");

TEST(Attribute, Prints) {
  EXPECT_EQ(to_string(Attribute()), "none");
  EXPECT_EQ(to_string(Attribute(true)), "true");
  EXPECT_EQ(to_string(Attribute(SymInt(-5))), "-5");
  EXPECT_EQ(to_string(Attribute(s0 * 2 + 1)), "s0*2+1");
  EXPECT_EQ(to_string(Attribute(1e-5)), "1e-05");
  EXPECT_EQ(to_string(Attribute(3.0)), "3.0");
  EXPECT_EQ(to_string(Attribute(-INFINITY)), "-inf");
  EXPECT_EQ(to_string(Attribute(std::string("a\"\\\nb"))), "\"a\\\"\\\\\\nb\"");
  EXPECT_EQ(to_string(Attribute(SymDims{1, s0, -1})), "[1,s0,-1]");
  EXPECT_EQ(to_string(Attribute(SymDims{})), "[]");
  EXPECT_EQ(to_string(Attribute(std::vector<double>{0.5, 1})), "[0.5,1.0]");
  EXPECT_EQ(to_string(Attribute(DType::BF16)), "bf16");
}

TEST(Attribute, EqualityIsOfKindAndText) {
  EXPECT_TRUE(Attribute(std::nan("")) == Attribute(std::nan("")));
  EXPECT_FALSE(Attribute(1.0) == Attribute(SymInt(1)));
  EXPECT_FALSE(Attribute(0.0) == Attribute(-0.0));
  EXPECT_FALSE(Attribute(SymDims{}) == Attribute(std::vector<double>{}));
  EXPECT_TRUE(Attribute(s0 + 1) == Attribute(SymInt(1) + s0));
}

TEST(Attributes, AreSortedByName) {
  Attributes attributes{{"stride", SymDims{2, 2}}, {"alpha", 0.5}};
  attributes.set("groups", SymInt(4));
  attributes.set("alpha", 2.0);
  std::string names;
  for (const auto& [name, value] : attributes.entries())
    names += name + "=" + to_string(value) + " ";
  EXPECT_EQ(names, "alpha=2.0 groups=4 stride=[2,2] ");
  attributes.erase("groups");
  attributes.erase("nothing");
  EXPECT_EQ(attributes.entries().size(), 2u);
  const Attributes other{{"alpha", 2.0}, {"stride", SymDims{2, 2}}};
  EXPECT_TRUE(attributes == other);
  EXPECT_FALSE(attributes == Attributes());
  EXPECT_TRUE(Attributes().empty());
}

TEST(Attributes, TypedGetters) {
  const Attributes a{{"b", true},
                     {"i", SymInt(7)},
                     {"s", s0},
                     {"d", 2.5},
                     {"t", std::string("x")},
                     {"l", SymDims{1, 2}},
                     {"f", std::vector<double>{0.5}},
                     {"y", DType::F16},
                     {"n", Attribute()}};
  EXPECT_TRUE(a.flag("b"));
  EXPECT_EQ(a.integer("i"), 7);
  EXPECT_EQ(a.size("s").str(), "s0");
  EXPECT_EQ(a.number("d"), 2.5);
  EXPECT_EQ(a.number("i"), 7);
  EXPECT_EQ(a.number("b"), 1);
  EXPECT_EQ(a.text("t"), "x");
  EXPECT_EQ(a.integers("l"), (Dims{1, 2}));
  EXPECT_EQ(a.numbers("l"), (std::vector<double>{1, 2}));
  EXPECT_EQ(a.numbers("f"), std::vector<double>{0.5});
  EXPECT_EQ(a.dtype("y"), DType::F16);
  EXPECT_TRUE(a.is_none("n") && a.is_none("absent") && !a.is_none("b"));
  EXPECT_TRUE(a.has("n") && !a.has("absent"));
  EXPECT_THROW(a.flag("i"), Error);
  EXPECT_THROW(a.flag("absent"), Error);
  EXPECT_THROW(a.integer("s"), Error);
  EXPECT_THROW(a.number("t"), Error);
}

TEST(Attributes, ResolvedHasNoSymbols) {
  const Attributes a{{"end", s0 * 2}, {"sizes", SymDims{s0, 3}}, {"eps", 1e-5}};
  const Attributes resolved = a.resolved({{"s0", 5}});
  EXPECT_EQ(resolved.integer("end"), 10);
  EXPECT_EQ(resolved.integers("sizes"), (Dims{5, 3}));
  EXPECT_EQ(resolved.number("eps"), 1e-5);
  EXPECT_THROW(a.resolved({}), Error);
}

TEST(TensorType, Prints) {
  EXPECT_EQ((TensorType{DType::F32, {s0, 3}}).str(), "f32[s0,3]");
  EXPECT_EQ((TensorType{DType::Bool, {}}).str(), "bool[]");
  EXPECT_TRUE((TensorType{DType::F32, {s0}}) == (TensorType{DType::F32, {s0}}));
  EXPECT_FALSE((TensorType{DType::F32, {s0}}) == (TensorType{DType::F16, {s0}}));
}

}  // namespace
}  // namespace regraft
