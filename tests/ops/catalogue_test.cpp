#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ops/op.h"

namespace regraft::ops {
namespace {

TEST(Catalogue, IsSortedAndFindable) {
  const auto all = catalogue();
  ASSERT_GT(all.size(), 100u);
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0) {
      EXPECT_LT(all[i - 1].name, all[i].name);
    }
    EXPECT_EQ(find_op(all[i].name), &all[i]);
    EXPECT_FALSE(all[i].is_opaque());
  }
  EXPECT_EQ(find_op("no_such_op"), nullptr);
}

TEST(Catalogue, NamesTheNearestOp) {
  try {
    op("reshap");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::NotFound);
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean 'reshape'?"));
  }
}

TEST(Catalogue, CreationOpsHaveNoTensors) {
  for (const Op& op : catalogue()) {
    EXPECT_EQ(op.has(kCreation), op.schema.tensor_count() == 0) << op.name;
  }
}

TEST(Catalogue, DefaultsFitTheirArguments) {
  // Completing the attributes of an op checks its own defaults; a type rule may then refuse.
  const TensorType type{DType::F32, {2, 3}};
  for (const Op& op : catalogue()) {
    Attributes attributes;
    std::vector<const TensorType*> inputs(op.schema.tensor_count(), &type);
    try {
      infer_types(op, inputs, attributes);
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::Internal) << op.name << ": " << error.what();
      EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("cannot be"))) << op.name;
    }
  }
}

TEST(Schema, ReadsEveryKindOfArgument) {
  const Schema schema = Schema::parse(
      "(Tensor x, Tensor? bias=None, Tensor?[] more, *, int[] stride=[1,2], float eps=1e-05,"
      " str mode=\"none\", dtype? dtype=None, Scalar value=0.5, bool flag=true) -> (Tensor, "
      "Tensor)");
  EXPECT_EQ(schema.tensor_count(), 3u);
  EXPECT_TRUE(schema.has_list());
  EXPECT_EQ(schema.result_count, 2);
  EXPECT_EQ(schema.list_length(5), 3u);
  EXPECT_EQ(schema.input_index("more", 5), 2u);
  EXPECT_EQ(*schema.find("stride")->fallback, Attribute(SymDims{1, 2}));
  EXPECT_EQ(*schema.find("eps")->fallback, Attribute(1e-05));
  EXPECT_EQ(*schema.find("mode")->fallback, Attribute(std::string("none")));
  EXPECT_EQ(*schema.find("flag")->fallback, Attribute(true));
  EXPECT_TRUE(schema.find("dtype")->optional);
  EXPECT_EQ(schema.find("absent"), nullptr);
  EXPECT_THROW(Schema::parse("(Tensr x) -> Tensor"), Error);
}

}  // namespace
}  // namespace regraft::ops
