// Refits from the same memory again and again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::constant_addresses;
using testing::constant_bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::two_layer_engine;
using testing::Weights32;

std::string said(const std::function<void()>& call, ErrorCode code) {
  try {
    call();
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
}

TEST(Refitter, FollowsTheMemory) {
  for (const bool in_place : {false, true}) {
    Engine engine = two_layer_engine(1);
    Weights32 live = testing::two_layer_weights(1);
    RefitOptions options;
    options.in_place = in_place;
    Refitter refitter(engine, live.source(), options);
    const auto addresses = constant_addresses(engine);
    for (int seed = 2; seed < 6; ++seed) {
      live.overwrite(testing::two_layer_weights(seed));
      const RefitReport report = refitter.run();
      EXPECT_EQ(report.generation, engine.generation());
      EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(seed)));
      EXPECT_EQ(report.parameters.size(), engine.parameters().size());
    }
    if (in_place) {
      EXPECT_EQ(constant_addresses(engine), addresses);
    }
  }
}

TEST(Refitter, OfSomeParametersUsesTheOthersOfTheEngine) {
  Engine engine = two_layer_engine(1), expected = two_layer_engine(1);
  Weights32 scale;
  scale.fill("fold.scale", {4}, 9);
  RefitOptions options;
  options.partial = true;
  const std::string wrong = said([&] { Refitter(engine, scale.source()); }, ErrorCode::Mismatch);
  EXPECT_THAT(wrong, HasSubstr("head.weight"));
  const auto want = engine.parameters();
  Weights32 right;
  for (const ParameterInfo& info : want) {
    if (info.spec.name != "fold.scale") continue;
    right.fill("fold.scale", Dims(info.spec.dims.size(), 0), 9);
  }
  const SourceTensor now = engine.parameter("fold.scale");
  right.fill("fold.scale", now.view.dims, 9);
  Refitter refitter(engine, right.source(), options);
  EXPECT_THAT(refitter.run().parameters, ElementsAre("fold.scale"));
  expected.refit(*right.source(), options);
  EXPECT_EQ(constant_bytes(engine), constant_bytes(expected));
}

TEST(Refitter, SeesNewValuesThatAreNotFinite) {
  Engine engine = two_layer_engine(1);
  const Weights32 live = testing::two_layer_weights(1);
  RefitOptions options;
  options.non_finite = NonFinite::Reject;
  Refitter refitter(engine, live.source(), options);
  const auto before = constant_bytes(engine);
  auto* shift = const_cast<float*>(live.at("shift").view().as<float>());
  shift[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(said([&] { refitter.run(); }, ErrorCode::Mismatch), HasSubstr("shift"));
  EXPECT_EQ(constant_bytes(engine), before);
  shift[0] = 1;
  refitter.run();
  EXPECT_NE(constant_bytes(engine), before);
}

TEST(Refitter, WantsOneMemoryForOneParameter) {
  Engine engine = two_layer_engine(1);
  Weights32 two = testing::two_layer_weights(1);
  const TensorView head = two.at("head.weight").view();
  two.set("embed.weight", Tensor::copy_of(head));
  EXPECT_THAT(said([&] { Refitter(engine, two.source()); }, ErrorCode::InvalidArgument),
              HasSubstr("embed.weight"));
}

TEST(Refitter, RefusesWhatHasNoMeaning) {
  Engine engine = two_layer_engine(1);
  RefitOptions options;
  options.dry_run = true;
  const auto source = testing::two_layer_weights(1).source();
  EXPECT_THAT(said([&] { Refitter(engine, source, options); }, ErrorCode::InvalidArgument),
              HasSubstr("dry"));
  const Engine stripped = testing::make_engine(testing::two_layer_plan(), nullptr);
  EXPECT_THAT(said([&] { Refitter(stripped, source); }, ErrorCode::State),
              HasSubstr("no weights yet"));
}

}  // namespace
}  // namespace regraft
