// Exported programs split between engines and what stays outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regraft/compile.h"
#include "regraft/error.h"
#include "support/program_json.h"

namespace regraft {
namespace {

using test::ProgramJson;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Names = std::vector<std::string>;

PartitionInfo split(const ProgramJson& json, Names excluded = {}, int64_t min_block_size = 1) {
  PartitionOptions rules;
  rules.excluded_ops = std::move(excluded);
  rules.min_block_size = min_block_size;
  return partition(json.program(), {}, rules);
}

// "cpu: a b" or "outside: c", segment by segment.
Names shape_of(const PartitionInfo& partition) {
  Names out;
  for (const SegmentInfo& segment : partition.segments) {
    std::string text = (segment.backend.empty() ? "outside" : segment.backend) + ":";
    for (const std::string& node : segment.nodes)
      text += " " + node;
    out.push_back(text);
  }
  return out;
}

Names inputs_of(const SegmentInfo& segment) {
  Names out;
  for (const SegmentInput& input : segment.inputs) {
    out.push_back(input.name + (input.dim < 0 ? "" : "." + std::to_string(input.dim)));
  }
  return out;
}

ProgramJson functional() {
  ProgramJson json;
  json.functional().input("x", "f32[4]");
  return json;
}

ProgramJson chain() {
  ProgramJson json = functional();
  json.node("aten.relu.default", "self=%x", "a: f32[4]");
  json.node("aten.sin.default", "self=%a", "b: f32[4]");
  json.node("aten.neg.default", "self=%b", "c: f32[4]");
  return json.output("c");
}

TEST(ProgramPartition, WholeWhereEverythingIsTaken) {
  const PartitionInfo out = split(chain());
  EXPECT_TRUE(out.is_whole);
  EXPECT_THAT(shape_of(out), ElementsAre("cpu: a b c"));
  EXPECT_THAT(out.refusals, IsEmpty());
}

TEST(ProgramPartition, ExcludedOpsBySpelling) {
  for (const char* op : {"aten.sin", "aten::sin", "aten.sin.default", "torch.ops.aten.sin",
                         "torch.ops.aten.sin.default", "aten::sin.default"}) {
    const PartitionInfo out = split(chain(), {op});
    EXPECT_THAT(shape_of(out), ElementsAre("cpu: a", "outside: b", "cpu: c")) << op;
    ASSERT_EQ(out.refusals.size(), 1u) << op;
    EXPECT_EQ(out.refusals[0].op, "aten.sin.default");
    EXPECT_THAT(out.refusals[0].reason, HasSubstr("torch_executed_ops"));
  }
  EXPECT_TRUE(split(chain(), {"aten.si", "aten.sinh"}).is_whole);
}

// %a and %d could share a segment by kind, but %d waits for %b, which waits for %a.
TEST(ProgramPartition, SegmentsNeverWaitForEachOther) {
  ProgramJson json = functional();
  json.node("aten.relu.default", "self=%x", "a: f32[4]");
  json.node("aten.sin.default", "self=%a", "b: f32[4]");
  json.node("aten.neg.default", "self=%x", "c: f32[4]");
  json.node("aten.add.Tensor", "self=%b, other=%c", "d: f32[4]");
  json.node("aten.add.Tensor", "self=%d, other=%a", "e: f32[4]");
  json.output("e");
  const PartitionInfo out = split(json, {"aten.sin"});
  EXPECT_THAT(shape_of(out), ElementsAre("cpu: a c", "outside: b", "cpu: d e"));
  EXPECT_THAT(inputs_of(out.segments[2]), ElementsAre("b", "c", "a"));
  EXPECT_THAT(out.segments[0].outputs, ElementsAre("a", "c"));
}

// The branch reads inputs only, so it goes first and the main path stays in one engine.
TEST(ProgramPartition, ASideBranchDoesNotCutTheMainPath) {
  ProgramJson json = functional();
  json.node("aten.relu.default", "self=%x", "a: f32[4]");
  json.node("aten.neg.default", "self=%a", "b: f32[4]");
  json.node("aten.sin.default", "self=%x", "side: f32[4]");
  json.node("aten.add.Tensor", "self=%b, other=%side", "c: f32[4]");
  json.output("c");
  EXPECT_THAT(shape_of(split(json, {"aten.sin"})), ElementsAre("outside: side", "cpu: a b c"));
}

TEST(ProgramPartition, ABranchToAnOutputComesLast) {
  ProgramJson json = functional();
  json.node("aten.relu.default", "self=%x", "a: f32[4]");
  json.node("aten.sin.default", "self=%a", "side: f32[4]");
  json.node("aten.neg.default", "self=%a", "b: f32[4]");
  json.output("side").output("b");
  EXPECT_THAT(shape_of(split(json, {"aten.sin"})), ElementsAre("cpu: a b", "outside: side"));
}

TEST(ProgramPartition, WeightNodesStandWhereTheyAreRead) {
  ProgramJson json = functional();
  json.parameter("w", "layer.weight", "f32[4]");
  json.node("aten.neg.default", "self=%w", "w2: f32[4]");
  json.node("aten.mul.Tensor", "self=%x, other=%w2", "a: f32[4]");
  json.node("aten.sin.default", "self=%a", "b: f32[4]");
  json.node("aten.mul.Tensor", "self=%b, other=%w2", "c: f32[4]");
  json.output("c");
  const PartitionInfo out = split(json, {"aten.sin"});
  EXPECT_THAT(shape_of(out), ElementsAre("cpu: w2 a", "outside: b", "cpu: w2 c"));
  EXPECT_THAT(out.segments[2].parameters, ElementsAre("layer.weight"));
  EXPECT_THAT(inputs_of(out.segments[2]), ElementsAre("b"));
}

TEST(ProgramPartition, SmallEnginesGoOutsideAndNeighboursMerge) {
  const PartitionInfo out = split(chain(), {"aten.sin"}, 2);
  EXPECT_THAT(shape_of(out), ElementsAre("outside: a b c"));
  ASSERT_EQ(out.refusals.size(), 3u);
  EXPECT_THAT(out.refusals[0].reason, HasSubstr("fewer than min_block_size 2"));
  EXPECT_FALSE(out.is_whole);
  EXPECT_TRUE(split(chain(), {}, 3).is_whole);
  EXPECT_FALSE(split(chain(), {}, 4).is_whole);
}

TEST(ProgramPartition, ALoneViewMakesNoEngine) {
  ProgramJson json = functional();
  json.node("aten.sin.default", "self=%x", "a: f32[4]");
  json.node("aten.view.default", "self=%a, size=[2,2]", "b: f32[2,2]");
  json.node("aten.sin.default", "self=%b", "c: f32[2,2]");
  json.output("c");
  const PartitionInfo out = split(json, {"aten.sin"});
  EXPECT_THAT(shape_of(out), ElementsAre("outside: a b c"));
  EXPECT_THAT(out.refusals[1].reason, HasSubstr("only views"));
}

TEST(ProgramPartition, DataDependentResultsStayOutside) {
  ProgramJson json = functional();
  json.node("aten.nonzero.default", "self=%x", "a: i64[u0,1]");
  json.node("aten.relu.default", "self=%x", "b: f32[4]");
  json.range("u0", 0, 4).output("a").output("b");
  const PartitionInfo out = split(json);
  EXPECT_THAT(shape_of(out), ElementsAre("cpu: b", "outside: a"));
  EXPECT_THAT(out.refusals[0].place, HasSubstr("node a"));
}

// An engine in the middle knows s0 by no tensor it computes with: it gets the size by itself.
TEST(ProgramPartition, SizesCrossAsSizes) {
  ProgramJson json;
  json.functional().input("x", "f32[s0,4]").range("s0", 2, 64);
  json.node("aten.sym_size.int", "self=%x, dim=0", "#n: s0");
  json.node("aten.sin.default", "self=%x", "a: f32[s0,4]");
  json.node("aten.sum.dim_IntList", "self=%a, dim=[0]", "b: f32[4]");
  json.node("aten.expand.default", "self=%b, size=[#n,4]", "c: f32[s0,4]");
  json.node("aten.relu.default", "self=%c", "d: f32[s0,4]");
  json.output("d");
  const PartitionInfo out = split(json, {"aten.sin", "aten.sum"});
  EXPECT_THAT(shape_of(out), ElementsAre("outside: a b", "cpu: c d"));
  EXPECT_THAT(inputs_of(out.segments[1]), ElementsAre("b", "x.0"));
}

TEST(ProgramPartition, AProgramThatChangesABufferCannotBeSplit) {
  ProgramJson json = functional();
  json.buffer("s", "state", "f32[4]");
  json.node("aten.add.Tensor", "self=%x, other=%s", "a: f32[4]");
  json.buffer_mutation("a", "state").output("a");
  try {
    split(json);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Unsupported);
    EXPECT_THAT(error.what(), HasSubstr("changes the buffer 'state'"));
  }
}

TEST(ProgramPartition, SegmentsAreProgramsOfTheirOwn) {
  ProgramJson json = functional();
  json.parameter("w", "a.weight", "f32[4]").parameter("v", "b.weight", "f32[4]");
  json.node("aten.mul.Tensor", "self=%x, other=%w", "a: f32[4]");
  json.node("aten.sin.default", "self=%a", "b: f32[4]");
  json.node("aten.mul.Tensor", "self=%b, other=%v", "c: f32[4]");
  json.output("c");
  const Program whole = json.program();
  PartitionOptions rules;
  rules.excluded_ops = {"aten.sin"};
  const PartitionInfo out = partition(whole, {}, rules);
  const Program last = segment_program(whole, out.segments[2]);
  ASSERT_EQ(last.parameters().size(), 1u);
  EXPECT_EQ(last.parameters()[0].name, "b.weight");
  EXPECT_EQ(last.inputs()[0].name, "b");
  EXPECT_EQ(last.outputs()[0].name, "c");
  const Engine engine = compile(last);
  EXPECT_EQ(engine.parameters().size(), 1u);
}

TEST(ProgramPartition, TextNamesOpsReasonsAndSegments) {
  const std::string text = to_string(split(chain(), {"aten.sin"}));
  EXPECT_THAT(text, HasSubstr("backend cpu takes 2 of 3 nodes"));
  EXPECT_THAT(text, HasSubstr("outside: aten.sin.default (1 node): kept out"));
  EXPECT_THAT(text, HasSubstr("PyTorch: 1 node, from b to b; takes 1, gives 1"));
}

TEST(ProgramPartition, UnknownNamesInASegment) {
  const Program whole = chain().program();
  SegmentInfo segment;
  segment.nodes = {"nothing"};
  EXPECT_THROW(segment_program(whole, segment), Error);
}

}  // namespace
}  // namespace regraft
