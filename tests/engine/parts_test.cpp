// Arenas, recycled memory, bindings and weight programs, each alone.
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/arena.h"
#include "engine/binding.h"
#include "engine/memory.h"
#include "engine/publisher.h"
#include "engine/weight_program.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft::engine {
namespace {

using testing::PlanBuilder;

bool overlaps(const std::vector<Lifetime>& items, const Arena& arena, size_t a, size_t b) {
  const bool in_time = items[a].first <= items[b].last && items[b].first <= items[a].last;
  const bool in_space = arena.offsets[a] < arena.offsets[b] + items[b].bytes &&
                        arena.offsets[b] < arena.offsets[a] + items[a].bytes;
  return in_time && in_space;
}

TEST(Arena, ReusesMemoryOfTheDead) {
  const Arena arena = plan_arena({{100, 0, 1}, {100, 1, 2}, {100, 2, 3}, {100, 3, 4}});
  EXPECT_EQ(arena.bytes, 228u);
  EXPECT_EQ(arena.offsets[0], arena.offsets[2]);
  EXPECT_EQ(plan_arena({}).bytes, 0u);
}

TEST(Arena, NothingOverlaps) {
  std::mt19937 random(1);
  for (int round = 0; round < 30; ++round) {
    std::vector<Lifetime> items;
    for (int i = 0; i < 60; ++i) {
      const auto first = static_cast<int32_t>(random() % 40);
      items.push_back({random() % 5000, first, first + static_cast<int32_t>(random() % 8)});
    }
    const Arena arena = plan_arena(items);
    for (size_t a = 0; a < items.size(); ++a) {
      EXPECT_EQ(arena.offsets[a] % kAlignment, 0u);
      EXPECT_LE(arena.offsets[a] + items[a].bytes, arena.bytes);
      for (size_t b = 0; b < a; ++b)
        ASSERT_FALSE(overlaps(items, arena, a, b));
    }
  }
}

TEST(Arena, HugeTotalsAreErrors) {
  EXPECT_THROW(plan_arena({{SIZE_MAX / 2, 0, 1}, {SIZE_MAX / 2, 0, 1}}), Error);
}

TEST(Memory, PoolsRecycle) {
  auto pool = std::make_shared<BlockPool>(0, true);
  auto a = pool->take(1000);
  const std::byte* address = a->data;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(address) % kAlignment, 0u);
  const auto other_user = a;
  a = nullptr;
  EXPECT_EQ(pool->spare_bytes(), 0u);
  EXPECT_NE(pool->take(1000)->data, address);
  std::weak_ptr<BlockPool> watch = pool;
  pool->trim();
  pool = nullptr;
  // A block keeps its pool.
  EXPECT_FALSE(watch.expired());
}

TEST(Memory, TrimAndNoSpare) {
  auto pool = std::make_shared<BlockPool>(0, true);
  pool->take(1000);
  EXPECT_EQ(pool->spare_bytes(), 1000u);
  pool->trim();
  EXPECT_EQ(pool->spare_bytes(), 0u);
  auto frugal = std::make_shared<BlockPool>(0, false);
  frugal->take(1000);
  EXPECT_EQ(frugal->spare_bytes(), 0u);
}

// A point that is reached when the test says so.
class Gate final : public backends::Event {
 public:
  void record(backends::Stream) override {}
  void order(backends::Stream) const override {}
  void wait() const override {
    ++waiting;
    reached_.wait();
  }
  void open() { open_.set_value(); }
  mutable std::atomic<int> waiting = 0;

 private:
  std::promise<void> open_;
  std::shared_future<void> reached_ = open_.get_future().share();
};

// What may still be read is handed out to nobody, however many ask.
TEST(Memory, EveryTakerWaitsForWhatIsRead) {
  const auto pool = std::make_shared<BlockPool>(0, true);
  const auto gate = std::make_shared<Gate>();
  pool->take(1000);
  pool->wait_before_reuse({gate});
  std::vector<std::future<std::shared_ptr<Block>>> takers;
  for (int i = 0; i < 3; ++i)
    takers.push_back(std::async(std::launch::async, [&] { return pool->take(1000); }));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (gate->waiting == 0 && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  EXPECT_EQ(gate->waiting, 1);
  for (auto& taker : takers)
    EXPECT_EQ(taker.wait_for(std::chrono::milliseconds(20)), std::future_status::timeout);
  gate->open();
  for (auto& taker : takers)
    EXPECT_NE(taker.get(), nullptr);
}

TEST(Memory, LimitsAreErrors) {
  EXPECT_THROW(allocate(2000, 1000), Error);
  EXPECT_THROW(allocate(SIZE_MAX), Error);
  EXPECT_THROW(allocate(size_t{1} << 50), Error);
}

TEST(Publisher, WritersInPlaceWaitAndGiveUp) {
  Publisher publisher;
  const auto first = std::make_shared<Bank>();
  EXPECT_TRUE(publisher.try_publish(nullptr, first));
  EXPECT_FALSE(publisher.try_publish(nullptr, std::make_shared<Bank>()));
  auto read = publisher.enter();
  const auto never = [] { return std::shared_ptr<const Bank>(); };
  EXPECT_EQ(publisher.publish_in_place(first, 0.01, never), Publisher::InPlace::TimedOut);
  read = nullptr;
  publisher.leave();
  EXPECT_EQ(publisher.publish_in_place(std::make_shared<Bank>(), 1, never),
            Publisher::InPlace::Superseded);
  EXPECT_THROW(publisher.publish_in_place(
                   first, 1, []() -> std::shared_ptr<const Bank> { throw std::bad_alloc(); }),
               std::bad_alloc);
  EXPECT_EQ(publisher.base(), first);
  // Readers may enter again after each of these.
  publisher.enter();
  publisher.leave();
  EXPECT_EQ(publisher.publish_in_place(first, 1, [] { return std::make_shared<Bank>(); }),
            Publisher::InPlace::Done);
  EXPECT_FALSE(publisher.roll_back());
}

TEST(Bindings, AreKeptAndEvicted) {
  const plan::Plan plan = testing::two_layer_plan();
  const SlotTable slots =
      choose_slots(plan, shape_all(plan, plan::tuned_sizes(plan.symbols)),
                   [](ProgramKind, size_t, size_t input, const backends::KernelRequest& request) {
                     return request.inputs[input].packing;
                   });
  BindingCache cache(plan, slots, 2);
  const auto at = [&](int64_t n) { return cache.get({{"n", n}}); };
  const auto one = at(1);
  EXPECT_EQ(at(1), one);
  at(2);
  EXPECT_EQ(at(1), one);
  at(3);  // Evicts 2, the least recently used.
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(at(1), one);
  // The relu works in place: both hidden layers share 20 floats for n = 1, rounded up to 64 bytes.
  EXPECT_EQ(one->arena_bytes(), 20u);
}

// One step writes two values; a change that needs the one must not touch the other in the bank.
TEST(WeightProgramTest, ValuesThatAreNotWantedAreNotWritten) {
  PlanBuilder b;
  const int32_t p = b.parameter("p", DType::F32, {4}), q = b.parameter("q", DType::F32, {4});
  const int32_t square = b.weight("reference.square", {p}, DType::F32, {4});
  const int32_t sum = b.weight("reference.add", {square, q}, DType::F32, {4});
  const int32_t s = b.constant("square", square), t = b.constant("sum", sum);
  b.alias_output("s", s);
  b.alias_output("t", t);
  plan::verify(b.plan);
  const SlotTable table = plain_slots(b.plan, shape_statics(b.plan));
  const WeightProgram program(b.plan, table.slots);
  ASSERT_EQ(table.slots.size(), 2u);
  EXPECT_THAT(program.parameters_of(0), ::testing::ElementsAre(0));
  EXPECT_THAT(program.parameters_of(1), ::testing::ElementsAre(0, 1));
  EXPECT_THAT(program.steps_to(1), ::testing::ElementsAre(0, 1));
  EXPECT_THAT(program.closure({false, true}), ::testing::ElementsAre(false, true));
  EXPECT_THAT(program.closure({true, false}), ::testing::ElementsAre(true, true));
  // With the square present, the sum needs q only.
  EXPECT_THAT(program.reads({false, true}, {true, true}), ::testing::ElementsAre(false, true));
  EXPECT_THAT(program.reads({false, true}, {false, false}), ::testing::ElementsAre(true, true));

  const auto pool = std::make_shared<BlockPool>(0, true);
  const float p_values[] = {1, 2, 3, 4}, q_values[] = {10, 20, 30, 40};
  float square_values[4] = {-1, -1, -1, -1}, sum_values[4] = {};
  WeightJob job;
  job.parameters = {reinterpret_cast<const std::byte*>(p_values),
                    reinterpret_cast<const std::byte*>(q_values)};
  // The square is neither present nor wanted: it is computed aside.
  job.slots = {false, true};
  job.targets = {nullptr, reinterpret_cast<std::byte*>(sum_values)};
  job.present = {nullptr, nullptr};
  program.evaluate(job, *pool);
  EXPECT_THAT(sum_values, ::testing::ElementsAre(11, 24, 39, 56));
  EXPECT_EQ(square_values[0], -1);
  job.slots = {true, true};
  job.targets[0] = reinterpret_cast<std::byte*>(square_values);
  program.evaluate(job, *pool);
  EXPECT_THAT(square_values, ::testing::ElementsAre(1, 4, 9, 16));
  // Present: taken as it is.
  const float other[] = {100, 100, 100, 100};
  job.slots = {false, true};
  job.targets[0] = nullptr;
  job.present[0] = reinterpret_cast<const std::byte*>(other);
  program.evaluate(job, *pool);
  EXPECT_THAT(sum_values, ::testing::ElementsAre(110, 120, 130, 140));
}

TEST(WeightProgramTest, TemporariesAreShared) {
  PlanBuilder b;
  int32_t value = b.parameter("p", DType::F32, {1000});
  for (int i = 0; i < 10; ++i)
    value = b.weight("reference.neg", {value}, DType::F32, {1000});
  b.alias_output("c", b.constant("c", value, DType::BF16));
  const SlotTable table = plain_slots(b.plan, shape_statics(b.plan));
  const WeightProgram program(b.plan, table.slots);
  const auto pool = std::make_shared<BlockPool>(0, true);
  std::vector<float> parameter(1000, 1.5f);
  std::vector<uint16_t> target(1000);
  WeightJob job;
  job.parameters = {reinterpret_cast<const std::byte*>(parameter.data())};
  job.slots = {true};
  job.targets = {reinterpret_cast<std::byte*>(target.data())};
  job.present = {nullptr};
  program.evaluate(job, *pool);
  EXPECT_EQ(target[999], 0x3fc0);  // bf16 of 1.5
  // Ten temporaries of 4000 bytes fit in two, rounded up to the smallest scratch.
  EXPECT_EQ(pool->spare_bytes(), size_t{1} << 16);
}

}  // namespace
}  // namespace regraft::engine
