#include "cache/entry.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/realised.h"
#include "regraft/error.h"
#include "regraft/log.h"
#include "support/plan_builder.h"

namespace regraft::cache {
namespace {

using ::testing::ElementsAre;
using testing::floats;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::PlanBuilder;
using testing::Weights32;

constexpr const char* kKey = "0123456789abcdef0123456789abcdef";

// relu(x @ w) over x: f32[n,m], in which a pass has derived a constant from w.
plan::Plan small_plan(const std::string& prefix, const std::string& n, const std::string& m) {
  PlanBuilder b;
  const SymInt rows = b.symbol(n, 1, 8), columns = b.symbol(m, 1, 8);
  const int32_t x = b.input(prefix + "x", DType::F32, {rows, columns, 4});
  const int32_t w = b.parameter(prefix + "w", DType::F32, {3, 4}, {prefix + "tied"});
  const int32_t scaled = b.weight("reference.relu", {w}, DType::F32, {3, 4});
  const int32_t c = b.constant(prefix + "w_scaled", scaled);
  const int32_t y = b.compute("reference.linear", {x, c}, DType::F32, {rows, columns, 3});
  const int32_t z = b.compute("reference.reshape", {y}, DType::F32, {rows * columns, 3},
                              {{"shape", SymDims{rows * columns, 3}}});
  b.plan.compute_steps.back().origin = prefix + "view";
  b.output(prefix + "z", "reference.relu", {z}, DType::F32, {rows * columns, 3});
  return b.plan;
}

Names small_names(const std::string& prefix, const std::string& n, const std::string& m) {
  Names names;
  names.parameters = {{prefix + "w", {prefix + "tied"}}};
  names.inputs = {prefix + "x"};
  names.outputs = {prefix + "z"};
  names.symbols = {n, m};
  names.values = {prefix + "x", prefix + "z"};
  names.origins = {prefix + "view"};
  return names;
}

TEST(Names, OfOnePlanBecomeThoseOfAnother) {
  plan::Plan plan = small_plan("a.", "s0", "s1");
  rename(plan, small_names("a.", "s0", "s1"), small_names("b.", "s1", "s0"));
  EXPECT_EQ(plan::to_string(plan), plan::to_string(small_plan("b.", "s1", "s0")));
  EXPECT_EQ(plan.constants[0].name, "b.w_scaled");
  EXPECT_EQ(plan.buffers[plan.inputs[0].buffer].type.str(), "f32[s1,s0,4]");
  plan::verify(plan);
}

TEST(Names, ThereAndBackIsTheSamePlan) {
  const Names names = small_names("a.", "s7", "s3");
  plan::Plan plan = small_plan("a.", "s7", "s3");
  const std::string before = plan::fingerprint(plan);
  rename(plan, names, canonical(names));
  EXPECT_NE(plan::fingerprint(plan), before);
  EXPECT_THAT(plan::to_string(plan), Not(HasSubstr("a.")));
  plan.parameters[0].aliases = {};
  rename(plan, canonical(names), names);
  EXPECT_EQ(plan::fingerprint(plan), before);
}

TEST(Names, OfConstantsStayDifferent) {
  PlanBuilder b;
  const int32_t p = b.parameter("p", DType::F32, {2}), q = b.parameter("q", DType::F32, {2});
  const int32_t one = b.constant("p", p), two = b.constant("add_1", q);
  const int32_t x = b.input("x", DType::F32, {2});
  const int32_t sum = b.compute("reference.add", {x, one}, DType::F32, {2});
  b.output("y", "reference.add", {sum, two}, DType::F32, {2});
  Names from;
  from.parameters = {{"p", {}}, {"q", {}}};
  from.inputs = {"x"};
  from.outputs = {"y"};
  Names to = from;
  to.parameters[0].name = "add_1";
  rename(b.plan, from, to);
  EXPECT_EQ(b.plan.constants[0].name, "add_1");
  EXPECT_EQ(b.plan.constants[1].name, "add_1_1");
  plan::verify(b.plan);
}

TEST(Names, ThatDoNotFitAreRefused) {
  const Names right = small_names("a.", "s0", "s1");
  Names symbols = right, parameters = right, inputs = right, outputs = right;
  symbols.symbols.pop_back();
  parameters.parameters[0].name = "other";
  inputs.inputs.clear();
  outputs.outputs.push_back("more");
  for (const Names& names : {symbols, parameters, inputs, outputs}) {
    plan::Plan plan = small_plan("a.", "s0", "s1");
    EXPECT_THROW(rename(plan, names, names), Error);
  }
}

class Entry : public ::testing::Test {
 protected:
  static Engine engine(const std::string& prefix, int seed) {
    return testing::make_engine(small_plan(prefix, "s0", "s1"), weights(prefix, seed).source());
  }
  static Weights32 weights(const std::string& prefix, int seed) {
    Weights32 all;
    all.fill(prefix + "w", {3, 4}, seed);
    return all;
  }
  static std::vector<float> answer(const Engine& engine) {
    Weights32 input;
    input.fill("x", {2, 3, 4}, 77);
    return floats(engine.run({input.at("x").view()})[0].view());
  }
  const Names a_ = small_names("a.", "s0", "s1"), b_ = small_names("b.", "s9", "s2");
  const std::string entry_ = encode(kKey, engine("a.", 1), a_);
};

TEST_F(Entry, MakesAnEngineOfAnotherProgram) {
  engine::Image image = decode(kKey, entry_, b_);
  own_realised(image);
  EXPECT_TRUE(image.stripped);
  image.stripped = false;
  image.weights = weights("b.", 2).source();
  const Engine taken = engine::create(std::move(image));
  EXPECT_EQ(answer(taken), answer(engine("a.", 2)));
  EXPECT_THAT(taken.parameters()[0].aliases, ElementsAre("b.tied"));
  EXPECT_EQ(taken.signature().inputs[0].text(), "f32[s9,s2,4]");
  EXPECT_THAT(taken.refit_map() + taken.steps(), Not(HasSubstr("a.")));
}

TEST_F(Entry, KnowsNeitherNamesNorWeights) {
  EXPECT_TRUE(entry_ == encode(kKey, engine("b.", 2), small_names("b.", "s0", "s1")));
  EXPECT_EQ(entry_.find("a."), std::string::npos);
}

TEST_F(Entry, RepeatsTheChoicesOfItsMachine) {
  std::vector<std::string> messages;
  set_log_callback([&](LogLevel, std::string_view text) { messages.emplace_back(text); });
  engine::Image image = decode(kKey, entry_, a_);
  own_realised(image);
  EXPECT_EQ(image.realised, engine("a.", 1).realised_plan());
  engine::create(std::move(image));
  set_log_callback({});
  EXPECT_THAT(messages, ::testing::IsEmpty());
}

TEST_F(Entry, OfAnotherKeyIsRefused) {
  std::string other = kKey;
  other[0] = 'f';
  EXPECT_THROW(decode(other, entry_, a_), Error);
}

TEST_F(Entry, WithAnyByteChangedIsRefused) {
  for (size_t at = 0; at < entry_.size(); ++at) {
    std::string broken = entry_;
    broken[at] = static_cast<char>(broken[at] ^ (1 << at % 8));
    EXPECT_THROW(decode(kKey, broken, a_), Error) << at;
  }
}

TEST_F(Entry, CutAnywhereIsRefused) {
  for (size_t size = 0; size < entry_.size(); size += 7) {
    EXPECT_THROW(decode(kKey, entry_.substr(0, size), a_), Error) << size;
  }
  EXPECT_THROW(decode(kKey, entry_ + "x", a_), Error);
}

}  // namespace
}  // namespace regraft::cache
