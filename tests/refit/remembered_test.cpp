// Refits from a source that is the one of the last refit: looked at once, values read each time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/variant.h"
#include "refit/stage.h"
#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::constant_bytes;
using ::testing::HasSubstr;
using testing::two_layer_engine;
using testing::Weights32;

bool remembers(const Engine& engine) { return engine.variant()->last_staged() != nullptr; }

// Memory that the source does not own.
std::shared_ptr<const WeightSource> plain(const Weights32& weights) {
  const auto all = weights.source();
  std::vector<std::pair<std::string, SourceTensor>> tensors;
  for (const std::string& name : all->names())
    tensors.emplace_back(name, SourceTensor{all->read(name).view, nullptr, false});
  return make_source(std::move(tensors));
}

std::string refusal(Engine& engine, const WeightSource& source, const RefitOptions& options = {}) {
  const auto before = constant_bytes(engine);
  try {
    engine.refit(source, options);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(constant_bytes(engine), before);
    return error.what();
  }
}

TEST(Remembered, ValuesAreReadEachTime) {
  Engine engine = two_layer_engine(1);
  Weights32 live = testing::two_layer_weights(1);
  RefitReport first;
  for (int seed = 2; seed < 6; ++seed) {
    live.overwrite(testing::two_layer_weights(seed));
    const auto before = engine.variant()->last_staged();
    const RefitReport report = engine.refit(*plain(live));
    EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(seed)));
    EXPECT_TRUE(remembers(engine));
    if (seed == 2) first = report;
    EXPECT_EQ(report.parameters, first.parameters);
    EXPECT_EQ(report.updated, first.updated);
    EXPECT_EQ(report.bytes_in, first.bytes_in);
    if (seed > 2) {
      EXPECT_EQ(engine.variant()->last_staged(), before);
    }
  }
}

TEST(Remembered, OtherViewsOfTheSameMemoryAreChecked) {
  Engine engine = two_layer_engine(1);
  Weights32 live = testing::two_layer_weights(2);
  engine.refit(*plain(live));
  const TensorView head = live.at("head.weight").view();
  const auto source_of = [&](const TensorView& view) {
    std::vector<std::pair<std::string, SourceTensor>> tensors;
    const auto all = live.source();
    for (const std::string& name : all->names())
      tensors.emplace_back(
          name, SourceTensor{name == "head.weight" ? view : all->read(name).view, nullptr, false});
    return make_source(tensors);
  };
  EXPECT_EQ(refusal(engine, *source_of(head)), "");
  EXPECT_THAT(refusal(engine, *source_of({head.data, DType::F32, {5, 3}})),
              HasSubstr("have f32[5,3]"));
  EXPECT_FALSE(remembers(engine));
  engine.refit(*plain(live));
  EXPECT_THAT(refusal(engine, *source_of({head.data, DType::I32, {3, 5}})),
              HasSubstr("have i32[3,5]"));
  engine.refit(*plain(live));
  const auto before = constant_bytes(engine);
  EXPECT_EQ(refusal(engine, *source_of({head.data, DType::F32, {3, 5}, {1, 3}})), "");
  EXPECT_NE(constant_bytes(engine), before);
}

TEST(Remembered, OtherOptionsAreObeyed) {
  Engine engine = two_layer_engine(1);
  Weights32 some;
  some.fill("shift", {3}, 3);
  RefitOptions options;
  options.partial = true;
  engine.refit(*plain(some), options);
  EXPECT_TRUE(remembers(engine));
  EXPECT_THAT(refusal(engine, *plain(some)), HasSubstr("head.weight"));
  some.fill("unknown", {3}, 3);
  options.allow_unexpected = true;
  engine.refit(*plain(some), options);
  options.allow_unexpected = false;
  EXPECT_THAT(refusal(engine, *plain(some), options), HasSubstr("unknown"));
}

TEST(Remembered, TiedTensorsOfTwoPlacesAreComparedEachTime) {
  Engine engine = two_layer_engine(1);
  Weights32 two = testing::two_layer_weights(1);
  const Tensor other = Tensor::copy_of(two.at("head.weight").view());
  two.set("embed.weight", other);
  EXPECT_EQ(refusal(engine, *plain(two)), "");
  EXPECT_FALSE(remembers(engine));
  const_cast<float*>(other.view().as<float>())[4] += 1;
  EXPECT_THAT(refusal(engine, *plain(two)), HasSubstr("different values"));
}

TEST(Remembered, MemoryOfTheSourceIsNotKept) {
  Engine engine = two_layer_engine(1);
  const auto held = std::make_shared<Weights32>(testing::two_layer_weights(2));
  std::vector<std::pair<std::string, SourceTensor>> tensors;
  const auto all = held->source();
  for (const std::string& name : all->names()) {
    SourceTensor tensor = all->read(name);
    tensor.owner = held;
    tensors.emplace_back(name, tensor);
  }
  const long before = held.use_count();
  engine.refit(*make_source(tensors));
  EXPECT_FALSE(remembers(engine));
  EXPECT_EQ(held.use_count(), before);
}

}  // namespace
}  // namespace regraft
