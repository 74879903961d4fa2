#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"
#include "base/text.h"

namespace regraft::test {
namespace {

double tolerance(DType dtype) { return dtype == DType::BF16 ? 0x1p-7 : 2e-6; }

TEST(Linear, ShapesAndTypes) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    for (const int64_t rows : {1, 2, 3, 4, 5, 37}) {
      for (const bool is_constant : {true, false}) {
        KernelTest test("cpu.linear", {{"epilogue", std::string()}});
        test.input(dtype, {rows, 67});
        is_constant ? test.constant(dtype, {35, 67}) : test.input(dtype, {35, 67});
        test.input(DType::F32, {35}).output(dtype, {rows, 35});
        test.check(
            "%y = linear(%a0, %a1, cast(%a2) {dtype=" + std::string(name(dtype)) + "}) return %y",
            tolerance(dtype));
      }
    }
  }
}

TEST(Linear, StridedOperands) {
  // Rows of x are columns in memory; the weight is stored [depth, columns].
  KernelTest test("cpu.linear", {});
  test.input(DType::F32, {3, 5, 24}, {2, 0, 1}).constant(DType::F32, {17, 24}, {1, 0}).absent();
  test.output(DType::F32, {3, 5, 17}, {1, 0, 2});
  test.check("%y = linear(%a0, %a1) return %y");
  KernelTest other("cpu.linear", {});
  other.input(DType::BF16, {3, 5, 24}, {1, 0, 2}).input(DType::BF16, {17, 24}, {1, 0}).absent();
  other.output(DType::BF16, {3, 5, 17});
  other.check("%y = linear(%a0, %a1) return %y", 0x1p-7);
}

TEST(Linear, Epilogues) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    for (const int64_t rows : {2, 19}) {
      const std::string type(name(dtype));
      const auto check = [&](const std::string& epilogue, const std::string& body) {
        KernelTest test("cpu.linear", {{"epilogue", epilogue}});
        test.input(dtype, {rows, 48}).constant(dtype, {40, 48}).input(DType::F32, {40});
        if (epilogue.find("add") != std::string::npos ||
            epilogue.find("mul") != std::string::npos) {
          test.input(dtype, {rows, 40});
        }
        test.output(dtype, {rows, 40});
        test.check(base::cat("%c = linear(cast(%a0) {dtype=f32}, cast(%a1) {dtype=f32}, %a2)\n",
                             "%y = ", body, "\n%z = cast(%y) {dtype=", type, "} return %z"),
                   tolerance(dtype));
      };
      check("relu", "relu(%c)");
      check("leaky_relu:0.1", "leaky_relu(%c) {slope=0.1}");
      check("clip:-1:0.5", "hardtanh(%c) {min=-1.0, max=0.5}");
      check("gelu", "gelu(%c)");
      check("gelu_tanh", "gelu(%c) {approximate=\"tanh\"}");
      check("silu", "silu(%c)");
      check("sigmoid", "sigmoid(%c)");
      check("tanh", "tanh(%c)");
      check("hardswish", "hardswish(%c)");
      check("hardsigmoid", "hardsigmoid(%c)");
      check("elu:0.5", "elu(%c) {alpha=0.5}");
      check("mish", "mish(%c)");
      check("abs", "abs(%c)");
      check("square", "square(%c)");
      check("linear:2:-1", "sub(mul(%c, 2.0), 1.0)");
      check("add", "add(%c, cast(%a3) {dtype=f32})");
      check("silu,mul", "mul(silu(%c), cast(%a3) {dtype=f32})");
    }
  }
}

TEST(Matmul, Broadcasting) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    const auto check = [&](Dims x, Dims y, Dims out, std::vector<size_t> x_order = {},
                           std::vector<size_t> y_order = {}, std::vector<size_t> out_order = {}) {
      KernelTest test("cpu.matmul", {});
      test.input(dtype, std::move(x), std::move(x_order));
      test.input(dtype, std::move(y), std::move(y_order));
      test.output(dtype, std::move(out), std::move(out_order));
      const std::string tactic = test.check("%y = matmul(%a0, %a1) return %y", tolerance(dtype));
      EXPECT_NE(tactic.substr(0, 3), "ref") << tactic;
    };
    check({5, 7}, {7, 3}, {5, 3});
    check({2, 5, 7}, {7, 3}, {2, 5, 3});
    check({2, 5, 7}, {2, 7, 3}, {2, 5, 3});
    check({2, 3, 5, 16}, {2, 3, 16, 8}, {2, 3, 5, 8});
    check({2, 3, 5, 16}, {3, 16, 8}, {2, 3, 5, 8});
    check({2, 1, 5, 16}, {1, 3, 16, 8}, {2, 3, 5, 8});
    check({7}, {7}, {});
    check({7}, {7, 3}, {3});
    check({5, 7}, {7}, {5});
    check({2, 5, 7}, {7}, {2, 5});
    check({7}, {2, 7, 3}, {2, 3});
    // Attention's layouts: heads interleaved, keys transposed.
    check({2, 4, 10, 16}, {2, 4, 16, 10}, {2, 4, 10, 10}, {0, 2, 1, 3}, {0, 3, 1, 2});
    check({2, 4, 10, 10}, {2, 4, 10, 16}, {2, 4, 10, 16}, {}, {0, 2, 1, 3}, {0, 2, 1, 3});
  }
}

TEST(Matmul, ConstantAndEpilogue) {
  for (const DType dtype : {DType::F32, DType::BF16}) {
    KernelTest test("cpu.matmul", {{"epilogue", std::string("silu,add")}});
    test.input(dtype, {2, 9, 33}).constant(dtype, {33, 20}).input(dtype, {2, 9, 20});
    test.output(dtype, {2, 9, 20});
    test.check(base::cat("%c = matmul(cast(%a0) {dtype=f32}, cast(%a1) {dtype=f32})\n",
                         "%y = add(silu(%c), cast(%a2) {dtype=f32})\n%z = cast(%y) {dtype=",
                         name(dtype), "} return %z"),
               tolerance(dtype));
  }
}

}  // namespace
}  // namespace regraft::test
