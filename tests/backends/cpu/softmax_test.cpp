#include <gtest/gtest.h>

#include "backends/cpu/kernel_test.h"

namespace regraft::test {
namespace {

// In f32 whatever the operand's type: f32[2,37,5,9] along dimension `dim`, stored in `order`.
void check(const std::string& op, DType type, int64_t dim, const std::vector<size_t>& order,
           const std::string& tactic) {
  KernelTest test("cpu." + op, {{"dim", SymInt(dim)}, {"dtype", Attribute()}});
  test.input(type, {2, 37, 5, 9}, order).output(type, {2, 37, 5, 9}, order);
  const std::string bf = type == DType::BF16 ? "bf16" : "f32";
  const std::string body = "%x = cast(%a0) {dtype=f32} %s = " + op +
                           "(%x) {dim=" + std::to_string(dim) + "} %y = cast(%s) {dtype=" + bf +
                           "} return %y";
  EXPECT_EQ(test.check(body, type == DType::BF16 ? 0x1p-7 : 2e-6), tactic);
}

TEST(Softmax, RowsAndColumns) {
  const std::vector<size_t> last = {0, 2, 3, 1};
  for (const std::string op : {"softmax", "log_softmax"}) {
    for (const DType type : {DType::F32, DType::BF16}) {
      check(op, type, -1, {}, "rows");
      check(op, type, 0, {}, "columns");
      check(op, type, 1, {}, "columns");
      check(op, type, -2, {}, "columns");
      check(op, type, 0, last, "columns");
      check(op, type, 3, last, "columns");
    }
  }
}

}  // namespace
}  // namespace regraft::test
