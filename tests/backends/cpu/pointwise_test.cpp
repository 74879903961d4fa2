#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"
#include "backends/cpu/run/isa.h"
#include "backends/cpu/run/pointwise_program.h"
#include "regraft/error.h"

namespace regraft::test {
namespace {

using cpu::Isa;

KernelTest program(const std::string& text) {
  return KernelTest("cpu.pointwise", {{"program", text}});
}

class PointwiseIsa : public testing::TestWithParam<Isa> {
 public:
  PointwiseIsa() { cpu::limit_isa(GetParam()); }
  ~PointwiseIsa() override { cpu::limit_isa(Isa::Avx512); }
};
INSTANTIATE_TEST_SUITE_P(, PointwiseIsa, testing::Values(Isa::Baseline, Isa::Avx2, Isa::Avx512));

TEST_P(PointwiseIsa, Chain) {
  program("mul i0 i1; add r0 0.5; silu r1 -> r2")
      .input(DType::F32, {3, 1000})
      .input(DType::F32, {1000})
      .output(DType::F32, {3, 1000})
      .check("%y = silu(add(mul(%a0, %a1), 0.5)) return %y");
}

TEST_P(PointwiseIsa, Unary) {
  const auto check = [](const std::string& op, const std::string& call, double factor = 1) {
    program(op + " -> r0")
        .input(DType::F32, {2117})
        .scaled(factor)
        .output(DType::F32, {2117})
        .check("%y = " + call + " return %y", 3e-7);
  };
  for (const std::string op :
       {"neg",  "abs",   "exp",   "expm1", "sin",     "cos",  "tan",    "atan",       "sinh",
        "cosh", "tanh",  "asinh", "erf",   "sigmoid", "relu", "silu",   "hardswish",  "softplus",
        "mish", "floor", "ceil",  "round", "trunc",   "sign", "square", "hardsigmoid"}) {
    check(op + " i0", op + "(%a0)", 4);
  }
  check("gelu i0", "gelu(%a0)", 2);
  check("gelu_tanh i0", "gelu(%a0) {approximate=\"tanh\"}", 2);
  check("clamp i0 -0.5 1", "hardtanh(%a0) {min=-0.5, max=1.0}");
  check("leaky_relu i0 0.1", "leaky_relu(%a0) {slope=0.1}");
  check("elu i0 0.7", "elu(%a0) {alpha=0.7}");
}

TEST_P(PointwiseIsa, RootsAndLogarithms) {
  for (const std::string op : {"sqrt", "rsqrt", "reciprocal", "log", "log2", "log10", "log1p"}) {
    program("square i0; add r0 0.01; " + op + " r1 -> r2")
        .input(DType::F32, {517})
        .output(DType::F32, {517})
        .check("%y = " + op + "(add(square(%a0), 0.01)) return %y", 3e-7);
  }
}

TEST_P(PointwiseIsa, Binary) {
  for (const std::string op : {"add", "sub", "mul", "div", "minimum", "maximum", "atan2", "fmod",
                               "remainder", "eq", "ne", "lt", "le", "gt", "ge", "logical_and"}) {
    for (const bool is_float : {true, false}) {
      if (!is_float && (op == "div" || op == "atan2")) continue;
      const bool compares = op.size() == 2 || op == "logical_and";
      const DType type = is_float ? DType::F32 : DType::I64;
      KernelTest test = program(op + " i0 i1 -> r0");
      if (is_float) {
        test.input(type, {5, 301}).input(type, {5, 301});
      } else {
        test.integers(type, {5, 301}, -4, 5).integers(type, {5, 301}, 1, 4);
      }
      test.output(compares ? DType::Bool : type, {5, 301});
      test.check("%y = " + op + "(%a0, %a1) return %y", 3e-7);
    }
  }
}

TEST_P(PointwiseIsa, Broadcasting) {
  const auto check = [](Dims a, Dims b, Dims out, std::vector<size_t> a_order = {},
                        std::vector<size_t> out_order = {}) {
    program("add i0 i1; mul r0 i1 -> r1")
        .input(DType::F32, std::move(a), std::move(a_order))
        .input(DType::F32, std::move(b))
        .output(DType::F32, std::move(out), std::move(out_order))
        .check("%y = mul(add(%a0, %a1), %a1) return %y");
  };
  check({4, 1, 3}, {5, 1}, {4, 5, 3});
  check({2, 3, 70, 7}, {3, 1, 1}, {2, 3, 70, 7});
  check({2, 3, 70, 7}, {}, {2, 3, 70, 7});
  check({}, {}, {});
  check({1}, {3000}, {3000});
  check({2, 16, 9, 9}, {2, 16, 1, 1}, {2, 16, 9, 9}, {0, 2, 3, 1}, {0, 2, 3, 1});
  check({2, 16, 9, 9}, {2, 16, 9, 9}, {2, 16, 9, 9}, {0, 2, 3, 1}, {0, 2, 3, 1});
  check({2, 16, 9, 9}, {2, 16, 9, 9}, {2, 16, 9, 9}, {3, 1, 2, 0}, {0, 1, 2, 3});
  check({0, 3}, {3}, {0, 3});
  check({3, 5000}, {3, 1}, {3, 5000});
  check({700, 3}, {700, 1}, {700, 3});
}

TEST_P(PointwiseIsa, Types) {
  program("add i0 i1; relu r0 -> r1")
      .input(DType::BF16, {7, 300})
      .input(DType::F32, {300})
      .output(DType::BF16, {7, 300})
      .check("%y = cast(relu(add(cast(%a0) {dtype=f32}, %a1))) {dtype=bf16} return %y");
  program("cast:i64 i0; mul r0 3; cast:f32 r1 -> r2")
      .input(DType::F32, {300})
      .scaled(10)
      .output(DType::F32, {300})
      .check("%y = cast(mul(cast(%a0) {dtype=i64}, 3)) {dtype=f32} return %y");
  program("gt i0 0.0; where r0 i0 i1 -> r1")
      .input(DType::F32, {33, 33})
      .input(DType::F32, {33, 1})
      .output(DType::F32, {33, 33})
      .check("%y = where(gt(%a0, 0.0), %a0, %a1) return %y");
  program("logical_not i0; where r0 -inf 0.0 -> r1")
      .integers(DType::Bool, {40, 50}, 0, 2)
      .output(DType::F32, {40, 50})
      .check("%y = where(logical_not(%a0), none, none) {x_scalar=-inf, y_scalar=0.0} return %y");
  program("add i0 100; cast:i32 r0 -> r1")
      .integers(DType::I32, {77}, -5, 6)
      .output(DType::I32, {77})
      .check("%y = add(%a0, 100) return %y");
  for (const std::string dtype : {"f8e4m3fn", "f8e5m2"}) {
    program("mul i0 i1; cast:" + dtype + " r0; add r1 i1 -> r2")
        .input(*try_parse_dtype(dtype), {7, 300})
        .input(DType::F32, {300})
        .output(DType::F32, {7, 300})
        .check("%y = add(cast(cast(mul(cast(%a0) {dtype=f32}, %a1)) {dtype=" + dtype +
               "}) {dtype=f32}, %a1) return %y");
  }
  program("add i0 0.5 -> r0")
      .input(DType::F16, {100})
      .output(DType::F16, {100})
      .check("%y = add(%a0, 0.5) return %y");
}

TEST(Pointwise, RefusesOtherText) {
  const cpu::Lane lanes[] = {cpu::Lane::F32};
  for (const char* text :
       {"", "add i0 i0", "add i0 i1 -> r0", "add i0 -> r0", "nothing i0 -> r0", "add i0 i0 -> r1",
        "add i0 r0 -> r0", "add i0 x -> r0", "add i0 1e -> r0", "bitwise_and i0 i0 -> r0", "-> "}) {
    EXPECT_THROW(cpu::PointwiseProgram::parse(text, lanes), Error) << text;
  }
}

}  // namespace
}  // namespace regraft::test
