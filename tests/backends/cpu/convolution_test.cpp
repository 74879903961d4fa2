#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"
#include "base/text.h"

namespace regraft::test {
namespace {

struct Conv {
  int64_t batch = 1, in = 3, out = 4, height = 7, width = 5, kernel = 3, stride = 1, padding = 1,
          dilation = 1, groups = 1;
  bool transposed = false;
  bool bias = true;
  bool is_constant = true;
};

constexpr size_t kChannelsLast[] = {0, 2, 3, 1};

void check(const Conv& c, DType dtype, bool channels_last, std::string_view epilogue = "",
           std::string_view body_epilogue = "%y") {
  const auto size = [&](int64_t x) {
    const int64_t reach = c.dilation * (c.kernel - 1) + 1;
    return c.transposed ? (x - 1) * c.stride - 2 * c.padding + reach
                        : (x + 2 * c.padding - reach) / c.stride + 1;
  };
  const Dims x{c.batch, c.in, c.height, c.width};
  const Dims y{c.batch, c.out, size(c.height), size(c.width)};
  const Dims weight = c.transposed ? Dims{c.in, c.out / c.groups, c.kernel, c.kernel}
                                   : Dims{c.out, c.in / c.groups, c.kernel, c.kernel};
  const auto pair = [](int64_t v) { return to_sym({v, v}); };
  KernelTest test("cpu.convolution", {{"stride", pair(c.stride)},
                                      {"padding", pair(c.padding)},
                                      {"dilation", pair(c.dilation)},
                                      {"output_padding", pair(0)},
                                      {"groups", SymInt(c.groups)},
                                      {"transposed", c.transposed},
                                      {"epilogue", std::string(epilogue)}});
  const std::vector<size_t> order =
      channels_last ? std::vector<size_t>(std::begin(kChannelsLast), std::end(kChannelsLast))
                    : std::vector<size_t>{};
  test.input(dtype, x, order);
  c.is_constant ? test.constant(dtype, weight) : test.input(dtype, weight);
  c.bias ? test.input(DType::F32, {c.out}) : test.absent();
  if (epilogue.find("add") != std::string_view::npos) test.input(dtype, y, order);
  test.output(dtype, y, order);
  const auto list = [](int64_t v) { return base::cat("[", v, ",", v, "]"); };
  const std::string_view bf = dtype == DType::BF16 ? "bf16" : "f32";
  const std::string body = base::cat(
      "%x = cast(%a0) {dtype=f32} %w = cast(%a1) {dtype=f32} %c = convolution(%x, %w, ",
      c.bias ? "%a2" : "none", ") {stride=", list(c.stride), ", padding=", list(c.padding),
      ", dilation=", list(c.dilation), ", output_padding=[0,0], groups=", c.groups,
      ", transposed=", c.transposed ? "true" : "false",
      "}\n%y = ", body_epilogue == "%y" ? "reshape(%c) {dims=[" : body_epilogue,
      body_epilogue == "%y" ? base::cat(y[0], ",", y[1], ",", y[2], ",", y[3], "]}") : "",
      "\n%z = cast(%y) {dtype=", bf, "} return %z");
  const std::string tactic = test.check(body, dtype == DType::BF16 ? 0x1p-7 : 2e-6);
  EXPECT_NE(tactic.substr(0, 3), "ref") << tactic;
}

TEST(Convolution, Shapes) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    for (const bool channels_last : {true, false}) {
      check({}, dtype, channels_last);
      check({.in = 16, .out = 32, .kernel = 1, .padding = 0}, dtype, channels_last);
      check({.in = 17, .out = 33, .kernel = 1, .padding = 0, .bias = false}, dtype, channels_last);
      check({.batch = 2, .in = 64, .out = 48, .stride = 2}, dtype, channels_last);
      check({.batch = 2,
             .in = 3,
             .out = 70,
             .height = 15,
             .width = 14,
             .kernel = 7,
             .stride = 2,
             .padding = 3},
            dtype, channels_last);
      check({.in = 24, .out = 24, .groups = 24}, dtype, channels_last);
      check({.in = 19, .out = 19, .kernel = 5, .padding = 2, .groups = 19}, dtype, channels_last);
      check({.in = 32, .out = 64, .groups = 4}, dtype, channels_last);
      check({.in = 12, .out = 6, .groups = 3}, dtype, channels_last);
      check({.in = 8, .out = 8, .padding = 2, .dilation = 2}, dtype, channels_last);
      check({.in = 3, .out = 96, .height = 8, .width = 8, .kernel = 4, .stride = 4, .padding = 0},
            dtype, channels_last);
      check({.in = 1, .out = 1, .height = 1, .width = 1, .kernel = 1, .padding = 0}, dtype,
            channels_last);
    }
  }
}

TEST(Convolution, Transposed) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    check({.in = 8, .out = 16, .transposed = true}, dtype, true);
    check({.in = 8, .out = 5, .kernel = 2, .stride = 2, .padding = 0, .transposed = true}, dtype,
          false);
    check({.in = 16, .out = 32, .groups = 2, .transposed = true}, dtype, true);
    check({.in = 6, .out = 6, .groups = 6, .transposed = true}, dtype, true);
  }
}

TEST(Convolution, WeightFromActivations) {
  check({.in = 16, .out = 32, .is_constant = false}, DType::F32, true);
  check({.in = 5, .out = 9, .is_constant = false}, DType::BF16, false);
}

TEST(Convolution, Epilogues) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    const Conv c{.batch = 2, .in = 16, .out = 24};
    const Conv depthwise{.in = 32, .out = 32, .groups = 32};
    check(c, dtype, true, "relu", "relu(%c)");
    check(c, dtype, true, "clip:0:6", "hardtanh(%c) {min=0.0, max=6.0}");
    check(c, dtype, true, "silu", "silu(%c)");
    check(c, dtype, true, "hardswish", "hardswish(%c)");
    check(c, dtype, true, "gelu", "gelu(%c)");
    check(c, dtype, true, "gelu_tanh", "gelu(%c) {approximate=\"tanh\"}");
    check(c, dtype, true, "add,relu", "relu(add(%c, cast(%a3) {dtype=f32}))");
    check(c, dtype, false, "relu,add", "add(relu(%c), cast(%a3) {dtype=f32})");
    check(depthwise, dtype, true, "add,relu", "relu(add(%c, cast(%a3) {dtype=f32}))");
    check(depthwise, dtype, true, "hardswish", "hardswish(%c)");
  }
}

// oneDNN has no fast convolution that adds a tensor for all of them.
TEST(Convolution, EpiloguesThatItLeavesOver) {
  const Conv c{.batch = 2,
               .in = 192,
               .out = 384,
               .height = 4,
               .width = 4,
               .kernel = 7,
               .stride = 2,
               .padding = 3,
               .groups = 192};
  for (const DType dtype : {DType::F32, DType::BF16}) {
    for (const bool channels_last : {true, false}) {
      check(c, dtype, channels_last, "add", "add(%c, cast(%a3) {dtype=f32})");
      check(c, dtype, channels_last, "add,relu", "relu(add(%c, cast(%a3) {dtype=f32}))");
      check(c, dtype, channels_last, "silu,add", "add(silu(%c), cast(%a3) {dtype=f32})");
    }
  }
}

}  // namespace
}  // namespace regraft::test
