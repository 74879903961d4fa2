// What lowering says of programs it cannot take, hostile ones included.
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"
#include "lowering/lower.h"
#include "support/program_json.h"

namespace regraft::lowering {
namespace {

using test::ProgramJson;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Error error_of(const ProgramJson& json, const LoweringOptions& options = {}) {
  try {
    const auto graph = lower(json.program(), options);
    return Error("none", ErrorCode::Internal, ir::print(*graph));
  } catch (const Error& error) {
    return error;
  }
}

ProgramJson with_unknown_ops() {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.at("encoder.head", "model.py", 7);
  json.node("aten.nonzero.default", "self=%x", "a: i64[2,1]");
  json.at("encoder.tail", "model.py", 9);
  json.node("aten.nonzero.default", "self=%x", "b: i64[2,1]");
  json.node("aten.special_i0.default", "self=%x", "c: f32[2]");
  json.node("aten.neg.default", "self=%c", "d: f32[2]");
  return json.output("a").output("d");
}

TEST(Unsupported, EveryOpIsListedWithItsPlace) {
  const Error error = error_of(with_unknown_ops());
  EXPECT_EQ(error.code(), ErrorCode::Unsupported);
  EXPECT_THAT(
      error.what(),
      AllOf(HasSubstr("aten.nonzero.default: 2 nodes, the first at encoder.head, model.py:7"),
            HasSubstr("aten.special_i0.default: 1 node, the first at encoder.tail"),
            Not(HasSubstr("aten.neg"))));
}

TEST(Unsupported, OpaqueNodesStandForThem) {
  LoweringOptions options;
  options.allow_opaque = true;
  const std::string text = ir::print(*lower(with_unknown_ops().program(), options));
  EXPECT_THAT(text, AllOf(HasSubstr("%c: f32[2] = torch.ops.aten.special_i0.default(%x)"),
                          HasSubstr("%d: f32[2] = neg(%c)")));
  EXPECT_EQ(ir::print(*ir::parse(text)), text);
}

TEST(Unsupported, OpsThatMayWriteAreNeverOpaque) {
  LoweringOptions options;
  options.allow_opaque = true;
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("mylib.accumulate.default", "state=%x", "y: f32[2]");
  json.output("y");
  EXPECT_THAT(error_of(json, options).what(), HasSubstr("mylib.accumulate.default"));
  json.functional();
  EXPECT_EQ(error_of(json, options).stage(), "none");
}

// PyTorch calculates with float8 in a few ops.
TEST(Unsupported, ArithmeticOnFloat8StaysWithPyTorch) {
  ProgramJson json;
  json.input("x", "f8e4m3fn[2]");
  json.node("aten.mul.Tensor", "self=%x, other=%x", "y: f8e4m3fn[2]");
  json.output("y");
  EXPECT_EQ(error_of(json).code(), ErrorCode::Unsupported);
  EXPECT_THAT(error_of(json).what(), HasSubstr("does not calculate with f8e4m3fn"));
  LoweringOptions options;
  options.allow_opaque = true;
  EXPECT_EQ(error_of(json, options).stage(), "none");
}

TEST(Unsupported, TrainingModeIsExplained) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.dropout.default", "input=%x, p=0.5, train=true", "y: f32[2]");
  json.output("y");
  EXPECT_THAT(error_of(json).what(), HasSubstr("call model.eval() before the export"));
}

TEST(Unsupported, UnknownArgumentIsNamed) {
  ProgramJson json;
  json.input("x", "f32[2]");
  json.node("aten.relu.default", "self=%x, ceiling=6.0", "y: f32[2]");
  json.output("y");
  EXPECT_THAT(error_of(json).what(), HasSubstr("unknown argument 'ceiling'"));
}

struct Hostile {
  const char* what;
  const char* target;
  const char* arguments;
  const char* results;
};

class HostileNode : public testing::TestWithParam<Hostile> {};

TEST_P(HostileNode, IsAnError) {
  ProgramJson json;
  json.input("x", "f32[2,3]").input("i", "i64[2]");
  json.node(GetParam().target, GetParam().arguments, GetParam().results);
  json.output("y");
  const Error error = error_of(json);
  EXPECT_NE(error.stage(), "none") << GetParam().what << ": " << error.what();
  EXPECT_NE(error.code(), ErrorCode::Internal) << error.what();
}

INSTANTIATE_TEST_SUITE_P(
    Nodes, HostileNode,
    testing::Values(
        Hostile{"dangling", "aten.relu.default", "self=%nowhere", "y: f32[2,3]"},
        Hostile{"itself", "aten.relu.default", "self=%y", "y: f32[2,3]"},
        Hostile{"wrong dtype stated", "aten.relu.default", "self=%x", "y: i64[2,3]"},
        Hostile{"wrong rank stated", "aten.relu.default", "self=%x", "y: f32[6]"},
        Hostile{"wrong size stated", "aten.relu.default", "self=%x", "y: f32[2,4]"},
        Hostile{"no argument", "aten.relu.default", "", "y: f32[2,3]"},
        Hostile{"number for a tensor", "aten.relu.default", "self=3", "y: f32[2,3]"},
        Hostile{"tensor for a number", "aten.softmax.int", "self=%x, dim=%i", "y: f32[2,3]"},
        Hostile{"text for a number", "aten.softmax.int", "self=%x, dim=\"1\"", "y: f32[2,3]"},
        Hostile{"axis outside", "aten.softmax.int", "self=%x, dim=7", "y: f32[2,3]"},
        Hostile{"axis huge", "aten.select.int", "self=%x, dim=9223372036854775807, index=0",
                "y: f32[2]"},
        Hostile{"two -1", "aten.view.default", "self=%x, size=[-1,-1]", "y: f32[2,3]"},
        Hostile{"view of other size", "aten.view.default", "self=%x, size=[5]", "y: f32[5]"},
        Hostile{"size overflow", "aten.view.default",
                "self=%x, size=[9223372036854775807,9223372036854775807]", "y: f32[6]"},
        Hostile{"permute twice the same", "aten.permute.default", "self=%x, dims=[0,0]",
                "y: f32[2,2]"},
        Hostile{"permute outside", "aten.permute.default", "self=%x, dims=[0,5]", "y: f32[2,3]"},
        Hostile{"permute negative", "aten.permute.default", "self=%x, dims=[-9,0]", "y: f32[2,3]"},
        Hostile{"movedim twice", "aten.movedim.intlist", "self=%x, source=[0,0], destination=[1,0]",
                "y: f32[2,3]"},
        Hostile{"many pieces", "aten.unbind.int", "self=%x, dim=0", "[y: f32[3]]"},
        Hostile{"split by 0", "aten.split.Tensor", "self=%x, split_size=0", "[y: f32[2,3]]"},
        Hostile{"chunk by 0", "aten.chunk.default", "self=%x, chunks=0", "[y: f32[2,3]]"},
        Hostile{"slice step 0", "aten.slice.Tensor", "self=%x, dim=0, step=0", "y: f32[2,3]"},
        Hostile{"diff order", "aten.diff.default", "self=%x, n=1000000000", "y: f32[2,3]"},
        Hostile{"cat of nothing", "aten.cat.default", "tensors=[]", "y: f32[2,3]"},
        Hostile{"cat of absent", "aten.cat.default", "tensors=[none,none]", "y: f32[2,3]"},
        Hostile{"einsum garbage", "aten.einsum.default", "equation=\"i1,->\", tensors=[%x]",
                "y: f32[2,3]"},
        Hostile{"einsum count", "aten.einsum.default", "equation=\"ij,jk->ik\", tensors=[%x]",
                "y: f32[2,3]"},
        Hostile{"einsum output", "aten.einsum.default", "equation=\"ij->q\", tensors=[%x]",
                "y: f32[2]"},
        Hostile{"conv of a vector", "aten.conv2d.default", "input=%x, weight=%x", "y: f32[2,3]"},
        Hostile{"norm dims", "aten.layer_norm.default", "input=%x, normalized_shape=[7]",
                "y: f32[2,3]"},
        Hostile{"unknown size", "aten.view.default", "self=%x, size=[#nothing]", "y: f32[6]"},
        Hostile{"region without graph", "higher_order.wrap_with_set_grad_enabled", "false",
                "y: f32[2,3]"},
        Hostile{"no results", "aten.relu.default", "self=%x", ""},
        Hostile{"division by zero", "_operator.floordiv", "a=1, b=0", "#y"}));

TEST(Hostile, OutputThatNothingDefines) {
  ProgramJson json;
  json.input("x", "f32[2]").output("y");
  EXPECT_THROW(lower(json.program()), Error);
}

TEST(Hostile, SizesThatGrowWithoutBound) {
  ProgramJson json;
  json.input("x", "f32[s0,s1,s2,s3]");
  for (int i = 0; i < 4; ++i) {
    json.node("aten.sym_size.int", base::cat("self=%x, dim=", i), base::cat("#d", i));
  }
  json.node("_operator.add", "a=#d0, b=#d1", "#e0");
  json.node("_operator.add", "a=#e0, b=#d2", "#e1");
  json.node("_operator.add", "a=#e1, b=#d3", "#p0");
  for (int i = 0; i < 60; ++i) {
    json.node("_operator.mul", base::cat("a=#p", i, ", b=#p", i), base::cat("#p", i + 1));
  }
  json.output("x");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(lower(json.program()), Error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Hostile, ChainOfWritesToViews) {
  ProgramJson json;
  json.input("x", "f32[4,4]");
  json.node("aten.clone.default", "self=%x", "v0: f32[4,4]");
  for (int i = 0; i < 200; ++i) {
    json.node("aten.t.default", base::cat("self=%v", i), base::cat("v", i + 1, ": f32[4,4]"));
    json.node("aten.relu_.default", base::cat("self=%v", i + 1), base::cat("r", i, ": f32[4,4]"));
  }
  json.output("v0");
  EXPECT_LE(lower(json.program())->nodes().size(), 1000u);
}

}  // namespace
}  // namespace regraft::lowering
