// Refits from tensors that adapters are added to on the way.
#include <cmath>
#include <cstring>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "refit/lora.h"
#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"
#include "tensor/copy.h"

namespace regraft {
namespace {

using testing::constant_bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Weights32;

using Tensors = std::vector<std::pair<std::string, SourceTensor>>;

// Factors of head.weight [3, 5] and fold.weight [5, 4].
class Merges : public ::testing::Test {
 protected:
  Merges() {
    factors_.fill("head.a", {2, 5}, 11).fill("head.b", {3, 2}, 12);
    factors_.fill("fold.a", {1, 4}, 13).fill("fold.b", {5, 1}, 14);
  }

  LoraTerm term(const std::string& layer, float scale) const {
    return {factors_.at(layer + ".a").view(), factors_.at(layer + ".b").view(), scale};
  }
  TensorView weight(const std::string& name) const { return weights_.at(name).view(); }

  static RefitReport refit(Engine& engine, const Tensors& tensors, RefitOptions options = {}) {
    options.partial = true;
    return engine.refit(*make_source(tensors), options);
  }
  static std::string refusal(Engine& engine, const Tensors& tensors, const RefitOptions& options,
                             ErrorCode code) {
    const auto before = constant_bytes(engine);
    try {
      refit(engine, tensors, options);
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      EXPECT_EQ(constant_bytes(engine), before);
      return error.what();
    }
  }
  Engine engine() const {
    return testing::make_engine(testing::two_layer_plan(), weights_.source());
  }

  // Both layers with adapters, the second one of two.
  Tensors merged() const {
    return {{"head.weight", {weight("head.weight"), nullptr, false, {term("head", 0.5f)}}},
            {"fold.weight",
             {weight("fold.weight"), nullptr, false, {term("fold", 2), term("fold", -0.25f)}}}};
  }
  // An engine of the sums.
  Engine expected() const {
    Weights32 sums = testing::two_layer_weights(1);
    for (const auto& [name, tensor] : merged())
      sums.set(name, refit::merge_lora(tensor.view, tensor.terms));
    return testing::make_engine(testing::two_layer_plan(), sums.source());
  }

  Weights32 weights_ = testing::two_layer_weights(1), factors_;
};

TEST_F(Merges, GiveTheBitsOfTheSums) {
  for (const bool in_place : {false, true}) {
    for (const Retain retain : {Retain::Auto, Retain::Host}) {
      EngineOptions how;
      how.retain = retain;
      Engine live = testing::make_engine(testing::two_layer_plan(), weights_.source(), how);
      RefitOptions options;
      options.in_place = in_place;
      const auto before = constant_bytes(live);
      const RefitReport report = refit(live, merged(), options);
      EXPECT_THAT(report.parameters, ElementsAre("fold.weight", "head.weight"));
      EXPECT_EQ(report.untouched, 2U);
      const uint64_t factor_bytes = 4 * (2 * 5 + 3 * 2 + 2 * (4 + 5));
      EXPECT_EQ(report.bytes_in, 4 * (15 + 20) + factor_bytes);
      EXPECT_EQ(constant_bytes(live), constant_bytes(expected()));
      EXPECT_NE(constant_bytes(live), before);
      // The parameters are the sums: what is used with them later, and saved.
      const SourceTensor kept = live.parameter("head.weight");
      const Tensor want = refit::merge_lora(weight("head.weight"), merged()[0].second.terms);
      EXPECT_EQ(std::memcmp(kept.view.data, want.view().data, want.view().bytes()), 0);
    }
  }
}

TEST_F(Merges, AreGoneWithTheirTerms) {
  Engine live = engine();
  const auto before = constant_bytes(live);
  const std::vector<std::string> names = {"head.weight", "fold.weight"};
  const std::vector<SourceTensor> held = live.held_parameters(names);
  for (const bool in_place : {false, true, false}) {
    RefitOptions options;
    options.in_place = in_place;
    refit(live, merged(), options);
    ASSERT_NE(constant_bytes(live), before);
    refit(live, {{names[0], held[0]}, {names[1], held[1]}}, options);
    EXPECT_EQ(constant_bytes(live), before);
  }
  SourceTensor silent = held[0];
  silent.terms = {term("head", 0)};
  refit(live, {{names[0], silent}});
  EXPECT_EQ(constant_bytes(live), before);
}

TEST_F(Merges, TakeBasesOfAnyLayoutAndDtype) {
  Tensor turned(DType::F32, {5, 3}), wide(DType::F64, {3, 5});
  const TensorView head = weight("head.weight");
  copy({head.data, DType::F32, {5, 3}, {1, 5}}, turned.mutable_view());
  copy(head, wide.mutable_view());
  const TensorView strided(turned.view().data, DType::F32, {3, 5}, {1, 3});
  for (const TensorView& base : {strided, wide.view()}) {
    Engine live = engine(), plain = engine();
    RefitOptions options;
    options.cast = true;
    refit(live, {{"head.weight", {base, nullptr, true, {term("head", 3)}}}}, options);
    refit(plain, {{"head.weight", {head, nullptr, false, {term("head", 3)}}}});
    EXPECT_EQ(constant_bytes(live), constant_bytes(plain));
  }
}

TEST_F(Merges, WorkInARefitter) {
  Engine live = engine();
  RefitOptions options;
  options.partial = true;
  Refitter refitter(live, make_source(merged()), options);
  refitter.run();
  EXPECT_EQ(constant_bytes(live), constant_bytes(expected()));
}

TEST_F(Merges, TellEverythingThatDoesNotFit) {
  Engine live = engine();
  Tensors wrong = merged();
  wrong[0].second.terms = {term("fold", 1)};
  wrong[1].second.terms = {term("head", 1)};
  const std::string text = refusal(live, wrong, {}, ErrorCode::Mismatch);
  EXPECT_THAT(text, HasSubstr("2 problems"));
  EXPECT_THAT(text, HasSubstr("head.weight: lora: A f32[1,4]"));
  EXPECT_THAT(text, HasSubstr("do not fit the weight f32[5,4]"));

  // One tensor under two names.
  Tensors torn = {merged()[0], {"embed.weight", {weight("head.weight"), nullptr, false}}};
  EXPECT_THAT(refusal(live, torn, {}, ErrorCode::Mismatch), HasSubstr("different adapters"));
  torn[1].second = torn[0].second;
  refit(live, torn);
}

TEST_F(Merges, AreSearchedForNumbersThatAreNotFinite) {
  const_cast<float*>(factors_.at("head.b").view().as<float>())[3] =
      std::numeric_limits<float>::infinity();
  Engine live = engine();
  RefitOptions options;
  options.non_finite = NonFinite::Reject;
  EXPECT_THAT(refusal(live, merged(), options, ErrorCode::Mismatch),
              HasSubstr("head.weight: 5 elements"));
  const RefitReport report = refit(live, merged());
  ASSERT_EQ(report.non_finite.size(), 1U);
  EXPECT_EQ(report.non_finite[0].first, "head.weight");
  EXPECT_EQ(report.non_finite[0].second, 5U);
}

TEST_F(Merges, HeldValuesStayAsTheyAre) {
  Engine live = engine();
  const std::vector<std::string> names = {"embed.weight", "shift", "fold.bias"};
  const std::vector<SourceTensor> held = live.held_parameters(names);
  ASSERT_EQ(held.size(), 3U);
  for (const bool in_place : {true, false, true}) {
    RefitOptions options;
    options.in_place = in_place;
    live.refit(*testing::two_layer_weights(7).source(), options);
    const char* canonical[] = {"head.weight", "shift", "fold.bias"};
    for (size_t i = 0; i < held.size(); ++i) {
      const TensorView want = weight(canonical[i]);
      EXPECT_EQ(std::memcmp(held[i].view.data, want.data, want.bytes()), 0) << names[i];
    }
  }
  try {
    const std::vector<std::string> unknown = {"nothing", "shift", "nobody"};
    live.held_parameters(unknown);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::NotFound);
    EXPECT_THAT(error.what(), HasSubstr("'nothing'; no parameter 'nobody'"));
  }
  EngineOptions forgetful;
  forgetful.retain = Retain::None;
  const Engine empty =
      testing::make_engine(testing::two_layer_plan(), weights_.source(), forgetful);
  try {
    empty.held_parameters(names);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::State);
    EXPECT_THAT(error.what(), HasSubstr("'shift' was not retained"));
  }
}

}  // namespace
}  // namespace regraft
