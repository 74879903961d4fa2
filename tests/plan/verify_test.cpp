#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using ::testing::HasSubstr;
using testing::PlanBuilder;

plan::Plan valid() { return testing::two_layer_plan(); }

TEST(Verify, TakesAValidPlan) {
  plan::verify(valid());
  plan::verify(testing::many_constants_plan(3, 4));
}

struct Breakage {
  std::string name;
  std::string message;
  std::function<void(plan::Plan&)> apply;
};

class VerifyRefuses : public ::testing::TestWithParam<Breakage> {};

TEST_P(VerifyRefuses, WithAReason) {
  plan::Plan plan = valid();
  GetParam().apply(plan);
  try {
    plan::verify(plan);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Corrupt);
    EXPECT_EQ(error.stage(), "plan");
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
  }
}

int32_t storage_of(const plan::Plan& plan, int32_t buffer) { return plan.buffers[buffer].storage; }

const Breakage kBreakages[] = {
    {"NoBackend", "names no backend", [](plan::Plan& p) { p.backend.clear(); }},
    {"SymbolTwice", "declared twice", [](plan::Plan& p) { p.symbols.push_back(p.symbols[0]); }},
    {"SymbolRange", "range 5..4",
     [](plan::Plan& p) {
       p.symbols[0].min = 5;
       p.symbols[0].max = 4;
     }},
    {"SymbolName", "not a name", [](plan::Plan& p) { p.symbols[0].name = "a b"; }},
    {"SymbolOptimum", "outside of its range",
     [](plan::Plan& p) { p.symbols[0].optimum = p.symbols[0].max + 1; }},
    {"UnknownSymbol", "unknown symbol 'm'",
     [](plan::Plan& p) { p.buffers[0].type.dims[0] = SymInt::symbol("m"); }},
    {"StorageKind", "unknown kind",
     [](plan::Plan& p) { p.storages[0].kind = static_cast<plan::StorageKind>(9); }},
    {"StorageIndex", "outside of", [](plan::Plan& p) { p.storages[1].index = 99; }},
    {"StorageTwice", "a second storage", [](plan::Plan& p) { p.storages[2].index = 0; }},
    {"NegativeBytes", "negative size", [](plan::Plan& p) { p.storages[1].bytes = -1; }},
    {"SymbolicParameter", "want a constant size",
     [](plan::Plan& p) { p.storages[1].bytes = SymInt::symbol("n"); }},
    {"BufferStorage", "storage 999", [](plan::Plan& p) { p.buffers[0].storage = 999; }},
    {"Dtype", "unknown dtype",
     [](plan::Plan& p) { p.buffers[1].type.dtype = static_cast<DType>(77); }},
    {"Strides", "want 2 strides", [](plan::Plan& p) { p.buffers[1].strides.pop_back(); }},
    {"NegativeStride", "negative", [](plan::Plan& p) { p.buffers[1].strides[0] = -4; }},
    {"Overrun", "reach beyond", [](plan::Plan& p) { p.storages[storage_of(p, 6)].bytes = 4; }},
    {"OffsetOverrun", "outside of", [](plan::Plan& p) { p.buffers[6].offset = int64_t{1} << 60; }},
    {"StrideOverrun", "reach beyond",
     [](plan::Plan& p) { p.buffers[6].strides[0] = int64_t{1} << 62; }},
    {"InputPort", "outside of", [](plan::Plan& p) { p.inputs[0].buffer = -1; }},
    {"InputNotWhole", "is not all of its storage",
     [](plan::Plan& p) { p.storages[0].bytes = p.storages[0].bytes * 2; }},
    {"OutputInWeights", "lies in the weight program",
     [](plan::Plan& p) { p.outputs.push_back({"again", p.parameters[0].buffer}); }},
    {"ParameterTwice", "named twice",
     [](plan::Plan& p) { p.parameters[1].name = p.parameters[0].name; }},
    {"AliasTwice", "named twice", [](plan::Plan& p) { p.parameters[0].aliases = {"shift"}; }},
    {"IndexBoundOnFloat", "index bound on a parameter of dtype f32",
     [](plan::Plan& p) { p.parameters[0].index_bound = 3; }},
    {"ConstantSource", "not part of the weight program",
     [](plan::Plan& p) { p.constants[0].source = p.inputs[0].buffer; }},
    {"ConstantDims", "other dims",
     [](plan::Plan& p) { p.constants[0].source = p.constants[1].source; }},
    {"ConstantNeverComputed", "is never computed", [](plan::Plan& p) { p.weight_steps.clear(); }},
    {"OutputNeverComputed", "is never computed", [](plan::Plan& p) { p.compute_steps.pop_back(); }},
    {"Order", "is never computed",
     [](plan::Plan& p) { std::swap(p.compute_steps[0], p.compute_steps[1]); }},
    {"KernelName", "not a kernel name",
     [](plan::Plan& p) { p.compute_steps[0].kernel = "linear"; }},
    {"NoOutputs", "has no outputs", [](plan::Plan& p) { p.compute_steps[0].outputs.clear(); }},
    {"InputIndex", "buffer 999", [](plan::Plan& p) { p.compute_steps[0].inputs[0] = 999; }},
    {"OutputIndex", "buffer -1", [](plan::Plan& p) { p.compute_steps[0].outputs[0] = -1; }},
    {"ReadsAParameter", "may not read",
     [](plan::Plan& p) { p.compute_steps[0].inputs[1] = p.parameters[0].buffer; }},
    {"WritesAConstant", "may not write",
     [](plan::Plan& p) { p.compute_steps[0].outputs[0] = p.constants[0].buffer; }},
    {"WritesItsInput", "writes the storage of its input",
     [](plan::Plan& p) {
       p.compute_steps[1].in_place = false;
       p.compute_steps[1].outputs[0] = p.compute_steps[1].inputs[0];
     }},
    {"SymbolInWeightStep", "depends on n",
     [](plan::Plan& p) { p.weight_steps[0].attributes.set("dims", SymDims{SymInt::symbol("n")}); }},
    {"SymbolInAttribute", "unknown symbol",
     [](plan::Plan& p) { p.compute_steps[0].attributes.set("k", SymInt::symbol("k")); }},
};

INSTANTIATE_TEST_SUITE_P(Verify, VerifyRefuses, ::testing::ValuesIn(kBreakages),
                         [](const auto& info) { return info.param.name; });

TEST(Verify, InPlaceMayNameOneBufferTwice) {
  plan::Plan plan = valid();
  plan.compute_steps[1].outputs[0] = plan.compute_steps[1].inputs[0];
  plan.compute_steps[2].inputs[0] = plan.compute_steps[1].inputs[0];
  plan::verify(plan);
}

}  // namespace
}  // namespace regraft
