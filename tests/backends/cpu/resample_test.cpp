#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"
#include "backends/resize_axis.h"

namespace regraft::test {
namespace {

const std::vector<size_t> kLast = {0, 2, 3, 1}, kLast3d = {0, 2, 3, 4, 1};

double tolerance(DType type) { return type == DType::BF16 ? 0x1p-7 : 2e-6; }

TEST(Resample, Upsample) {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const auto& order : {kLast, std::vector<size_t>{}}) {
      for (const bool align : {true, false}) {
        for (const std::string op : {"upsample_bilinear", "upsample_bicubic"}) {
          KernelTest test(
              "cpu." + op,
              {{"dims", to_sym({9, 4})}, {"align_corners", align}, {"scales", Attribute()}});
          test.input(type, {2, 70, 5, 7}, order).output(type, {2, 70, 9, 4}, order);
          const std::string attributes = align ? "align_corners=true" : "align_corners=false";
          const std::string tactic = test.check(
              "%y = " + op + "(%a0) {dims=[9,4], " + attributes + "} return %y", tolerance(type));
          EXPECT_EQ(tactic, "channels_last");
        }
      }
      KernelTest test("cpu.upsample_nearest",
                      {{"dims", to_sym({10, 3})}, {"exact", false}, {"scales", Attribute()}});
      test.input(type, {2, 19, 5, 7}, order).output(type, {2, 19, 10, 3}, order);
      EXPECT_EQ(test.check("%y = upsample_nearest(%a0) {dims=[10,3]} return %y", 0),
                "channels_last");
    }
  }
}

TEST(Resample, UpsampleInOneAndThreeDimensions) {
  KernelTest line("cpu.upsample_bilinear",
                  {{"dims", to_sym({9})}, {"align_corners", false}, {"scales", Attribute()}});
  line.input(DType::F32, {2, 3, 5}).output(DType::F32, {2, 3, 9});
  line.check("%y = upsample_bilinear(%a0) {dims=[9]} return %y", tolerance(DType::F32));
  KernelTest body("cpu.upsample_bilinear",
                  {{"dims", to_sym({4, 3, 5})}, {"align_corners", false}, {"scales", Attribute()}});
  body.input(DType::F32, {1, 3, 2, 5, 3}, kLast3d).output(DType::F32, {1, 3, 4, 3, 5}, kLast3d);
  body.check("%y = upsample_bilinear(%a0) {dims=[4,3,5]} return %y", tolerance(DType::F32));
}

TEST(Resample, Grid) {
  for (const auto& order : {kLast, std::vector<size_t>{}}) {
    for (const std::string mode : {"bilinear", "nearest", "bicubic"}) {
      for (const std::string padding : {"zeros", "border", "reflection"}) {
        KernelTest test("cpu.grid_sampler",
                        {{"mode", mode}, {"padding", padding}, {"align_corners", false}});
        test.input(DType::F32, {2, 70, 5, 7}, order).input(DType::F32, {2, 3, 4, 2});
        test.output(DType::F32, {2, 70, 3, 4}, order);
        const std::string tactic = test.check("%y = grid_sampler(%a0, %a1) {mode=\"" + mode +
                                                  "\", padding=\"" + padding + "\"} return %y",
                                              tolerance(DType::F32));
        EXPECT_EQ(tactic, "channels_last");
      }
    }
  }
}

// Whatever factor a program names, pixels that there are.
TEST(Resample, ExtremeScales) {
  using backends::ResizeMode;
  for (const double scale : {1e-300, 1e-30, 1e300}) {
    for (const ResizeMode mode :
         {ResizeMode::Nearest, ResizeMode::NearestExact, ResizeMode::Linear, ResizeMode::Cubic}) {
      for (const auto& sample : backends::resize_samples<float>({5, 4, scale, false}, mode)) {
        for (int i = 0; i < sample.count; ++i) {
          EXPECT_GE(sample.index[i], 0) << scale;
          EXPECT_LT(sample.index[i], 5) << scale;
        }
      }
    }
  }
}

// Their positions are calculated in f64, by the reference.
TEST(Resample, WhatTheReferenceDoes) {
  const auto is_own = [](const std::string& kernel, DType type, const Dims& x, const Dims& y) {
    const Dims sizes(y.begin() + 2, y.end());
    Attributes attributes = {{"dims", to_sym(sizes)}, {"scales", Attribute()}};
    attributes.set(kernel == "cpu.upsample_nearest" ? "exact" : "align_corners", false);
    KernelTest test(kernel, attributes);
    test.input(type, x).output(type, y);
    return backends::run_backend("cpu").prepare(test.request())->tactic() == "channels_last";
  };
  EXPECT_TRUE(is_own("cpu.upsample_nearest", DType::F32, {1, 1, 58}, {1, 1, 54}));
  EXPECT_FALSE(is_own("cpu.upsample_nearest", DType::F64, {1, 1, 58}, {1, 1, 54}));
  EXPECT_FALSE(is_own("cpu.upsample_nearest", DType::F32, {1, 1, 58}, {2, 1, 54}));
  EXPECT_FALSE(is_own("cpu.upsample_bicubic", DType::F32, {1, 1, 2, 2, 2}, {1, 1, 3, 3, 3}));
}

}  // namespace
}  // namespace regraft::test
