#include "regraft/engine.h"

#include <gtest/gtest.h>

#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::floats;
using testing::PlanBuilder;
using testing::Weights32;

std::vector<float> run(const Engine& engine, const Tensor& x) {
  return floats(engine.run({x.view()})[0].view());
}

// The two-layer model, calculated here.
std::vector<float> two_layers(const Weights32& w, const Tensor& x) {
  const auto weight = floats(w.at("fold.weight").view()), bias = floats(w.at("fold.bias").view());
  const auto scale = floats(w.at("fold.scale").view()), head = floats(w.at("head.weight").view());
  const auto shift = floats(w.at("shift").view()), input = floats(x.view());
  std::vector<float> out;
  for (int64_t n = 0; n < x.dims()[0]; ++n) {
    double hidden[5];
    for (int i = 0; i < 5; ++i) {
      hidden[i] = bias[i] * scale[i];
      for (int j = 0; j < 4; ++j)
        hidden[i] += weight[i * 4 + j] * scale[i] * input[n * 4 + j];
      hidden[i] = std::max(hidden[i], 0.0);
    }
    for (int k = 0; k < 3; ++k) {
      double sum = shift[k];
      for (int i = 0; i < 5; ++i)
        sum += head[k * 5 + i] * hidden[i];
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

void expect_near(const std::vector<float>& have, const std::vector<float>& want) {
  ASSERT_EQ(have.size(), want.size());
  for (size_t i = 0; i < have.size(); ++i)
    EXPECT_NEAR(have[i], want[i], 1e-5) << i;
}

template <typename F>
std::string error_of(const F& f, ErrorCode code) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Engine, RunsAtEveryShape) {
  const Weights32 weights = testing::two_layer_weights(1);
  const Engine engine = testing::make_engine(testing::two_layer_plan(), weights.source());
  EXPECT_EQ(engine.generation(), 1u);
  for (const int64_t n : {2, 1, 7, 2, 64}) {
    Weights32 input;
    input.fill("x", {n, 4}, static_cast<int>(n));
    expect_near(run(engine, input.at("x")), two_layers(weights, input.at("x")));
  }
}

TEST(Engine, MakesStridedInputsRowMajor) {
  const Weights32 weights = testing::two_layer_weights(1);
  const Engine engine = testing::make_engine(testing::two_layer_plan(), weights.source());
  Weights32 input;
  input.fill("x", {4, 3}, 5);
  const TensorView transposed(input.at("x").view().data, DType::F32, {3, 4}, {1, 3});
  const Tensor x = Tensor::copy_of(transposed);
  EXPECT_EQ(floats(engine.run({transposed})[0].view()), run(engine, x));
}

TEST(Engine, NamesEveryInputThatDoesNotFit) {
  const Engine engine = testing::two_layer_engine(1);
  const Tensor wrong = testing::f32({2, 5}, std::vector<float>(10));
  const std::string text = error_of([&] { engine.run({wrong.view()}); }, ErrorCode::Mismatch);
  EXPECT_NE(text.find("'x': want f32[n,4] (n in 1..64), have [2,5]"), std::string::npos) << text;
  const Tensor large = testing::f32({65, 4}, std::vector<float>(260));
  error_of([&] { engine.run({large.view()}); }, ErrorCode::Mismatch);
  const Tensor integers(DType::I64, {2, 4});
  error_of([&] { engine.run({integers.view()}); }, ErrorCode::Mismatch);
  error_of([&] { engine.run({}); }, ErrorCode::Mismatch);
}

TEST(Engine, RefitsAndGoesBack) {
  const Weights32 a = testing::two_layer_weights(1), b = testing::two_layer_weights(2);
  Engine engine = testing::make_engine(testing::two_layer_plan(), a.source());
  Weights32 input;
  input.fill("x", {3, 4}, 9);
  const Tensor& x = input.at("x");
  const auto at_a = run(engine, x);
  const auto bytes_a = testing::constant_bytes(engine);
  const RefitReport report = engine.refit(*b.source());
  EXPECT_EQ(report.generation, 2u);
  EXPECT_EQ(report.updated.size(), 4u);
  EXPECT_EQ(report.untouched, 0u);
  expect_near(run(engine, x), two_layers(b, x));
  EXPECT_EQ(testing::constant_bytes(engine),
            testing::constant_bytes(testing::make_engine(testing::two_layer_plan(), b.source())));
  engine.refit(*a.source());
  EXPECT_EQ(run(engine, x), at_a);
  EXPECT_EQ(testing::constant_bytes(engine), bytes_a);
}

TEST(Engine, HandsOnInputsConstantsAndRepeatedValues) {
  PlanBuilder b;
  const int32_t x = b.input("x", DType::F32, {3});
  const int32_t p = b.parameter("p", DType::F32, {3});
  const int32_t c = b.constant("c", p);
  const int32_t y = b.output("y", "reference.add", {x, c}, DType::F32, {3});
  b.alias_output("again", y);
  b.alias_output("input", x);
  b.alias_output("constant", c);
  Weights32 weights;
  weights.set("p", {3}, {10, 20, 30});
  const Engine engine = testing::make_engine(b.plan, weights.source());
  const auto out = engine.run({testing::f32({3}, {1, 2, 3}).view()});
  EXPECT_EQ(floats(out[0].view()), (std::vector<float>{11, 22, 33}));
  EXPECT_EQ(floats(out[1].view()), (std::vector<float>{11, 22, 33}));
  EXPECT_EQ(floats(out[2].view()), (std::vector<float>{1, 2, 3}));
  EXPECT_EQ(floats(out[3].view()), (std::vector<float>{10, 20, 30}));
}

TEST(Engine, RunsIntoMemoryOfTheCaller) {
  const Engine engine = testing::two_layer_engine(1);
  Weights32 input;
  input.fill("x", {2, 4}, 9);
  const Tensor& x = input.at("x");
  EXPECT_EQ(engine.output_dims({{2, 4}}), (std::vector<Dims>{{2, 3}}));
  const Tensor y(DType::F32, {2, 3});
  Session session = engine.session();
  const std::vector<TensorView> inputs = {x.view()};
  const std::vector<MutableTensorView> outputs = {y.mutable_view()};
  session.run(inputs, outputs);
  EXPECT_EQ(floats(y.view()), run(engine, x));
  const Tensor wrong(DType::F32, {3, 2});
  const std::vector<MutableTensorView> misfit = {wrong.mutable_view()};
  error_of([&] { engine.run(inputs, misfit); }, ErrorCode::Mismatch);
}

TEST(Engine, StrippedEngineSaysWhatToDo) {
  Engine engine = testing::make_engine(testing::two_layer_plan(), nullptr);
  const Tensor x = testing::f32({1, 4}, {1, 2, 3, 4});
  const std::string text = error_of([&] { engine.run({x.view()}); }, ErrorCode::State);
  EXPECT_NE(text.find("Refit it"), std::string::npos) << text;
  EXPECT_EQ(engine.generation(), 0u);
  engine.refit(*testing::two_layer_weights(1).source());
  EXPECT_EQ(engine.run({x.view()}).size(), 1u);
}

TEST(Engine, ShapeValuesFollowShapesAndWeights) {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 100);
  const int32_t x = b.input("x", DType::F32, {n});
  const int32_t p = b.parameter("p", DType::F32, {1});
  const int32_t c = b.constant("c", p);
  const int32_t steps = b.shape("reference.arange", {}, DType::F32, {n},
                                {{"start", SymInt(0)},
                                 {"end", SymInt::symbol("n")},
                                 {"step", SymInt(1)},
                                 {"dtype", DType::F32}});
  const int32_t table = b.shape("reference.mul", {steps, c}, DType::F32, {n});
  b.output("y", "reference.add", {x, table}, DType::F32, {n});
  Weights32 weights;
  weights.set("p", {1}, {10});
  Engine engine = testing::make_engine(b.plan, weights.source());
  EXPECT_EQ(run(engine, testing::f32({3}, {1, 1, 1})), (std::vector<float>{1, 11, 21}));
  EXPECT_EQ(run(engine, testing::f32({2}, {0, 0})), (std::vector<float>{0, 10}));
  for (const bool in_place : {false, true}) {
    weights.set("p", {1}, {in_place ? 2.0f : 3.0f});
    RefitOptions options;
    options.in_place = in_place;
    engine.refit(*weights.source(), options);
    EXPECT_EQ(run(engine, testing::f32({2}, {0, 0})),
              (std::vector<float>{0, in_place ? 2.0f : 3.0f}));
  }
}

}  // namespace
}  // namespace regraft
