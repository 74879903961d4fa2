#include "plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/layout.h"
#include "plan/realised.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using ::testing::HasSubstr;
using testing::PlanBuilder;

std::string error_of(const plan::Plan& plan, const std::vector<Dims>& dims) {
  try {
    plan::solve_symbols(plan, dims);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Mismatch);
    EXPECT_EQ(error.stage(), "engine");
    return error.what();
  }
  return "no error";
}

TEST(SolveSymbols, LinearExpressions) {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 100), m = b.symbol("m", 0, INT64_MAX);
  b.input("x", DType::F32, {n * 16 + 1, 3});
  b.input("y", DType::F32, {n + m, n * m});
  const SymbolValues values = plan::solve_symbols(b.plan, {{33, 3}, {7, 10}});
  EXPECT_EQ(values.at("n"), 2);
  EXPECT_EQ(values.at("m"), 5);
}

TEST(SolveSymbols, PlainSizesComeFirst) {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 100);
  b.input("x", DType::F32, {floordiv(n, 2)});
  b.input("y", DType::F32, {n});
  EXPECT_EQ(plan::solve_symbols(b.plan, {{3}, {7}}).at("n"), 7);
  EXPECT_THAT(error_of(b.plan, {{4}, {7}}),
              HasSubstr("'x': want f32[floordiv(n,2)] (n in 1..100), have [4]"));
}

// Sizes of a hostile file: the differences of trial values and the wanted one pass what fits.
TEST(SolveSymbols, SlopesThatDoNotFitAreRefused) {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 100, 4);
  b.input("x", DType::U8, {floordiv(n, 3) * INT64_MAX + floordiv(n, 4) * 10 - n - (INT64_MAX - 1)});
  for (const int64_t size : {0, 1, 2, 3, 100})
    EXPECT_THAT(error_of(b.plan, {{size}}), HasSubstr("'x': want u8")) << size;
}

TEST(SolveSymbols, GuardsHold) {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 100), m = b.symbol("m", 1, 100);
  b.input("x", DType::F32, {n, m});
  b.plan.guards = {{mod(n, 2), SizeGuard::Relation::Equal, 0},
                   {n, SizeGuard::Relation::NotEqual, m}};
  plan::verify(b.plan);
  EXPECT_EQ(plan::solve_symbols(b.plan, {{4, 3}}).at("n"), 4);
  EXPECT_THAT(error_of(b.plan, {{5, 3}}),
              HasSubstr("go another way than the program that was exported: want mod(n,2) == 0, "
                        "have n = 5"));
  EXPECT_THAT(error_of(b.plan, {{5, 5}}), HasSubstr("n = 5; want n != m, have m = 5, n = 5"));
  EXPECT_THAT(to_string(b.plan), HasSubstr("guard mod(n,2) == 0\nguard n != m\n"));
  b.plan.guards.push_back({SymInt::symbol("k"), SizeGuard::Relation::Less, 1});
  EXPECT_THROW(plan::verify(b.plan), Error);
}

TEST(SolveSymbols, NamesEveryInput) {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 64), k = b.symbol("k", 2, INT64_MAX);
  b.input("x", DType::F32, {n, 3});
  b.input("y", DType::I64, {n, k});
  b.input("z", DType::F32, {2});
  EXPECT_THAT(
      error_of(b.plan, {{4, 3}, {5, 9}, {2}}),
      HasSubstr("'y': want i64[n,k] (n in 1..64, k >= 2), have [5,9] (size 0 is 5, but n is "
                "4)"));
  EXPECT_THAT(error_of(b.plan, {{65, 3}, {65, 1}, {3}}),
              ::testing::AllOf(HasSubstr("have [65,3] (n = 65)"), HasSubstr("have [65,1] (n = 65)"),
                               HasSubstr("'z': want f32[2], have [3]")));
  EXPECT_THAT(error_of(b.plan, {{4}, {4, 2, 1}, {2}}),
              ::testing::AllOf(HasSubstr("'x'"), HasSubstr("'y'")));
  EXPECT_THAT(error_of(b.plan, {{4, 3}}), HasSubstr("want 3 inputs, have 1"));
}

TEST(SolveSymbols, HugeSizesDoNotOverflow) {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, INT64_MAX);
  b.input("x", DType::F32, {n * 4 + 1});
  EXPECT_THAT(error_of(b.plan, {{INT64_MAX - 1}}), HasSubstr("want f32[n*4+1]"));
}

TEST(Layout, PlacesViewsInsideTheirStorage) {
  const plan::Buffer buffer{"v", {DType::F32, {2, SymInt::symbol("n")}}, {8, 1}, 4, 0};
  const plan::Placed placed = plan::place(buffer, 64, {{"n", 4}});
  EXPECT_EQ(placed.dims, (Dims{2, 4}));
  EXPECT_EQ(placed.offset_bytes, 16);
  EXPECT_THROW(plan::place(buffer, 64, {{"n", 5}}), Error);
  // Without elements it lies anywhere, so at the begin.
  for (const int64_t bytes : {0, 12, 16})
    EXPECT_EQ(plan::place(buffer, bytes, {{"n", 0}}).offset_bytes, 0);
  EXPECT_THROW(plan::place(buffer, 64, {{"n", -1}}), Error);
}

TEST(Layout, WholeIsRowMajorAndExact) {
  const SymInt n = SymInt::symbol("n");
  const plan::Storage storage{plan::StorageKind::Compute, -1, n * 24};
  plan::Buffer buffer{"b", {DType::F32, {n, 1, 6}}, {6, 99, 1}, 0, 0};
  EXPECT_TRUE(plan::is_whole(buffer, storage));
  buffer.strides = {1, 99, n};
  EXPECT_FALSE(plan::is_whole(buffer, storage));
  buffer.strides = {6, 6, 1};
  buffer.offset = 1;
  EXPECT_FALSE(plan::is_whole(buffer, storage));
}

TEST(Text, ListsSteps) {
  plan::Plan plan = testing::two_layer_plan();
  plan.compute_steps[0].origin = "layers.0";
  EXPECT_EQ(to_string(plan), R"(plan reference
symbol n: 1..64 optimum 2
input x: f32[n,4]
parameter fold.weight: f32[5,4]
parameter fold.bias: f32[5]
parameter fold.scale: f32[5]
parameter head.weight: f32[3,5] = embed.weight
parameter shift: f32[3]
weight steps:
  %w6:f32[5,1] = reference.reshape(@fold.scale:f32[5]) {dims=[5,1]}
  %w7:f32[5,4] = reference.mul(@fold.weight:f32[5,4], %w6:f32[5,1])
  %w8:f32[5] = reference.mul(@fold.bias:f32[5], @fold.scale:f32[5])
constant w0: f32[5,4] = %w7:f32[5,4]
constant b0: f32[5] = %w8:f32[5]
constant w1: f32[3,5] = @head.weight:f32[3,5]
constant shift: f32[3] = @shift:f32[3]
compute steps:
  %t13:f32[n,5] = reference.linear(%x:f32[n,4], $w0:f32[5,4], $b0:f32[5])  # layers.0
  %t14:f32[n,5] = reference.relu(%t13:f32[n,5]) in_place
  %y:f32[n,3] = reference.linear(%t14:f32[n,5], $w1:f32[3,5], $shift:f32[3])  # y
output y: %y:f32[n,3]
)");
}

TEST(Realised, RoundTrip) {
  plan::Realised realised;
  realised.version = "0.1.0";
  realised.machine = "x86_64 avx2";
  realised.threads = 2;
  realised.plan = "abc";
  realised.packings = {{"compute", 3, 1, "BA16a64b with spaces", 4096},
                       {"shape", 0, 0, "plain", 4}};
  realised.tactics = {{"weight", 0, "copy"}, {"compute", 3, "brg:avx512 core"}};
  const std::string text = to_text(realised);
  const plan::Realised read = plan::parse_realised(text);
  EXPECT_EQ(to_text(read), text);
  EXPECT_EQ(digest(read), digest(realised));
  plan::Realised other = read;
  other.threads = 16;
  EXPECT_EQ(digest(other), digest(realised));
  other.packings[0].id = "plain";
  EXPECT_NE(digest(other), digest(realised));
}

TEST(Realised, RefusesOtherTexts) {
  for (const char* text : {"", "regraft realised plan 2\n", "regraft realised plan 1\nnonsense 3\n",
                           "regraft realised plan 1\nthreads x\n",
                           "regraft realised plan 1\npacking compute -1 0 4 a\n",
                           "regraft realised plan 1\npacking compute\n"}) {
    EXPECT_THROW(plan::parse_realised(text), Error) << text;
  }
}

TEST(Realised, FingerprintSeesEverything) {
  const plan::Plan plan = testing::two_layer_plan();
  const std::string print = plan::fingerprint(plan);
  EXPECT_EQ(plan::fingerprint(testing::two_layer_plan()), print);
  plan::Plan other = plan;
  other.buffers[1].strides[1] = 2;
  EXPECT_NE(plan::fingerprint(other), print);
  other = plan;
  other.constants[0].source = other.constants[1].source;
  EXPECT_NE(plan::fingerprint(other), print);
  other = plan;
  other.compute_steps[0].attributes.set("a", true);
  EXPECT_NE(plan::fingerprint(other), print);
}

}  // namespace
}  // namespace regraft
