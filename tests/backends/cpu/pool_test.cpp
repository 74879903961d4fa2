#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"

namespace regraft::test {
namespace {

const std::vector<size_t> kLast = {0, 2, 3, 1};

TEST(Pool, Max) {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const auto& order : {kLast, std::vector<size_t>{}}) {
      const Attributes attributes{{"kernel", to_sym({3, 2})},
                                  {"stride", to_sym({2, 1})},
                                  {"padding", to_sym({1, 1})},
                                  {"dilation", to_sym({1, 2})},
                                  {"ceil_mode", false}};
      const std::string call =
          "max_pool(%a0) {kernel=[3,2], stride=[2,1], padding=[1,1], dilation=[1,2]}";
      KernelTest both("cpu.max_pool", attributes);
      both.input(type, {2, 70, 9, 8}, order).output(type, {2, 70, 5, 8}, order);
      both.output(DType::I64, {2, 70, 5, 8}, order);
      both.check("%y, %i = " + call + " return %y, %i");
      KernelTest values("cpu.max_pool", attributes);
      values.input(type, {2, 70, 9, 8}, order).output(type, {2, 70, 5, 8}, order);
      values.check("%y, %i = " + call + " return %y");
    }
  }
}

TEST(Pool, Average) {
  for (const bool count_padding : {true, false}) {
    KernelTest test("cpu.avg_pool", {{"kernel", to_sym({3, 3})},
                                     {"stride", to_sym({2, 2})},
                                     {"padding", to_sym({1, 1})},
                                     {"ceil_mode", true},
                                     {"count_include_pad", count_padding},
                                     {"divisor", Attribute()}});
    test.input(DType::F32, {1, 33, 8, 7}, kLast).output(DType::F32, {1, 33, 5, 4}, kLast);
    test.check(std::string("%y = avg_pool(%a0) {kernel=[3,3], stride=[2,2], padding=[1,1], "
                           "ceil_mode=true, count_include_pad=") +
               (count_padding ? "true" : "false") + "} return %y");
  }
}

TEST(Pool, Adaptive) {
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const auto& order : {kLast, std::vector<size_t>{}}) {
      KernelTest test("cpu.adaptive_avg_pool", {{"dims", to_sym({3, 1})}});
      test.input(type, {2, 19, 7, 5}, order).output(type, {2, 19, 3, 1}, order);
      test.check("%y = adaptive_avg_pool(%a0) {dims=[3,1]} return %y");
      KernelTest most("cpu.adaptive_max_pool", {{"dims", to_sym({2, 2})}});
      most.input(type, {2, 19, 7, 5}, order).output(type, {2, 19, 2, 2}, order);
      most.output(DType::I64, {2, 19, 2, 2}, order);
      most.check("%y, %i = adaptive_max_pool(%a0) {dims=[2,2]} return %y, %i");
    }
  }
}

TEST(Reduce, DimsAndLayouts) {
  for (const std::string op : {"sum", "mean", "amax", "amin"}) {
    for (const auto& dims : {std::vector<int64_t>{2, 3}, {1}, {3}, {0, 2}, {-1, -3}}) {
      for (const auto& order : {kLast, std::vector<size_t>{}}) {
        for (const bool keepdim : {true, false}) {
          const Dims x{3, 70, 6, 17};
          Dims y;
          for (size_t d = 0; d < 4; ++d) {
            bool reduced = false;
            for (const int64_t r : dims)
              reduced = reduced || (r + 4) % 4 == static_cast<int64_t>(d);
            if (!reduced) y.push_back(x[d]);
            if (reduced && keepdim) y.push_back(1);
          }
          KernelTest test("cpu." + op, {{"dims", to_sym(dims)}, {"keepdim", keepdim}});
          test.input(DType::F32, x, order).output(DType::F32, y);
          test.check("%y = " + op + "(%a0) {dims=" + to_string(dims) +
                     ", keepdim=" + (keepdim ? "true" : "false") + "} return %y");
        }
      }
    }
  }
}

TEST(Reduce, Everything) {
  KernelTest test("cpu.mean", {{"dims", Attribute()}, {"keepdim", false}});
  test.input(DType::BF16, {5, 7, 11}).output(DType::BF16, {});
  test.check("%y = mean(%a0) return %y");
}

}  // namespace
}  // namespace regraft::test
