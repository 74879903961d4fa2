// What the type rules refuse. What they accept is in tests/conformance/cases, whose graphs state
// symbolic result types where they matter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/text.h"

namespace regraft::ops {
namespace {

struct Refusal {
  const char* name;
  const char* inputs;
  const char* call;
  const char* message;
};

const Refusal kRefusals[] = {
    {"sub_bool", "%x: bool[2]", "sub(%x, %x)", "sub: is not defined on bool"},
    {"add_float8", "%x: f8e5m2[2]", "add(%x, %x)", "add: does not calculate with f8e5m2"},
    {"eq_float8", "%x: f8e4m3fn[2]", "eq(%x, 1.0)", "eq: does not calculate with f8e4m3fn"},
    {"sum_float8", "%x: f8e4m3fn[2]", "sum(%x)", "which is only stored: cast it"},
    {"linear_float8", "%x: f8e4m3fn[2,3]", "linear(%x, %x)", "linear: does not calculate with"},
    {"sum_to_float8", "%x: f32[2]", "sum(%x) {dtype=f8e5m2}", "sum: does not calculate with"},
    {"mul_mixed_float8", "%x: f8e4m3fn[2], %y: bf16[2]", "mul(%x, %y)", "mul: does not calculate"},
    {"cat_mixed_float8", "%x: f8e4m3fn[2], %y: f8e5m2[2]", "cat(%x, %y)", "have no common dtype"},
    {"where_mixed_float8", "%c: bool[2], %x: f8e4m3fn[2], %y: f32[2]", "where(%c, %x, %y)",
     "f8e4m3fn and f32 have no common dtype"},
    {"accumulate_float8", "%x: f8e5m2[2], %i: i64[2]", "index_put(%x, %x, %i) {accumulate=true}",
     "index_put: does not calculate with f8e5m2"},
    {"scatter_float8", "%x: f8e5m2[2], %i: i64[1]", "scatter(%x, %i, %x) {dim=0, reduce=\"sum\"}",
     "scatter: does not calculate with f8e5m2"},
    {"sub_bool_scalar", "%x: i64[2]", "sub(%x, true)", "sub: is not defined on bool"},
    {"neg_bool", "%x: bool[2]", "neg(%x)", "neg: is not defined on bool"},
    {"pow_bool", "%x: bool[2]", "pow(%x, %x)", "pow: is not defined on bool"},
    {"one_operand", "%x: f32[2]", "add(%x, none)", "add: want two operands"},
    {"integer_root", "%x: i64[2]", "pow(%x, -1)", "an integer to the power -1"},
    {"complex_order", "%x: c64[2]", "lt(%x, %x)", "lt: is not defined on c64"},
    {"bitwise_float", "%x: f32[2]", "bitwise_and(%x, %x)", "want integers or bool, have f32"},
    {"rounding", "%x: f32[2]", "div(%x, 2) {rounding=\"up\"}", "rounding: want none"},
    {"broadcast", "%x: f32[2,3], %y: f32[4]", "add(%x, %y)", "cannot broadcast [2,3] with [4]"},
    {"silu_integer", "%x: i64[2]", "silu(%x)", "want a floating-point tensor, have i64"},
    {"gelu_kind", "%x: f32[2]", "gelu(%x) {approximate=\"fast\"}", "approximate: want"},
    {"condition", "%x: u8[2]", "where(%x, 1, 2)", "condition: want bool, have u8"},
    {"one_choice", "%c: bool[2]", "where(%c, none, 2)", "want two choices"},
    {"no_bound", "%x: f32[2]", "clamp(%x)", "clamp: want a bound"},
    {"two_minima", "%x: f32[2]", "clamp(%x, %x) {min=0}", "not both"},
    {"reshape_count", "%x: f32[2,3]", "reshape(%x) {dims=[4,2]}", "cannot make [4,2] of [2,3]"},
    {"reshape_rest", "%x: f32[2,3]", "reshape(%x) {dims=[4,-1]}", "cannot make [4,-1] of [2,3]"},
    {"reshape_twice", "%x: f32[6]", "reshape(%x) {dims=[-1,-1]}", "at most one size can be -1"},
    {"reshape_of_nothing", "%x: f32[0]", "reshape(%x) {dims=[0,-1]}", "cannot make"},
    {"permute_count", "%x: f32[2,3]", "permute(%x) {dims=[0]}", "want 2 dims, have [0]"},
    {"permute_twice", "%x: f32[2,3]", "permute(%x) {dims=[1,-1]}", "dim -1 appears twice"},
    {"permute_outside", "%x: f32[2,3]", "permute(%x) {dims=[0,2]}", "dim 2 is outside"},
    {"expand_size", "%x: f32[2,3]", "expand(%x) {dims=[2,4]}", "cannot expand [2,3] to [2,4]"},
    {"expand_rank", "%x: f32[2,3]", "expand(%x) {dims=[3]}", "cannot expand"},
    {"expand_new", "%x: f32[3]", "expand(%x) {dims=[-1,3]}", "cannot expand"},
    {"slice_step", "%x: f32[4]", "slice(%x) {step=0}", "want a step above 0"},
    {"slice_zero_dim", "%x: f32[]", "slice(%x)", "no axis to slice"},
    {"slice_scatter", "%x: f32[4], %y: f32[3]", "slice_scatter(%x, %y) {end=2}",
     "source: want [2], have [3]"},
    {"as_strided", "%x: f32[2,3]", "as_strided(%x) {dims=[2,2], strides=[4,2]}",
     "element 6 is outside a tensor of 6"},
    {"as_strided_negative", "%x: f32[4]", "as_strided(%x) {dims=[2], strides=[-1], offset=3}",
     "negative size or stride"},
    {"cat_sizes", "%x: f32[2,3], %y: f32[2,4]", "cat(%x, %y)", "want [2,3], have [2,4]"},
    {"cat_zero_dim", "%x: f32[]", "cat(%x, %x)", "cannot join 0-d tensors"},
    {"repeat_rank", "%x: f32[2,3]", "repeat(%x) {repeats=[2]}", "want at least 2 repeats"},
    {"roll_shifts", "%x: f32[2,3]", "roll(%x) {shifts=[1,2], dims=[0]}", "one shift per dim"},
    {"pad_mode", "%x: f32[3]", "pad(%x) {padding=[1,1], mode=\"mirror\"}", "mode: want"},
    {"pad_far", "%x: f32[3]", "pad(%x) {padding=[3,0], mode=\"reflect\"}", "is too large"},
    {"pad_crop", "%x: f32[3]", "pad(%x) {padding=[-2,-2]}", "leaves a negative size"},
    {"diagonal_rank", "%x: f32[3]", "diagonal(%x)", "rank 2 or more"},
    {"tril_rank", "%x: f32[3]", "tril(%x)", "rank 2 or more"},
    {"arange_sign", "%x: f32[1]", "arange() {end=-3, dtype=i64}", "does not lead from 0 to -3"},
    {"arange_step", "%x: f32[1]", "arange() {end=3, step=0, dtype=i64}", "step: want"},
    {"arange_nan", "%x: f32[1]", "arange() {end=1.0, step=0.0, dtype=f32}", "no range"},
    {"full_size", "%x: f32[1]", "full() {dims=[-2], value=1, dtype=f32}", "negative size"},
    {"embedding_rank", "%x: f32[3], %i: i64[2]", "embedding(%x, %i)", "weight: want rank 2"},
    {"embedding_index", "%x: f32[3,2], %i: f32[2]", "embedding(%x, %i)", "indices: want i64 or"},
    {"index_mask", "%x: f32[3], %i: bool[3]", "index(%x, %i)", "indices: want i64 or i32"},
    {"index_rank", "%x: f32[3], %i: i64[3]", "index(%x, %i, %i)", "2 indices for a tensor of rank"},
    {"index_nothing", "%x: f32[3]", "index(%x, none)", "want at least one index"},
    {"index_put_dtype", "%x: f32[3], %v: f64[1], %i: i64[1]", "index_put(%x, %v, %i)",
     "values: want f32, have f64"},
    {"index_put_dims", "%x: f32[3], %v: f32[2], %i: i64[1]", "index_put(%x, %v, %i)",
     "values: want [1], have [2]"},
    {"select_rank", "%x: f32[3], %i: i64[1,1]", "index_select(%x, %i) {dim=0}",
     "index: want rank 1"},
    {"gather_fit", "%x: f32[2,3], %i: i64[3,3]", "gather(%x, %i) {dim=1}", "does not fit tensor"},
    {"scatter_fit", "%x: f32[2,3], %i: i64[2,3], %s: f32[2,2]", "scatter(%x, %i, %s) {dim=1}",
     "does not fit source"},
    {"scatter_kind", "%x: f32[3], %i: i64[3]", "scatter(%x, %i, %x) {dim=0, reduce=\"add\"}",
     "reduce: want none, sum"},
    {"scatter_source", "%x: f32[3], %i: i64[3]", "scatter(%x, %i, none) {dim=0}",
     "want a source or a value"},
    {"mean_integer", "%x: i64[3]", "mean(%x)", "want a floating-point tensor or dtype"},
    {"var_integer", "%x: i64[3]", "var(%x)", "want a floating-point tensor"},
    {"amax_empty", "%x: f32[3,0]", "amax(%x) {dims=[1]}", "no elements along dim 1"},
    {"sum_dims", "%x: f32[3]", "sum(%x) {dims=[0,-1]}", "dim -1 appears twice"},
    {"argmax_bool", "%x: bool[3]", "argmax(%x)", "is not defined on bool"},
    {"argmax_empty", "%x: f32[0]", "argmax(%x)", "no elements to choose from"},
    {"sort_complex", "%x: c64[3]", "sort(%x)", "is not defined on c64"},
    {"topk_k", "%x: f32[3]", "topk(%x) {k=4}", "k: want at most 3, have 4"},
    {"bucketize_rank", "%x: f32[3], %b: f32[2,2]", "bucketize(%x, %b)", "want rank 1"},
    {"attribute_name", "%x: f32[3]", "sum(%x) {axis=0}", "unknown attribute 'axis'"},
    {"attribute_type", "%x: f32[3]", "sum(%x) {keepdim=3}", "'keepdim' cannot be 3"},
    {"attribute_missing", "%x: f32[3]", "cast(%x)", "attribute 'dtype' is required"},
};

class Refuses : public testing::TestWithParam<Refusal> {};

TEST_P(Refuses, WithTheReason) {
  const Refusal& refusal = GetParam();
  const bool pair = std::string_view(refusal.call).starts_with("sort") ||
                    std::string_view(refusal.call).starts_with("topk");
  const std::string text = std::string("graph(") + refusal.inputs + ") {\n  %r" +
                           (pair ? ", %i" : "") + " = " + refusal.call + "\n  return %r\n}\n";
  try {
    ir::parse(text);
    FAIL() << "accepted: " << text;
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(refusal.message));
  }
}

INSTANTIATE_TEST_SUITE_P(TypeRules, Refuses, testing::ValuesIn(kRefusals),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace regraft::ops
