#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "ir/text.h"

// Shapes that layers infer, and what they refuse. That kernels agree with the shapes is tested by
// tests/conformance.
namespace regraft {
namespace {

using testing::HasSubstr;

// Types of the results of "%out = <call>" over the given inputs: "f32[s0,4] i64[2]".
std::string types(const std::string& inputs, const std::string& call, int results = 1) {
  const auto graph =
      ir::parse("graph(" + inputs + ") {\n  " + (results == 2 ? "%out, %positions = " : "%out = ") +
                call + "\n  return %out" + (results == 2 ? ", %positions" : "") + "\n}");
  std::vector<std::string> all;
  for (const auto& output : graph->outputs())
    all.push_back(output.value->type().str());
  return base::join(all, " ");
}

std::string refusal(const std::string& inputs, const std::string& call, int results = 1) {
  try {
    return "accepted: " + types(inputs, call, results);
  } catch (const Error& error) {
    return error.what();
  }
}

const std::string kPlain = "{stride=[1,1], padding=[0,0], dilation=[1,1], output_padding=[0,0]}";
const std::string kSame = "{stride=[1,1], padding=[1,1], dilation=[1,1], output_padding=[0,0]}";
const std::string kHalved = "{stride=[2,2], padding=[3,3], dilation=[1,1], output_padding=[0,0]}";
const std::string kDoubled =
    "{transposed=true, stride=[2,2], padding=[1,1], dilation=[1,1], output_padding=[0,0]}";

TEST(Layers, ConvolutionOfSymbolicSizes) {
  EXPECT_EQ(types("%x: f32[s0,3,s1,224], %w: f32[64,3,3,3]", "convolution(%x, %w) " + kSame),
            "f32[s0,64,s1,224]");
  EXPECT_EQ(types("%x: f32[s0,3,s1,224], %w: f32[64,3,7,7]", "convolution(%x, %w) " + kHalved),
            "f32[s0,64,floordiv(s1+1,2),112]");
  EXPECT_EQ(types("%x: f32[1,3,s1*2,s2], %w: f32[3,8,4,4]", "convolution(%x, %w) " + kDoubled),
            "f32[1,8,s1*4,s2*2]");
}

TEST(Layers, ConvolutionRefuses) {
  const auto conv = [](const std::string& inputs, const std::string& attributes) {
    return refusal(inputs, "convolution(%x, %w) " + attributes);
  };
  EXPECT_THAT(conv("%x: f32[1,4,8,8], %w: f32[6,3,3,3]", kPlain),
              HasSubstr("channels of x: want 3, have 4"));
  EXPECT_THAT(conv("%x: f32[1,3,2,8], %w: f32[6,3,3,3]", kPlain),
              HasSubstr("a window of 3 does not fit into size 2 with padding 0"));
  EXPECT_THAT(conv("%x: f32[3,8,8], %w: f32[6,3,3,3]", kPlain), HasSubstr("x: want rank 4"));
  EXPECT_THAT(conv("%x: f16[1,3,8,8], %w: f32[6,3,3,3]", kPlain),
              HasSubstr("weight: want f16, have f32"));
  EXPECT_THAT(conv("%x: f32[1,3,8], %w: f32[6,3,3]", kPlain),
              HasSubstr("stride: want one entry for each of 1 spatial dimensions, have [1,1]"));
  EXPECT_THAT(conv("%x: f32[1,4,8,8], %w: f32[5,2,3,3]",
                   "{stride=[1,1], padding=[0,0], dilation=[1,1], output_padding=[0,0], groups=2}"),
              HasSubstr("weight: 5 channels do not divide into 2 groups"));
  EXPECT_THAT(
      conv("%x: f32[1,4,8,8], %w: f32[4,5,3,3]",
           "{transposed=true, stride=[2,2], padding=[0,0], dilation=[1,1], output_padding=[2,0]}"),
      HasSubstr("output_padding: want less than stride or dilation, have 2"));
  EXPECT_THAT(refusal("%x: f32[1,3,8,8], %w: f32[6,3,3,3], %b: f32[5]",
                      "convolution(%x, %w, %b) " + kPlain),
              HasSubstr("bias: want [6], have [5]"));
}

TEST(Layers, MatmulBroadcasts) {
  EXPECT_EQ(types("%x: f32[s0,1,3,s1], %y: f32[5,s1,7]", "matmul(%x, %y)"), "f32[s0,5,3,7]");
  EXPECT_EQ(types("%x: f32[s0], %y: f32[s0]", "matmul(%x, %y)"), "f32[]");
  EXPECT_EQ(types("%x: f32[2,3,4], %y: f32[4]", "matmul(%x, %y)"), "f32[2,3]");
  EXPECT_EQ(types("%x: f32[4], %y: f32[2,4,5]", "matmul(%x, %y)"), "f32[2,5]");
  EXPECT_THAT(refusal("%x: f32[2,3], %y: f32[4,5]", "matmul(%x, %y)"),
              HasSubstr("inner sizes of f32[2,3] and f32[4,5] differ"));
  EXPECT_THAT(refusal("%x: f32[2,s0], %y: f32[s0+1,5]", "matmul(%x, %y)"), HasSubstr("differ"));
  EXPECT_THAT(refusal("%x: bool[2,3], %y: bool[3,5]", "matmul(%x, %y)"), HasSubstr("bool"));
}

TEST(Layers, Linear) {
  EXPECT_EQ(types("%x: bf16[s0,s1,8], %w: bf16[5,8]", "linear(%x, %w)"), "bf16[s0,s1,5]");
  EXPECT_THAT(refusal("%x: f32[2,7], %w: f32[5,8]", "linear(%x, %w)"),
              HasSubstr("features of x: want 8, have 7"));
  EXPECT_THAT(refusal("%x: f32[2,8], %w: f32[5,8], %b: f32[1]", "linear(%x, %w, %b)"),
              HasSubstr("bias: want [5], have [1]"));
}

TEST(Layers, Attention) {
  const std::string operands = "%q: f32[b,8,l,64], %k: f32[b,2,s,64], %v: f32[b,2,s,32]";
  EXPECT_EQ(types(operands, "scaled_dot_product_attention(%q, %k, %v) {enable_gqa=true}"),
            "f32[b,8,l,32]");
  EXPECT_THAT(refusal(operands, "scaled_dot_product_attention(%q, %k, %v)"),
              HasSubstr("cannot broadcast"));
  EXPECT_THAT(refusal("%q: f32[1,6,4,8], %k: f32[1,4,4,8], %v: f32[1,4,4,8]",
                      "scaled_dot_product_attention(%q, %k, %v) {enable_gqa=true}"),
              HasSubstr("4 heads do not divide 6"));
  const std::string masked = "%q: f32[1,2,4,8], %k: f32[1,2,5,8], %v: f32[1,2,5,8], ";
  EXPECT_THAT(refusal(masked + "%m: bool[3,1,4,5]", "scaled_dot_product_attention(%q, %k, %v, %m)"),
              HasSubstr("mask: [3,1,4,5] does not broadcast to [1,2,4,5]"));
  EXPECT_THAT(refusal(masked + "%m: i64[4,5]", "scaled_dot_product_attention(%q, %k, %v, %m)"),
              HasSubstr("mask: want f32, have i64"));
  EXPECT_THAT(refusal(masked + "%m: bool[4,5]",
                      "scaled_dot_product_attention(%q, %k, %v, %m) {is_causal=true}"),
              HasSubstr("mask: cannot go with is_causal"));
}

TEST(Layers, Normalisation) {
  EXPECT_EQ(types("%x: f16[s0,8], %w: f32[8]", "layer_norm(%x, %w) {dims=[8], eps=1e-05}"),
            "f16[s0,8]");
  EXPECT_THAT(refusal("%x: f32[2,8], %w: f16[8]", "layer_norm(%x, %w) {dims=[8], eps=1e-05}"),
              HasSubstr("weight: want f32, have f16"));
  EXPECT_THAT(refusal("%x: f32[2,8]", "layer_norm(%x) {dims=[4], eps=1e-05}"),
              HasSubstr("last sizes of x: want [4], have [8]"));
  EXPECT_THAT(refusal("%x: f32[2,8,3]", "group_norm(%x, none, none) {groups=3, eps=1e-05}"),
              HasSubstr("3 groups do not divide 8 channels"));
  EXPECT_THAT(refusal("%x: f32[2,8,3], %m: f32[8], %v: f32[7]",
                      "batch_norm(%x, none, none, %m, %v) {eps=1e-05}"),
              HasSubstr("variance: want [8], have [7]"));
  EXPECT_THAT(refusal("%x: i64[2,8]", "softmax(%x) {dim=1}"), HasSubstr("i64"));
  EXPECT_THAT(refusal("%x: f32[2,8]", "softmax(%x) {dim=2}"), HasSubstr("dim 2 is outside"));
}

TEST(Layers, Pooling) {
  EXPECT_EQ(types("%x: f32[s0,3,s1,9]",
                  "max_pool(%x) {kernel=[3,3], stride=[2,2], padding=[1,1], dilation=[1,1]}", 2),
            "f32[s0,3,floordiv(s1+1,2),5] i64[s0,3,floordiv(s1+1,2),5]");
  EXPECT_EQ(types("%x: f32[1,3,6,7]",
                  "avg_pool(%x) {kernel=[2,2], stride=[3,3], padding=[1,1], ceil_mode=true}"),
            "f32[1,3,3,3]");
  EXPECT_EQ(types("%x: f32[1,3,5,5]",
                  "avg_pool(%x) {kernel=[2,2], stride=[3,3], padding=[1,1], ceil_mode=true}"),
            "f32[1,3,2,2]");
  EXPECT_THAT(
      refusal("%x: f32[1,3,5,5]", "avg_pool(%x) {kernel=[3,3], stride=[1,1], padding=[2,2]}"),
      HasSubstr("padding: want at most half the kernel [3,3], have [2,2]"));
  EXPECT_THAT(refusal("%x: f32[1,3,5,5]",
                      "avg_pool(%x) {kernel=[2,2], stride=[1,1], padding=[0,0], divisor=0}"),
              HasSubstr("divisor: must not be 0"));
  EXPECT_EQ(types("%x: f32[2,3,s0,s1]", "adaptive_avg_pool(%x) {dims=[1,s1]}"), "f32[2,3,1,s1]");
  EXPECT_THAT(refusal("%x: f32[2,3,0,4]", "adaptive_avg_pool(%x) {dims=[1,1]}"),
              HasSubstr("x: want non-empty planes"));
}

TEST(Layers, ResamplingAndColumns) {
  EXPECT_EQ(types("%x: f32[2,3,s0,s1]", "upsample_nearest(%x) {dims=[s0*2,s1*2]}"),
            "f32[2,3,s0*2,s1*2]");
  EXPECT_THAT(refusal("%x: f32[2,3,4,4]", "upsample_bilinear(%x) {dims=[8,8], scales=[2.0]}"),
              HasSubstr("scales: want one for each of 2"));
  EXPECT_THAT(refusal("%x: u8[2,3,4,4]", "upsample_bicubic(%x) {dims=[8,8]}"), HasSubstr("u8"));
  EXPECT_EQ(types("%x: f32[s0,3,6,6]",
                  "im2col(%x) {kernel=[2,3], dilation=[1,1], padding=[0,0], stride=[2,3]}"),
            "f32[s0,18,6]");
  EXPECT_THAT(
      refusal("%x: f32[1,12,5]",
              "col2im(%x) {dims=[4,4], kernel=[2,2], dilation=[1,1], padding=[0,0], stride=[2,2]}"),
      HasSubstr("columns of x: want 4, have 5"));
}

}  // namespace
}  // namespace regraft
