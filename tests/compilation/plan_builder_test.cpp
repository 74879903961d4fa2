#include "compilation/plan_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compilation/emit.h"
#include "compilation/hoist.h"
#include "ir/text.h"

namespace regraft::compilation {
namespace {

using plan::StorageKind;
using testing::ElementsAre;

plan::Plan plan_of(std::string_view text, bool alias_views = false) {
  const auto graph = ir::parse(text);
  hoist(*graph, {});
  plan::Plan plan = emit(*graph, {.backend = "reference", .alias_views = alias_views});
  plan::verify(plan);
  return plan;
}

std::vector<std::string> kernels(const std::vector<plan::Step>& steps) {
  std::vector<std::string> out;
  for (const plan::Step& step : steps)
    out.push_back(step.kernel);
  return out;
}

const plan::Buffer& find(const plan::Plan& plan, std::string_view name) {
  for (const plan::Buffer& buffer : plan.buffers) {
    if (buffer.name == name) return buffer;
  }
  throw std::runtime_error("no buffer " + std::string(name));
}

TEST(PlanBuilder, EveryStorageKind) {
  const plan::Plan plan = plan_of(R"(
    parameters {
      @w: f32[4,4]
      @tied: f32[4,4] = @w
      @p: f32[9,4]
    }
    graph(%x: f32[s0,4]) {
      %w2 = square(@w)
      %p2 = slice(@p) {end=s0}
      %y = linear(%x, %w2)
      %z = add(%y, %p2)
      return %z
    })");
  EXPECT_THAT(kernels(plan.weight_steps), ElementsAre("reference.square"));
  EXPECT_THAT(kernels(plan.shape_steps), ElementsAre("reference.slice"));
  EXPECT_THAT(kernels(plan.compute_steps), ElementsAre("reference.linear", "reference.add"));
  ASSERT_EQ(plan.parameters.size(), 2u);
  EXPECT_THAT(plan.parameters[0].aliases, ElementsAre("tied"));
  ASSERT_EQ(plan.constants.size(), 2u);
  EXPECT_EQ(plan.storage_of(plan.constants[0].source).kind, StorageKind::Parameter);
  EXPECT_EQ(plan.storage_of(plan.constants[1].source).kind, StorageKind::Weight);
  EXPECT_EQ(plan.storage_of(plan.compute_steps[1].outputs[0]).kind, StorageKind::Output);
  ASSERT_EQ(plan.symbols.size(), 1u);
  EXPECT_EQ(plan.symbols[0].name, "s0");
}

TEST(PlanBuilder, PackingDoesTheLastRounding) {
  const plan::Plan plan = plan_of(R"(
    parameters { @w: f32[4,4] }
    graph(%x: bf16[2,4]) {
      %s = square(@w)
      %w2 = cast(%s) {dtype=bf16}
      %y = linear(%x, %w2)
      return %y
    })");
  EXPECT_THAT(kernels(plan.weight_steps), ElementsAre("reference.square"));
  ASSERT_EQ(plan.constants.size(), 1u);
  EXPECT_EQ(plan.buffers[plan.constants[0].source].type.dtype, DType::F32);
  EXPECT_EQ(plan.buffers[plan.constants[0].buffer].type.dtype, DType::BF16);
}

TEST(PlanBuilder, CastThatTheWeightProgramReadsIsAStep) {
  const plan::Plan plan = plan_of(R"(
    parameters { @w: f32[4,4] }
    graph(%x: bf16[2,4]) {
      %w2 = cast(@w) {dtype=bf16}
      %w3 = neg(%w2)
      %y = linear(%x, %w2)
      %z = linear(%y, %w3)
      return %z
    })");
  EXPECT_THAT(kernels(plan.weight_steps), ElementsAre("reference.cast", "reference.neg"));
}

TEST(PlanBuilder, OutputsThatNoStepWrites) {
  const plan::Plan plan = plan_of(R"(
    parameters { @w: f32[4] }
    graph(%x: f32[4]) {
      %n = neg(@w)
      %y = relu(%x)
      return %x, @w, %n, %y, %y as again
    })");
  EXPECT_THAT(kernels(plan.compute_steps),
              ElementsAre("reference.relu", "reference.cast", "reference.cast", "reference.cast",
                          "reference.cast"));
  EXPECT_EQ(plan.outputs.size(), 5u);
}

TEST(PlanBuilder, ViewsNeedNoSteps) {
  const plan::Plan plan = plan_of(R"(
    graph(%x: f32[s0,2,12]) {
      %h = relu(%x)
      %a = slice(%h) {dim=2, start=4, end=8}
      %b = permute(%a) {dims=[1,0,2]}
      %c = reshape(%b) {dims=[2,s0,2,2]}
      %d = expand(%c) {dims=[3,2,s0,2,2]}
      %y = neg(%d)
      return %y
    })",
                                  true);
  EXPECT_THAT(kernels(plan.compute_steps), ElementsAre("reference.relu", "reference.neg"));
  EXPECT_EQ(to_string(find(plan, "a").strides), "[24,12,1]");
  EXPECT_EQ(find(plan, "a").offset, SymInt(4));
  EXPECT_EQ(to_string(find(plan, "b").strides), "[12,24,1]");
  EXPECT_EQ(to_string(find(plan, "c").strides), "[12,24,2,1]");
  EXPECT_EQ(to_string(find(plan, "d").strides), "[0,12,24,2,1]");
}

TEST(PlanBuilder, ReshapeThatStridesCannotExpressIsAStep) {
  const plan::Plan plan = plan_of(R"(
    graph(%x: f32[s0,2,12]) {
      %p = permute(%x) {dims=[1,0,2]}
      %a = reshape(%p) {dims=[2,s0*12]}
      %b = reshape(%p) {dims=[s0*2,12]}
      %y = cat(%a, %a)
      return %y, %b
    })",
                                  true);
  EXPECT_THAT(kernels(plan.compute_steps),
              ElementsAre("reference.reshape", "reference.reshape", "reference.cat"));
}

TEST(PlanBuilder, ViewOfAConstantIsAStep) {
  const plan::Plan plan = plan_of(R"(
    parameters { @token: f32[1,1,768] }
    graph(%x: f32[s0,196,768]) {
      %t = expand(@token) {dims=[s0,-1,-1]}
      %y = cat(%t, %x) {dim=1}
      return %y
    })",
                                  true);
  EXPECT_THAT(kernels(plan.compute_steps), ElementsAre("reference.expand", "reference.cat"));
}

TEST(PlanBuilder, SliceOfASymbolicSizeIsAViewOnlyWhereItMustFit) {
  const plan::Plan plan = plan_of(R"(
    graph(%x: f32[s0,4]) {
      %a = slice(%x) {start=1}
      %b = slice(%x) {end=2}
      %y = relu(%a)
      %z = relu(%b)
      return %y, %z
    })",
                                  true);
  EXPECT_THAT(kernels(plan.compute_steps),
              ElementsAre("reference.slice", "reference.relu", "reference.relu"));
}

TEST(PlanBuilder, ParametersUsedAsIndicesAreGuarded) {
  const plan::Plan plan = plan_of(R"(
    parameters {
      @table: f32[50,8]
      @position_ids: i64[1,16]
    }
    graph(%x: f32[4,8]) {
      %p = slice(@position_ids) {dim=1, end=4}
      %e = embedding(@table, %p)
      %r = reshape(%e) {dims=[4,8]}
      %y = add(%x, %r)
      return %y
    })");
  ASSERT_EQ(plan.parameters.size(), 2u);
  for (const plan::Parameter& parameter : plan.parameters) {
    EXPECT_EQ(parameter.index_bound, parameter.name == "position_ids" ? 50 : -1) << parameter.name;
  }
}

}  // namespace
}  // namespace regraft::compilation
