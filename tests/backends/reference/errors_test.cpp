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
    {"matmul", "# sizes: s0=2 s1=3", "%x: f32[4,s0], %y: f32[s1,4]", "matmul(%x, %y)",
     "matmul: rows of y: want 2, have 3"},
    {"matmul_batch", "# sizes: s0=2 s1=3", "%x: f32[s0,4,5], %y: f32[s1,5,4]", "matmul(%x, %y)",
     "cannot broadcast [3] to [2]"},
    {"linear", "# sizes: s0=9", "%x: f32[4,s0], %w: f32[5,8]", "linear(%x, %w)",
     "linear: features of x: want 8, have 9"},
    {"convolution", "# sizes: s0=4", "%x: f32[1,s0,5], %w: f32[2,3,3]",
     "convolution(%x, %w) {stride=[1], padding=[0], dilation=[1], output_padding=[0]}",
     "convolution: channels of x: want 3, have 4"},
    {"attention", "# sizes: s0=4 s1=5", "%q: f32[1,2,8], %k: f32[1,s0,8], %v: f32[1,s1,8]",
     "scaled_dot_product_attention(%q, %k, %v)", "rows of value: want 4, have 5"},
    {"attention_heads", "# sizes: s0=4 s1=3", "%q: f32[s0,2,8], %k: f32[s1,2,8]",
     "scaled_dot_product_attention(%q, %k, %k) {enable_gqa=true}", "heads: want 3, have 4"},
    {"attention_mask", "# sizes: s0=4 s1=3", "%q: f32[1,2,8], %k: f32[1,s0,8], %m: bool[2,s1]",
     "scaled_dot_product_attention(%q, %k, %k, %m)", "cannot broadcast [2,3] to [1,2,4]"},
    {"batch_norm", "# sizes: s0=4", "%x: f32[2,s0], %m: f32[3]",
     "batch_norm(%x, none, none, %m, %m) {eps=1e-05}", "parameters: want 4, have 3"},
    {"group_norm", "# sizes: s0=5", "%x: f32[2,s0]",
     "group_norm(%x, none, none) {groups=2, eps=1e-05}", "channels: want 4, have 5"},
    {"layer_norm", "# sizes: s0=5", "%x: f32[2,s0]", "layer_norm(%x) {dims=[4], eps=1e-05}",
     "last sizes: want 4, have 5"},
    {"adaptive_avg_pool", "# sizes: s0=0", "%x: f32[1,2,s0]", "adaptive_avg_pool(%x) {dims=[2]}",
     "want non-empty planes, have [1,2,0]"},
    {"upsample", "# sizes: s0=0", "%x: f32[1,2,s0]", "upsample_nearest(%x) {dims=[2]}",
     "want non-empty planes, have [1,2,0]"},
    {"col2im", "# sizes: s0=5", "%x: f32[1,4,s0]",
     "col2im(%x) {dims=[4,4], kernel=[2,2], dilation=[1,1], padding=[0,0], stride=[2,2]}",
     "columns of x: want 4, have 5"},
    {"grid_sampler", "# sizes: s0=2 s1=1", "%x: f32[s0,1,3,3], %g: f32[s1,2,2,2]",
     "grid_sampler(%x, %g)", "batch of grid: want 2, have 1"},
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
