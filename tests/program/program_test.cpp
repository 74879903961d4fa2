#include "regraft/program.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowering/lower.h"
#include "program/impl.h"
#include "support/program_json.h"

namespace regraft {
namespace {

using test::ProgramJson;
using testing::ElementsAre;
using testing::HasSubstr;

ProgramJson small_program() {
  ProgramJson json;
  json.range("s0", 1, 8).input("x", "f32[s0,4]").parameter("p_w", "lin.weight", "f32[3,4]");
  json.buffer("b_s", "scale", "f32[3]", false);
  json.node("aten.linear.default", "input=%x, weight=%p_w", "y: f32[s0,3]");
  json.node("aten.mul.Tensor", "self=%y, other=%b_s", "z: f32[s0,3]");
  return json.output("z");
}

std::string error_of(const std::string& text) {
  try {
    Program::from_json(text, nullptr);
    return "no error";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Program, TellsItsSignature) {
  const Program program = small_program().program();
  ASSERT_EQ(program.parameters().size(), 2u);
  EXPECT_EQ(program.parameters()[0].name, "lin.weight");
  EXPECT_EQ(program.parameters()[0].kind, ParameterKind::Parameter);
  EXPECT_EQ(program.parameters()[1].kind, ParameterKind::Buffer);
  EXPECT_FALSE(program.parameters()[1].persistent);
  ASSERT_EQ(program.inputs().size(), 1u);
  EXPECT_EQ(program.inputs()[0].name, "x");
  EXPECT_THAT(program.inputs()[0].dims, ElementsAre("s0", "4"));
  ASSERT_EQ(program.outputs().size(), 1u);
  EXPECT_EQ(program.outputs()[0].name, "output");
}

TEST(Program, ListsEveryParameterThatDoesNotFit) {
  const std::string text = small_program().str();
  EXPECT_THAT(error_of(text), HasSubstr("lin.weight: the weights do not have it; scale: the"));
}

TEST(Program, UnknownMembersAreIgnoredAndOptionalOnesMayMiss) {
  ProgramJson json = small_program();
  json.with("\"from_the_future\": [{\"a\": 1}], \"opset_version\": {\"aten\": 99}");
  EXPECT_EQ(json.program().inputs().size(), 1u);
  const std::string bare =
      R"({"graph_module": {"graph": {"inputs": [], "outputs": [], "nodes": [], "tensor_values": {}},
          "signature": {"input_specs": [], "output_specs": []}},
          "schema_version": {"major": 8, "minor": 99}})";
  EXPECT_EQ(error_of(bare), "no error");
}

TEST(Program, OtherMajorVersionsAreRefused) {
  std::string text = small_program().str();
  text.replace(text.find("\"major\": 8"), 10, "\"major\": 9");
  try {
    Program::from_json(text, nullptr);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Version);
    EXPECT_THAT(error.what(), HasSubstr("want schema version 8.x, have 9.20"));
  }
}

TEST(Program, MessagesSayWhere) {
  EXPECT_THAT(error_of("{"), HasSubstr("[program] model.json"));
  std::string text = small_program().str();
  text.replace(text.find("\"as_int\": 4"), 11, "\"as_int\": []");
  EXPECT_THAT(error_of(text), HasSubstr("tensor_values.x.sizes[1].as_int: want an integer"));
}

TEST(Program, SpecsAndGraphMustAgree) {
  std::string text = small_program().str();
  const size_t specs = text.find("\"input_specs\"");
  const size_t name = text.find("\"x\"", specs);
  text.replace(name, 3, "\"w\"");
  EXPECT_THAT(error_of(text), HasSubstr("input 0 of the graph is 'x', of the signature 'w'"));
}

TEST(Program, ScriptObjectsAreRefusedByName) {
  std::string text = small_program().str();
  const std::string from = R"({"user_input": {"arg": {"as_tensor": {"name": "x"}}}})";
  const std::string to = R"({"custom_obj": {"arg": {"name": "x", "class_fqn": "a.B"},)"
                         R"( "custom_obj_name": "tokenizer"}})";
  text.replace(text.find(from), from.size(), to);
  ProgramJson json;
  json.input("x", "f32[2]").output("x");
  std::string small = json.str();
  small.replace(small.find(from), from.size(), to);
  try {
    lowering::lower(Program::from_json(small, nullptr));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Unsupported);
    EXPECT_THAT(error.what(), HasSubstr("script object 'tokenizer'"));
  }
}

// Neither reading nor lowering may do more than throw Error.
void survive(const std::string& text, const std::shared_ptr<const WeightSource>& weights) {
  try {
    lowering::LoweringOptions options;
    options.allow_opaque = true;
    lowering::lower(Program::from_json(text, weights), options);
  } catch (const Error&) {
  }
}

TEST(HostileProgram, EveryTruncationIsAnError) {
  const ProgramJson json = small_program();
  const std::string text = json.str();
  const auto weights = json.program().weights();
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_THROW(Program::from_json(text.substr(0, length), weights), Error) << length;
  }
}

TEST(HostileProgram, ChangedBytesDoNoHarm) {
  const ProgramJson json = small_program();
  const std::string text = json.str();
  const auto weights = json.program().weights();
  std::mt19937 random(1);
  constexpr std::string_view kBytes = "\"[]{},:0123456789-aes_x%\\";
  for (int round = 0; round < 4000; ++round) {
    std::string changed = text;
    const int edits = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < edits; ++i) {
      const size_t at = random() % changed.size();
      switch (random() % 3) {
        case 0:
          changed[at] = static_cast<char>(changed[at] ^ (1 << random() % 8));
          break;
        case 1:
          changed[at] = kBytes[random() % kBytes.size()];
          break;
        default:
          changed.erase(at, 1 + random() % 8);
          break;
      }
    }
    survive(changed, weights);
  }
}

TEST(HostileProgram, DeepNestingIsRefused) {
  std::string deep = "{\"graph_module\": ";
  for (int i = 0; i < 100000; ++i)
    deep += "[";
  EXPECT_NE(error_of(deep), "no error");
  std::string graphs = R"({"as_graph": {"name": "g", "graph": )";
  ProgramJson inner;
  inner.input("a", "f32[2]").output("a");
  for (int i = 0; i < 20; ++i) {
    ProgramJson outer;
    outer.subgraph("g", inner).input("a", "f32[2]");
    outer.node("higher_order.wrap_with_set_grad_enabled", "false, &g, %a", "b: f32[2]");
    outer.output("b");
    inner = outer;
  }
  EXPECT_THAT(error_of(inner.str()), HasSubstr("graphs nest more than"));
}

}  // namespace
}  // namespace regraft
