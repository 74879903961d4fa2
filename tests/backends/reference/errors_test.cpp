// Values and sizes that only a run can see: kernels refuse them and touch no memory outside their
// operands (the asan build would report it).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/case_file.h"
#include "support/evaluator.h"

namespace regraft::test {
namespace {

struct Failure {
  const char* name;
  const char* inputs;  // "# input" and "# sizes" lines
  const char* graph;   // inputs of the graph and its one call
  const char* call;
  const char* message;
};

const Failure kFailures[] = {
    {"embedding_above", "# input i: values(0,5)", "%x: f32[5,2], %i: i64[2]", "embedding(%x, %i)",
     "embedding: index 5 is outside an axis of size 5"},
    {"embedding_below", "# input i: values(-1)", "%x: f32[5,2], %i: i32[2]", "embedding(%x, %i)",
     "embedding: index -1 is outside"},
    {"index_above", "# input i: values(3)", "%x: f32[3], %i: i64[2]", "index(%x, %i)",
     "index: index 3 is outside an axis of size 3"},
    {"index_below", "# input i: values(-4)", "%x: f32[3], %i: i64[2]", "index(%x, %i)",
     "index: index -1 is outside"},
    {"index_put", "# input i: values(9)", "%x: f32[3], %v: f32[1], %i: i64[2]",
     "index_put(%x, %v, %i)", "index_put: index 9 is outside"},
    {"index_select_below", "# input i: values(-1)", "%x: f32[3], %i: i64[2]",
     "index_select(%x, %i) {dim=0}", "index_select: index -1 is outside"},
    {"gather_below", "# input i: values(-1)", "%x: f32[3], %i: i64[2]", "gather(%x, %i) {dim=0}",
     "gather: index -1 is outside"},
    {"gather_beside", "# sizes: s0=2 s1=3", "%x: f32[s0,2], %i: i64[s1,2]",
     "gather(%x, %i) {dim=1}", "gather: index [3,2] does not fit [2,2]"},
    {"scatter_above", "# input i: values(7)", "%x: f32[3], %i: i64[2]",
     "scatter(%x, %i, %x) {dim=0}", "scatter: index 7 is outside"},
    {"integer_division", "# input y: values(1,0)", "%x: i32[4], %y: i32[4]",
     "div(%x, %y) {rounding=\"floor\"}", "integer division by zero"},
    {"integer_remainder", "# input y: values(0)", "%x: u8[4], %y: u8[4]", "remainder(%x, %y)",
     "integer division by zero"},
    {"broadcast", "# sizes: s0=2 s1=3", "%x: f32[s0], %y: f32[s1]", "add(%x, %y)",
     "cannot broadcast [3] to [2]"},
    {"expand", "# sizes: s0=2 s1=3", "%x: f32[s0], %n: f32[s1]", "expand(%x) {dims=[s1]}",
     "cannot broadcast [2] to [3]"},
    {"reshape", "# sizes: s0=2", "%x: f32[s0,3]", "reshape(%x) {dims=[9]}",
     "cannot make [9] of [2,3]"},
    {"reshape_quotient", "# sizes: s0=7", "%x: f32[s0]", "reshape(%x) {dims=[-1,2]}",
     "cannot make [3,2] of [7]"},
    {"slice", "# sizes: s0=2", "%x: f32[s0]", "slice(%x) {start=-3}", "want [3], have [2]"},
    {"slice_past", "# sizes: s0=9", "%x: f32[4], %n: f32[s0]", "slice(%x) {end=s0}",
     "want [9], have [4]"},
    {"as_strided", "# sizes: s0=3", "%x: f32[2], %n: f32[s0]",
     "as_strided(%x) {dims=[s0], strides=[1]}", "element 2 is outside a tensor of 2"},
    {"cat", "# sizes: s0=2 s1=3", "%x: f32[s0,1], %y: f32[s1,1]", "cat(%x, %y) {dim=1}",
     "cat: [3,1] does not fit into [2,2]"},
    {"pad", "# sizes: s0=2", "%x: f32[1,s0]", "pad(%x) {padding=[2,0], mode=\"reflect\"}",
     "pad: too much for mode reflect"},
    {"topk", "# sizes: s0=2", "%x: f32[s0]", "topk(%x) {k=3}", "topk: want at most 2 elements"},
    {"argmax", "# sizes: s0=0", "%x: f32[2,s0]", "argmax(%x) {dim=1}", "of no elements"},
};

class Fails : public testing::TestWithParam<Failure> {};

TEST_P(Fails, WithTheReason) {
  const Failure& failure = GetParam();
  const bool pair = std::string_view(failure.call).starts_with("topk");
  const std::string text = std::string("# case: x\n# torch: x\n") + failure.inputs + "\ngraph(" +
                           failure.graph + ") {\n  %r" + (pair ? ", %i" : "") + " = " +
                           failure.call + "\n  return %r\n}\n";
  const Case c = parse_cases("errors", text).front();
  const auto graph = c.parse();
  const std::vector<StoredTensor> inputs = make_inputs(c, *graph);
  std::vector<TensorView> views;
  for (const StoredTensor& input : inputs)
    views.push_back(input.view);
  try {
    evaluate(*graph, views, c.sizes);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(failure.message));
    EXPECT_EQ(error.stage(), "engine");
    EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
  }
}

INSTANTIATE_TEST_SUITE_P(ReferenceKernels, Fails, testing::ValuesIn(kFailures),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace regraft::test
