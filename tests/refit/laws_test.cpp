// The laws of design.md section 2 on plans written by hand.
#include <atomic>
#include <bit>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/memory.h"
#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::constant_addresses;
using testing::constant_bytes;
using ::testing::ElementsAre;
using testing::floats;
using ::testing::HasSubstr;
using testing::two_layer_engine;
using testing::Weights32;

// As bits: not-a-number equals itself.
std::vector<uint32_t> answer(const Engine& engine) {
  Weights32 input;
  input.fill("x", {3, 4}, 77);
  std::vector<uint32_t> bits;
  for (const float value : floats(engine.run({input.at("x").view()})[0].view()))
    bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

RefitOptions partial() {
  RefitOptions options;
  options.partial = true;
  return options;
}

RefitOptions in_place() {
  RefitOptions options;
  options.in_place = true;
  return options;
}

std::string error_of(Engine& engine, const WeightSource& source, const RefitOptions& options,
                     ErrorCode code) {
  const auto before = constant_bytes(engine);
  const auto answered = answer(engine);
  const uint64_t generation = engine.generation();
  std::string text = "no error";
  try {
    engine.refit(source, options);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    text = error.what();
  }
  EXPECT_EQ(constant_bytes(engine), before);
  EXPECT_EQ(answer(engine), answered);
  EXPECT_EQ(engine.generation(), generation);
  return text;
}

TEST(Laws, ExactUnderARealisedPlan) {
  const Engine built = two_layer_engine(2);
  EngineOptions options;
  options.realised = built.realised_plan();
  for (const bool place : {false, true}) {
    Engine refitted = two_layer_engine(1, options);
    EXPECT_EQ(refitted.realised_digest(), built.realised_digest());
    refitted.refit(*testing::two_layer_weights(2).source(), place ? in_place() : RefitOptions{});
    EXPECT_EQ(constant_bytes(refitted), constant_bytes(built));
    EXPECT_EQ(answer(refitted), answer(built));
    refitted.refit(*testing::two_layer_weights(1).source(), place ? in_place() : RefitOptions{});
    EXPECT_EQ(constant_bytes(refitted), constant_bytes(two_layer_engine(1)));
  }
}

TEST(Laws, ClosureOfAPartialRefit) {
  Engine engine = two_layer_engine(1);
  const auto addresses = constant_addresses(engine);
  Weights32 all = testing::two_layer_weights(1), change;
  change.fill("fold.scale", {5}, 99);
  all.fill("fold.scale", {5}, 99);
  const RefitReport report = engine.refit(*change.source(), partial());
  EXPECT_THAT(report.updated, ElementsAre("w0", "b0"));
  EXPECT_THAT(report.parameters, ElementsAre("fold.scale"));
  EXPECT_EQ(report.untouched, 2u);
  EXPECT_EQ(report.bytes_in, 20u);
  EXPECT_EQ(report.bytes_out, 100u);
  const auto after = constant_addresses(engine);
  EXPECT_NE(after[0], addresses[0]);
  EXPECT_NE(after[1], addresses[1]);
  EXPECT_EQ(after[2], addresses[2]);
  EXPECT_EQ(after[3], addresses[3]);
  EXPECT_EQ(constant_bytes(engine),
            constant_bytes(testing::make_engine(testing::two_layer_plan(), all.source())));
}

TEST(Laws, TiedParametersGoByAnyOfTheirNames) {
  Engine engine = two_layer_engine(1);
  Weights32 change, both, conflict;
  change.fill("embed.weight", {3, 5}, 5);
  const RefitReport report = engine.refit(*change.source(), partial());
  EXPECT_THAT(report.updated, ElementsAre("w1"));
  EXPECT_THAT(report.parameters, ElementsAre("head.weight"));
  both.fill("embed.weight", {3, 5}, 6).fill("head.weight", {3, 5}, 6);
  engine.refit(*both.source(), partial());
  conflict.fill("embed.weight", {3, 5}, 7).fill("head.weight", {3, 5}, 8);
  const std::string text = error_of(engine, *conflict.source(), partial(), ErrorCode::Mismatch);
  EXPECT_THAT(text, HasSubstr("is the same tensor as"));
}

TEST(Laws, OneErrorNamesEveryOffender) {
  Engine engine = two_layer_engine(1);
  Weights32 weights;
  weights.fill("fold.wieght", {5, 4}, 1).fill("fold.bias", {6}, 2);
  weights.set("fold.scale", Tensor(DType::F64, {5})).fill("head.weight", {3, 5}, 3);
  const std::string text = error_of(engine, *weights.source(), {}, ErrorCode::Mismatch);
  EXPECT_THAT(text, HasSubstr("5 problems"));
  EXPECT_THAT(text,
              HasSubstr("fold.wieght: the engine has no such parameter (nearest: fold.weight)"));
  EXPECT_THAT(text, HasSubstr("fold.weight: want f32[5,4], have nothing"));
  EXPECT_THAT(text, HasSubstr("fold.bias: want f32[5], have f32[6]"));
  EXPECT_THAT(text, HasSubstr("fold.scale: want f32[5], have f64[5] (cast converts it)"));
  EXPECT_THAT(text, HasSubstr("shift: want f32[3], have nothing"));
}

TEST(Laws, CastsWhenAsked) {
  Engine engine = two_layer_engine(1);
  Weights32 change;
  Tensor doubles(DType::F64, {3});
  for (int i = 0; i < 3; ++i)
    doubles.mutable_view().as_mutable<double>()[i] = 0.1 * (i + 1);
  change.set("shift", doubles);
  RefitOptions options = partial();
  error_of(engine, *change.source(), options, ErrorCode::Mismatch);
  options.cast = true;
  engine.refit(*change.source(), options);
  EXPECT_EQ(floats(engine.parameter("shift").view), (std::vector<float>{0.1f, 0.2f, 0.3f}));
  change.set("shift", Tensor(DType::C64, {3}));
  error_of(engine, *change.source(), options, ErrorCode::Mismatch);
}

TEST(Laws, UnexpectedNamesOnlyWhenAllowed) {
  Engine engine = two_layer_engine(1);
  Weights32 weights = testing::two_layer_weights(2);
  weights.fill("extra", {2}, 1);
  error_of(engine, *weights.source(), {}, ErrorCode::Mismatch);
  RefitOptions options;
  options.allow_unexpected = true;
  EXPECT_THAT(engine.refit(*weights.source(), options).unused, ElementsAre("extra"));
}

TEST(Laws, NonFiniteIsReported) {
  Engine engine = two_layer_engine(1);
  Weights32 change;
  const float inf = std::numeric_limits<float>::infinity();
  change.set("shift", {3}, {1, inf, std::numeric_limits<float>::quiet_NaN()});
  RefitOptions options = partial();
  options.non_finite = NonFinite::Reject;
  EXPECT_THAT(error_of(engine, *change.source(), options, ErrorCode::Mismatch),
              HasSubstr("shift: 2 elements are not finite"));
  options.non_finite = NonFinite::Report;
  const RefitReport report = engine.refit(*change.source(), options);
  EXPECT_THAT(report.non_finite, ElementsAre(std::pair<std::string, uint64_t>("shift", 2)));
  EXPECT_THAT(to_string(report), HasSubstr("shift: 2 elements are not finite"));
}

// What counts is what the engine would get.
TEST(Laws, InfinitiesThatConversionsMakeAreNotFinite) {
  testing::PlanBuilder b;
  const int32_t x = b.input("x", DType::F32, {3, 4});
  const int32_t p = b.parameter("p", DType::F16, {4});
  const int32_t c =
      b.compute("reference.cast", {b.constant("c", p)}, DType::F32, {4}, {{"dtype", DType::F32}});
  b.output("y", "reference.add", {x, c}, DType::F32, {3, 4});
  Weights32 weights, large;
  weights.set("p", testing::f16({4}, {1, 2, -3, 0.5f}));
  large.set("p", {4}, {1, 70000, -70000, 65504});
  Engine engine = testing::make_engine(b.plan, weights.source());
  RefitOptions options;
  options.cast = true;
  options.non_finite = NonFinite::Reject;
  EXPECT_THAT(error_of(engine, *large.source(), options, ErrorCode::Mismatch),
              HasSubstr("p: 2 elements are not finite"));
  options.non_finite = NonFinite::Report;
  EXPECT_THAT(engine.refit(*large.source(), options).non_finite,
              ElementsAre(std::pair<std::string, uint64_t>("p", 2)));
}

TEST(Laws, AnyNumberOfSecondsCanBeWaited) {
  Engine engine = two_layer_engine(1);
  RefitOptions options = in_place();
  for (const double seconds : {std::numeric_limits<double>::quiet_NaN(), -1.0}) {
    options.wait_seconds = seconds;
    EXPECT_THAT(error_of(engine, *testing::two_layer_weights(2).source(), options,
                         ErrorCode::InvalidArgument),
                HasSubstr("wait_seconds: want 0 or more, have "));
  }
  for (const double seconds : {0.0, 1e10, std::numeric_limits<double>::infinity()}) {
    options.wait_seconds = seconds;
    EXPECT_NO_THROW(engine.refit(*testing::two_layer_weights(2).source(), options)) << seconds;
  }
}

TEST(Laws, WeightsOfOtherEnginesAreRefused) {
  const Engine engine = two_layer_engine(1), other = two_layer_engine(2);
  const Weights weights = other.weights(), of_fork = engine.fork().weights();
  const std::string want = "these weights belong to another engine";
  Weights32 input;
  input.fill("x", {3, 4}, 77);
  const auto refused = [](const auto& body) {
    try {
      body();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(refused([&] { engine.run(weights, {input.at("x").view()}); }), HasSubstr(want));
  EXPECT_THAT(refused([&] { engine.run(Weights(), {input.at("x").view()}); }), HasSubstr(want));
  EXPECT_THAT(refused([&] { (void)engine.constants(weights); }), HasSubstr(want));
  EXPECT_EQ(engine.constants(of_fork).size(), engine.constants().size());
}

TEST(Laws, DryRunChangesNothing) {
  Engine engine = two_layer_engine(1);
  const auto before = constant_bytes(engine);
  RefitOptions options;
  options.dry_run = true;
  const RefitReport report = engine.refit(*testing::two_layer_weights(2).source(), options);
  EXPECT_TRUE(report.dry_run);
  EXPECT_EQ(report.updated.size(), 4u);
  EXPECT_EQ(constant_bytes(engine), before);
  EXPECT_EQ(engine.generation(), 1u);
}

TEST(Laws, InPlaceKeepsAddresses) {
  Engine engine = two_layer_engine(1);
  const auto addresses = constant_addresses(engine);
  for (const int seed : {2, 3, 1}) {
    engine.refit(*testing::two_layer_weights(seed).source(), in_place());
    EXPECT_EQ(constant_addresses(engine), addresses);
    EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(seed)));
  }
  EXPECT_THROW(engine.rollback(), Error);
  Weights32 change;
  change.fill("fold.bias", {5}, 11);
  RefitOptions options = in_place();
  options.partial = true;
  engine.refit(*change.source(), options);
  EXPECT_EQ(constant_addresses(engine), addresses);
}

TEST(Laws, InPlaceRefusesMemoryOfOthers) {
  Engine engine = two_layer_engine(1);
  const Engine fork = engine.fork();
  EXPECT_THAT(
      error_of(engine, *testing::two_layer_weights(2).source(), in_place(), ErrorCode::State),
      HasSubstr("shared with a fork"));
  Engine mapped =
      testing::make_engine(testing::two_layer_plan(), testing::two_layer_weights(1).source(true));
  EXPECT_THAT(
      error_of(mapped, *testing::two_layer_weights(2).source(), in_place(), ErrorCode::State),
      HasSubstr("adopt = false"));
  const Weights held = engine.weights();
  RefitOptions options = in_place();
  options.wait_seconds = 0.01;
  try {
    Engine lonely = two_layer_engine(1);
    const Weights pinned = lonely.weights();
    lonely.refit(*testing::two_layer_weights(2).source(), options);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did not end within"));
  }
}

TEST(Laws, RollbackAndForth) {
  Engine engine = two_layer_engine(1);
  EXPECT_THROW(engine.rollback(), Error);
  engine.refit(*testing::two_layer_weights(2).source());
  EXPECT_EQ(engine.rollback(), 1u);
  EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(1)));
  EXPECT_EQ(engine.rollback(), 2u);
  EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(2)));
  engine.rollback();
  EXPECT_EQ(engine.refit(*testing::two_layer_weights(3).source()).generation, 3u);
  EXPECT_EQ(engine.rollback(), 1u);
  engine.trim();
  EXPECT_THROW(engine.rollback(), Error);
}

TEST(Laws, ForksShareWhatDoesNotDiffer) {
  Engine a = two_layer_engine(1);
  Engine b = a.fork();
  EXPECT_EQ(constant_addresses(a), constant_addresses(b));
  Weights32 change;
  change.fill("shift", {3}, 5);
  b.refit(*change.source(), partial());
  EXPECT_EQ(constant_bytes(a), constant_bytes(two_layer_engine(1)));
  const auto of_a = constant_addresses(a), of_b = constant_addresses(b);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(of_a[i], of_b[i]);
  EXPECT_NE(of_a[3], of_b[3]);
  // The fork has its own retained parameters.
  change.fill("fold.scale", {5}, 6);
  a.refit(*change.source(), partial());
  EXPECT_EQ(constant_bytes(b)[0], constant_bytes(two_layer_engine(1))[0]);
}

TEST(Laws, RetainNoneNeedsThePartners) {
  EngineOptions options;
  options.retain = Retain::None;
  Engine engine = two_layer_engine(1, options);
  EXPECT_EQ(engine.memory().retained, 0u);
  Weights32 change;
  change.fill("fold.scale", {5}, 6);
  const std::string text = error_of(engine, *change.source(), partial(), ErrorCode::State);
  EXPECT_THAT(text, HasSubstr("fold.weight"));
  EXPECT_THAT(text, HasSubstr("fold.bias"));
  change.fill("fold.weight", {5, 4}, 7).fill("fold.bias", {5}, 8);
  EXPECT_THAT(engine.refit(*change.source(), partial()).updated, ElementsAre("w0", "b0"));
  EXPECT_THROW(engine.parameter("shift"), Error);
  EXPECT_THROW(engine.save("/nonexistent/x.rgf"), Error);
}

TEST(Laws, RetainAutoKeepsWhatItMust) {
  // head.weight and shift stand for themselves as constants; the folded three are copied.
  Engine engine = two_layer_engine(1);
  EXPECT_EQ(engine.memory().retained, (20 + 5 + 5) * sizeof(float));
  Engine mapped =
      testing::make_engine(testing::two_layer_plan(), testing::two_layer_weights(1).source(true));
  EXPECT_EQ(mapped.memory().retained, 0u);
  EXPECT_EQ(mapped.memory().mapped, (20 + 5 + 5 + 15 + 3) * sizeof(float));
  EXPECT_EQ(constant_bytes(mapped), constant_bytes(engine));
}

TEST(Laws, PreparedRefitsPublishOnceAndInOrder) {
  Engine engine = two_layer_engine(1);
  PreparedRefit first = engine.prepare_refit(*testing::two_layer_weights(2).source());
  PreparedRefit second = engine.prepare_refit(*testing::two_layer_weights(3).source());
  EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(1)));
  EXPECT_EQ(first.publish().generation, 2u);
  EXPECT_THROW(first.publish(), Error);
  EXPECT_THROW(second.publish(), Error);
  EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(2)));
}

TEST(Laws, IndexGuards) {
  testing::PlanBuilder b;
  const int32_t x = b.input("x", DType::I64, {2});
  const int32_t table = b.parameter("table", DType::I64, {2}, {}, 10);
  b.output("y", "reference.add", {x, b.constant("table", table)}, DType::I64, {2});
  Weights32 weights;
  const auto indices = [&](int64_t a, int64_t c) {
    Tensor tensor(DType::I64, {2});
    tensor.mutable_view().as_mutable<int64_t>()[0] = a;
    tensor.mutable_view().as_mutable<int64_t>()[1] = c;
    return weights.set("table", tensor).source();
  };
  Engine engine = testing::make_engine(b.plan, indices(0, 9));
  EXPECT_THROW(engine.refit(*indices(3, -1)), Error);
  try {
    engine.refit(*indices(3, 10));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("element 1 is 10, want an index in 0..9"));
  }
}

// Allocations: the n-th from now fails.
std::atomic<int> g_allocations_left{-1};

void fail_nth(size_t) {
  if (g_allocations_left.load() < 0) return;
  if (g_allocations_left.fetch_sub(1) == 0) {
    throw Error("engine", ErrorCode::OutOfMemory, "injected");
  }
}

TEST(Laws, AllOrNothingWhenMemoryRunsOut) {
  for (const bool place : {false, true}) {
    EngineOptions options;
    options.spare = false;  // Every block is a fresh allocation.
    Engine engine = two_layer_engine(1, options);
    const auto before = constant_bytes(engine);
    engine::set_allocation_hook(fail_nth);
    int failures = 0;
    for (int n = 0;; ++n) {
      g_allocations_left = n;
      try {
        engine.refit(*testing::two_layer_weights(2).source(), place ? in_place() : RefitOptions{});
        break;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::OutOfMemory);
        ++failures;
      }
      g_allocations_left = -1;
      EXPECT_EQ(constant_bytes(engine), before) << n;
      EXPECT_EQ(engine.generation(), 1u);
    }
    engine::set_allocation_hook(nullptr);
    EXPECT_GT(failures, 4);
    EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(2)));
  }
}

// A source whose n-th read fails.
class FailingSource final : public WeightSource {
 public:
  FailingSource(std::shared_ptr<const WeightSource> source, int n)
      : source_(std::move(source)), left_(n) {}
  std::vector<std::string> names() const override { return source_->names(); }
  TensorView spec(std::string_view name) const override { return source_->spec(name); }
  SourceTensor read(std::string_view name) const override {
    if (left_-- == 0) throw Error("sources", ErrorCode::Corrupt, "injected");
    return source_->read(name);
  }
  std::string description() const override { return "failing"; }

 private:
  std::shared_ptr<const WeightSource> source_;
  mutable int left_;
};

TEST(Laws, AllOrNothingWhenAReadFails) {
  Engine engine = two_layer_engine(1);
  for (int n = 0; n < 5; ++n) {
    const FailingSource source(testing::two_layer_weights(2).source(), n);
    EXPECT_THAT(error_of(engine, source, {}, ErrorCode::Corrupt), HasSubstr("injected"));
  }
}

TEST(Laws, EverySpareByteIsGivenBack) {
  Engine engine = two_layer_engine(1);
  engine.refit(*testing::two_layer_weights(2).source());
  engine.refit(*testing::two_layer_weights(3).source());
  answer(engine);
  EXPECT_GT(engine.memory().previous, 0u);
  engine.trim();
  const MemoryReport memory = engine.memory();
  EXPECT_EQ(memory.previous, 0u);
  EXPECT_EQ(memory.spare, 0u);
  EXPECT_EQ(memory.sessions, 0u);
  // The third refit takes the blocks of the first: memory stays at two generations.
  for (int seed = 4; seed < 8; ++seed) {
    engine.refit(*testing::two_layer_weights(seed).source());
    const MemoryReport now = engine.memory();
    EXPECT_LE(now.previous + now.spare, memory.constants + memory.retained + (1 << 16));
  }
}

}  // namespace
}  // namespace regraft
