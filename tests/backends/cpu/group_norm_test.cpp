#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"

namespace regraft::test {
namespace {

TEST(GroupNorm, LayoutsAndTypes) {
  const std::vector<size_t> last = {0, 2, 3, 1};
  for (const DType type : {DType::F32, DType::BF16}) {
    for (const auto& order : {last, std::vector<size_t>{}}) {
      for (const int64_t groups : {1, 5, 70}) {
        KernelTest test("cpu.group_norm", {{"groups", SymInt(groups)}, {"eps", 1e-5}});
        test.input(type, {2, 70, 13, 11}, order).input(type, {70}).input(DType::F32, {70});
        test.output(type, {2, 70, 13, 11}, order);
        const std::string bf = type == DType::BF16 ? "bf16" : "f32";
        const std::string tactic = test.check(
            "%x = cast(%a0) {dtype=f32} %w = cast(%a1) {dtype=f32} %n = group_norm(%x, %w, %a2) "
            "{groups=" +
                std::to_string(groups) + ", eps=1e-05} %y = cast(%n) {dtype=" + bf + "} return %y",
            type == DType::BF16 ? 0x1p-7 : 2e-6);
        EXPECT_EQ(tactic, order.empty() ? "rows" : "channels_last");
      }
    }
  }
}

TEST(GroupNorm, WithoutWeights) {
  KernelTest test("cpu.group_norm", {{"groups", SymInt(3)}, {"eps", 1e-5}});
  test.input(DType::F32, {2, 6, 200}).absent().absent().output(DType::F32, {2, 6, 200});
  test.check("%y = group_norm(%a0) {groups=3, eps=1e-05} return %y", 2e-6);
}

// Nothing but the bias is left of them, however their sums are rounded.
TEST(GroupNorm, EqualElementsAreAllAtTheMean) {
  for (const auto& order : {std::vector<size_t>{0, 2, 3, 1}, std::vector<size_t>{}}) {
    for (const double value : {1.1, 10.3, 1234.567}) {
      KernelTest test("cpu.group_norm", {{"groups", SymInt(4)}, {"eps", 1e-5}});
      test.integers(DType::F32, {1, 8, 64, 64}, 1, 2).scaled(value);
      test.input(DType::F32, {8}).input(DType::F32, {8});
      test.output(DType::F32, {1, 8, 64, 64}, order);
      test.check("%y = group_norm(%a0, %a1, %a2) {groups=4, eps=1e-05} return %y", 1e-5);
    }
  }
}

TEST(GroupNorm, SizesThatDoNotFitAreForTheReference) {
  const auto tactic = [](int64_t groups, int64_t weights) {
    KernelTest test("cpu.group_norm", {{"groups", SymInt(groups)}, {"eps", 1e-5}});
    test.input(DType::F32, {2, 6, 200}).input(DType::F32, {weights}).absent();
    test.output(DType::F32, {2, 6, 200});
    return backends::run_backend("cpu").prepare(test.request())->tactic();
  };
  EXPECT_EQ(tactic(3, 6), "rows");
  EXPECT_NE(tactic(4, 6), "rows");
  EXPECT_NE(tactic(0, 6), "rows");
  EXPECT_NE(tactic(3, 3), "rows");
}

}  // namespace
}  // namespace regraft::test
