#include "tensor/size_guard.h"

#include <gtest/gtest.h>

namespace regraft {
namespace {

using Relation = SizeGuard::Relation;

TEST(SizeGuard, HoldsOrNot) {
  const SymInt n = SymInt::symbol("n"), m = SymInt::symbol("m");
  const auto holds = [&](Relation relation, int64_t a, int64_t b) {
    return SizeGuard{n, relation, m}.holds({{"n", a}, {"m", b}});
  };
  EXPECT_TRUE(holds(Relation::Equal, 3, 3));
  EXPECT_FALSE(holds(Relation::Equal, 3, 4));
  EXPECT_TRUE(holds(Relation::NotEqual, 3, 4));
  EXPECT_FALSE(holds(Relation::NotEqual, 3, 3));
  EXPECT_TRUE(holds(Relation::Less, 3, 4));
  EXPECT_FALSE(holds(Relation::Less, 3, 3));
  EXPECT_TRUE(holds(Relation::LessEqual, 3, 3));
  EXPECT_FALSE(holds(Relation::LessEqual, 4, 3));
}

TEST(SizeGuard, OfWhatHasNoValueDoesNotHold) {
  const SizeGuard guard{mod(SymInt(7), SymInt::symbol("n")), Relation::NotEqual, 5};
  EXPECT_TRUE(guard.holds({{"n", 3}}));
  EXPECT_FALSE(guard.holds({{"n", 0}}));
  EXPECT_FALSE(guard.holds({}));
}

TEST(SizeGuard, IsKnownToHold) {
  const SymInt n = SymInt::symbol("n");
  EXPECT_TRUE((SizeGuard{8, Relation::Equal, 8}).is_always_true());
  EXPECT_FALSE((SizeGuard{8, Relation::Less, 8}).is_always_true());
  EXPECT_TRUE((SizeGuard{n, Relation::Equal, n}).is_always_true());
  EXPECT_TRUE((SizeGuard{n, Relation::LessEqual, n}).is_always_true());
  EXPECT_FALSE((SizeGuard{n, Relation::Less, n}).is_always_true());
  EXPECT_FALSE((SizeGuard{n, Relation::NotEqual, 1}).is_always_true());
}

TEST(SizeGuard, IsPrintedAndRenamed) {
  const SizeGuard guard{SymInt::symbol("n") * 2, Relation::LessEqual, SymInt::symbol("m")};
  EXPECT_EQ(guard.str(), "n*2 <= m");
  EXPECT_EQ(guard.substitute({{"n", SymInt::symbol("k")}}).str(), "k*2 <= m");
  std::set<std::string> used;
  guard.collect_symbols(used);
  EXPECT_EQ(used, (std::set<std::string>{"m", "n"}));
}

}  // namespace
}  // namespace regraft
