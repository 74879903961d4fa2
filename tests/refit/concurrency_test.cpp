// Many threads run while others refit: every call sees exactly one generation (L5).
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::Weights32;

constexpr int kLayers = 12;
constexpr int64_t kWidth = 257;

Engine make(float value) {
  return testing::make_engine(testing::many_constants_plan(kLayers, kWidth),
                              testing::many_constants_weights(kLayers, kWidth, value).source());
}

// The value that all elements of all outputs have, or -1.
float only_value(const std::vector<Tensor>& outputs) {
  const float first = outputs[0].view().as<float>()[0];
  for (const Tensor& output : outputs) {
    for (const float value : testing::floats(output.view())) {
      if (value != first) return -1;
    }
  }
  return first;
}

// Runs `readers` threads while `refit` is called `count` times with 2, 3, ...
template <typename Refit>
void expect_no_mixture(Engine engine, int readers, int count, const Refit& refit) {
  const Tensor x = testing::f32({kWidth}, std::vector<float>(kWidth, 0.0f));
  std::atomic<bool> done{false};
  std::atomic<int> runs{0}, mixed{0}, backwards{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < readers; ++i) {
    threads.emplace_back([&] {
      float last = 0;
      while (!done) {
        const float value = only_value(engine.run({x.view()}));
        if (value < 0) ++mixed;
        if (value < last) ++backwards;
        last = value;
        ++runs;
      }
    });
  }
  for (int i = 0; i < count; ++i) {
    const int before = runs;
    refit(engine, static_cast<float>(i + 2));
    // At least one call between two refits, however the threads are scheduled.
    while (runs == before)
      std::this_thread::yield();
  }
  done = true;
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(mixed, 0);
  EXPECT_EQ(backwards, 0);
  EXPECT_EQ(only_value(engine.run({x.view()})), static_cast<float>(count + 1));
}

RefitReport refit_all(Engine& engine, float value, bool in_place) {
  RefitOptions options;
  options.in_place = in_place;
  return engine.refit(*testing::many_constants_weights(kLayers, kWidth, value).source(), options);
}

TEST(Concurrency, Shadow) {
  expect_no_mixture(make(1), 4, 60, [](Engine& engine, float value) {
    EXPECT_EQ(refit_all(engine, value, false).updated.size(), size_t{kLayers});
  });
}

TEST(Concurrency, InPlace) {
  Engine engine = make(1);
  const auto addresses = testing::constant_addresses(engine);
  expect_no_mixture(engine, 4, 60, [](Engine& e, float value) { refit_all(e, value, true); });
  EXPECT_EQ(testing::constant_addresses(engine), addresses);
}

TEST(Concurrency, BothKindsInTurn) {
  expect_no_mixture(make(1), 3, 40, [](Engine& engine, float value) {
    refit_all(engine, value, static_cast<int>(value) % 2 == 0);
  });
}

TEST(Concurrency, FailedRefitsAreNotSeen) {
  expect_no_mixture(make(1), 3, 20, [](Engine& engine, float value) {
    Weights32 bad = testing::many_constants_weights(kLayers, kWidth, -7);
    bad.set("p3", {2}, {0, 0});
    EXPECT_THROW(engine.refit(*bad.source()), Error);
    refit_all(engine, value, false);
  });
}

TEST(Concurrency, PinnedWeightsStay) {
  Engine engine = make(1);
  const Tensor x = testing::f32({kWidth}, std::vector<float>(kWidth, 0.0f));
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        const Weights weights = engine.weights();
        const float first = only_value(engine.run(weights, {x.view()}));
        const float second = only_value(engine.run(weights, {x.view()}));
        if (first < 0 || first != second) ++wrong;
        if (first != static_cast<float>(weights.generation())) ++wrong;
      }
    });
  }
  for (int i = 2; i < 40; ++i)
    refit_all(engine, static_cast<float>(i), i % 3 == 0);
  done = true;
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Concurrency, RefitsTakeTurns) {
  Engine engine = make(1);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 10; ++k)
        refit_all(engine, static_cast<float>(10 * i + k), k % 2 == 0);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(engine.generation(), 41u);
  const Tensor x = testing::f32({kWidth}, std::vector<float>(kWidth, 0.0f));
  EXPECT_GE(only_value(engine.run({x.view()})), 0);
}

TEST(Concurrency, ForksAreIndependent) {
  Engine base = make(1);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Engine fork = base.fork();
      const Tensor x = testing::f32({kWidth}, std::vector<float>(kWidth, 0.0f));
      for (int k = 0; k < 10; ++k) {
        const auto value = static_cast<float>(100 * i + k + 2);
        refit_all(fork, value, false);
        if (only_value(fork.run({x.view()})) != value) ++wrong;
        if (only_value(base.run({x.view()})) != 1.0f) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace regraft
