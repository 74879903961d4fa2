// The cache of shape values of a generation, and what reads a generation that goes.
#include "engine/bank.h"

#include <gtest/gtest.h>

namespace regraft::engine {
namespace {

std::shared_ptr<const Block> block(size_t bytes) {
  auto made = std::make_shared<Block>();
  made->bytes = bytes;
  return made;
}

// The values that a bank has of a binding; null: it would compute them.
std::shared_ptr<const Block> known(const Bank& bank, uint64_t binding, size_t capacity = 8) {
  struct Unknown {};
  try {
    return bank.shape_values(binding, capacity,
                             []() -> std::shared_ptr<const Block> { throw Unknown(); });
  } catch (const Unknown&) {
    return nullptr;
  }
}

std::shared_ptr<const Block> compute(const Bank& bank, uint64_t binding, size_t capacity) {
  return bank.shape_values(binding, capacity, [&] { return block(binding); });
}

TEST(Bank, ComputesShapeValuesOnce) {
  const Bank bank;
  const auto first = compute(bank, 1, 8);
  EXPECT_EQ(first->bytes, 1U);
  EXPECT_EQ(compute(bank, 1, 8), first);
  EXPECT_EQ(known(bank, 1), first);
  EXPECT_EQ(known(bank, 2), nullptr);
  EXPECT_EQ(compute(bank, 2, 8)->bytes, 2U) << "a computation that failed left nothing";
}

TEST(Bank, KeepsTheShapeValuesComputedLast) {
  const Bank bank;
  for (const uint64_t binding : {1, 2, 3})
    compute(bank, binding, 2);
  EXPECT_EQ(known(bank, 1), nullptr);
  EXPECT_NE(known(bank, 2), nullptr);
  EXPECT_NE(known(bank, 3), nullptr);
  const auto only = compute(bank, 4, 0);
  EXPECT_EQ(known(bank, 4), only) << "one is always kept";
}

TEST(Bank, SharesShapeValues) {
  Bank bank;
  bank.generation = 7;
  bank.slots = {std::make_shared<Block>()};
  const auto first = compute(bank, 1, 8);
  const auto copy = bank.copy();
  EXPECT_EQ(copy->generation, 7U);
  EXPECT_EQ(copy->slots, bank.slots);
  EXPECT_EQ(known(*copy, 1), first);
  Bank next;
  EXPECT_EQ(known(next, 1), nullptr);
  next.inherit_shape_values(bank);
  EXPECT_EQ(known(next, 1), first);
  compute(next, 2, 8);
  EXPECT_EQ(known(bank, 2), nullptr) << "each computes what is asked of it";
}

// Work that was enqueued, of which is counted how often it was waited for.
class Work final : public backends::Event {
 public:
  void record(backends::Stream) override {}
  void order(backends::Stream) const override {}
  void wait() const override { ++waits; }
  mutable int waits = 0;
};

TEST(Bank, MemoryOfDroppedShapeValuesWaitsForWhatReadsIt) {
  const auto pool = std::make_shared<BlockPool>(0, true);
  const auto work = std::make_shared<Work>();
  const Bank bank;
  bank.note_use(work, pool);
  compute(bank, 1, 1);
  pool->take(8);
  EXPECT_EQ(work->waits, 0) << "nothing went";
  compute(bank, 2, 1);
  pool->take(8);
  EXPECT_EQ(work->waits, 1);
  pool->take(8);
  EXPECT_EQ(work->waits, 1) << "once is enough";
}

TEST(Bank, MemoryOfAGenerationWaitsForWhatReadsIt) {
  const auto pool = std::make_shared<BlockPool>(0, true);
  const auto one = std::make_shared<Work>(), other = std::make_shared<Work>();
  {
    Bank bank;
    bank.slots = {pool->take(8)};
    for (int run = 0; run < 3; ++run)
      bank.note_use(one, pool);
    bank.note_use(other, pool);
    bank.wait_for_uses();
    EXPECT_EQ(one->waits, 1);
    EXPECT_EQ(other->waits, 1);
  }
  pool->take(8);
  EXPECT_EQ(one->waits, 2);
  EXPECT_EQ(other->waits, 2);
}

}  // namespace
}  // namespace regraft::engine
