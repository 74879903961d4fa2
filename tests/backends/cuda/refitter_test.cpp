// What a refit from the same memory asks of the driver, counted by one that does nothing.
#include <algorithm>
#include <array>
#include <cstring>

#include <gtest/gtest.h>

#include "backends/cuda/fake_driver.h"
#include "backends/cuda/run/cuda_device.h"
#include "support/plan_builder.h"

namespace regraft::cuda {
namespace {

// A fold, a transposition, a gather (no pointwise kernel) of parameters, and one read twice.
constexpr const char* kProgram =
    "parameters { @w: f32[8,4] @s: f32[8] @table: f32[16,4] @ids: i64[4] @twice: f32[4] }"
    " graph(%x: f32[8,4]) {"
    " %s1 = reshape(@s) {dims=[8,1]} %scaled = mul(@w, %s1)"
    " %rows = embedding(@table, @ids)"
    " %sum = sum(%rows) {dims=[0], keepdim=false}"
    " %e = exp(@twice) %n = neg(@twice)"
    " %a = mul(%x, %scaled) %b = add(%a, %sum) %c = mul(%b, %e) %d = add(%c, %n)"
    " return %d }";

testing::Weights32 weights() {
  testing::Weights32 all;
  all.fill("w", {8, 4}, 1).fill("s", {8}, 2).fill("table", {16, 4}, 3).fill("twice", {4}, 4);
  Tensor ids(DType::I64, {4});
  std::memset(ids.mutable_view().mutable_data(), 0, ids.view().bytes());
  return all.set("ids", std::move(ids));
}

// The tensors of `host` in memory of the device.
std::shared_ptr<const WeightSource> on_device(const WeightSource& host,
                                              std::vector<std::shared_ptr<std::byte>>& kept) {
  std::vector<std::pair<std::string, SourceTensor>> tensors;
  for (const std::string& name : host.names()) {
    const TensorView view = host.read(name).view;
    kept.push_back(cuda_device("cuda:0").allocate(view.bytes()));
    std::memcpy(kept.back().get(), view.data, view.bytes());
    tensors.emplace_back(
        name, SourceTensor{TensorView(kept.back().get(), view.dtype, view.dims), nullptr, false});
  }
  return make_source(std::move(tensors));
}

constexpr std::array kKinds = {"memory", "copy", "clear", "launch", "graph", "wait"};

std::array<long, kKinds.size()> calls() {
  std::array<long, kKinds.size()> found{};
  for (size_t i = 0; i < kKinds.size(); ++i)
    found[i] = fake_calls(kKinds[i]);
  return found;
}

// Writes what `say` says about an engine of `program` to standard error, in a process of its own.
template <typename Say>
[[noreturn]] void say_of(const char* program, const std::shared_ptr<const WeightSource>& source,
                         Retain retain, const Say& say) {
  speak_with_fake_driver([&] {
    EngineOptions options;
    options.retain = retain;
    Engine engine = engine_of(program, source, options);
    say(engine);
  });
}

// What the sixth call makes.
void say_calls(Retain retain, bool in_place) {
  say_of(kProgram, weights().source(), retain, [&](Engine& engine) {
    std::vector<std::shared_ptr<std::byte>> kept;
    RefitOptions options;
    options.in_place = in_place;
    Refitter refitter(engine, on_device(*weights().source(), kept), options);
    for (int i = 0; i < 5; ++i)
      refitter.run();
    const auto before = calls();
    const RefitReport report = refitter.run();
    const auto after = calls();
    for (size_t i = 0; i < kKinds.size(); ++i)
      std::fprintf(stderr, "%s %ld; ", kKinds[i], after[i] - before[i]);
    std::fprintf(stderr, "parameters %zu, updated %d, generation %d", report.parameters.size(),
                 !report.updated.empty(), static_cast<int>(report.generation));
  });
}

// However many tensors there are, whatever their ops are. What is copied and waited for besides are
// the indices, whose bounds are checked before.
TEST(RefitterDeathTest, IsOneLaunch) {
  for (const Retain retain : {Retain::None, Retain::Auto}) {
    for (const bool in_place : {false, true}) {
      EXPECT_EXIT(say_calls(retain, in_place), ::testing::ExitedWithCode(0),
                  "memory 0; copy 1; clear 0; launch 0; graph 1; wait 2; parameters 5, updated 1, "
                  "generation 7")
          << in_place;
    }
  }
}

// Of parameters so large that freed memory of the host comes back at the same addresses.
constexpr const char* kLarge =
    "parameters { @w: f32[1024,1024] @v: f32[1024,1024] } graph(%x: f32[1024,1024]) {"
    " %p = permute(@w) {dims=[1,0]} %q = exp(@v) %y = mul(%x, %p) %z = add(%y, %q) return %z }";

// The fewest copies that one of many calls makes.
void say_copies_to_the_host(bool in_place) {
  testing::Weights32 all;
  all.fill("w", {1024, 1024}, 1).fill("v", {1024, 1024}, 2);
  const auto source = all.source();
  say_of(kLarge, source, Retain::Host, [&](Engine& engine) {
    std::vector<std::shared_ptr<std::byte>> kept;
    RefitOptions options;
    options.in_place = in_place;
    Refitter refitter(engine, on_device(*source, kept), options);
    long fewest = 2;
    for (int i = 0; i < 30; ++i) {
      const long before = fake_calls("copy");
      refitter.run();
      fewest = std::min(fewest, fake_calls("copy") - before);
    }
    std::fprintf(stderr, "copies %ld", fewest);
  });
}

// Values that are kept on the host come there with every refit.
TEST(RefitterDeathTest, KeepsValuesOnTheHost) {
  for (const bool in_place : {false, true}) {
    EXPECT_EXIT(say_copies_to_the_host(in_place), ::testing::ExitedWithCode(0), "copies 2")
        << in_place;
  }
}

// A refit that gives nothing, again and again.
void say_generation(Retain retain, bool in_place) {
  say_of(kProgram, weights().source(), retain, [&](Engine& engine) {
    RefitOptions options;
    options.partial = true;
    options.in_place = in_place;
    RefitReport report;
    for (int i = 0; i < 5; ++i)
      report = engine.refit(*make_source({}), options);
    std::fprintf(stderr, "parameters %zu, generation %d", report.parameters.size(),
                 static_cast<int>(report.generation));
  });
}

TEST(RefitterDeathTest, OfNothingChangesNothing) {
  for (const Retain retain : {Retain::None, Retain::Auto, Retain::Host}) {
    for (const bool in_place : {false, true}) {
      EXPECT_EXIT(say_generation(retain, in_place), ::testing::ExitedWithCode(0),
                  "parameters 0, generation 6")
          << in_place;
    }
  }
}

// The tensors of `host` in pinned memory, or pageable; `stable`: as those of a mapped file.
std::shared_ptr<const WeightSource> on_host(const WeightSource& host, bool pinned,
                                            std::vector<std::shared_ptr<std::byte>>& kept,
                                            bool stable = false) {
  std::vector<std::pair<std::string, SourceTensor>> tensors;
  for (const std::string& name : host.names()) {
    const TensorView view = host.read(name).view;
    kept.push_back(pinned ? cuda_device("cuda:0").allocate_pinned(view.bytes())
                          : backends::host_device().allocate(view.bytes()));
    std::memcpy(kept.back().get(), view.data, view.bytes());
    tensors.emplace_back(
        name, SourceTensor{TensorView(kept.back().get(), view.dtype, view.dims), nullptr, stable});
  }
  return make_source(std::move(tensors));
}

// Two constants that are parameters as they are, one of them beside a kernel's work, and one that
// is calculated of two.
constexpr const char* kCopies =
    "parameters { @a: f32[300000] @b: f32[64] @c: f32[64] @d: f32[64] } graph(%x: f32[300000],"
    " %y: f32[64]) { %p = mul(%x, @a) %q = add(%y, @b) %cd = mul(@c, @d) %r = mul(%q, %cd)"
    " %s = sub(%r, @b) return %p, %s }";

// What the sixth call makes, where memory of the host is what values come from.
void say_calls_from_host(Retain retain, bool in_place, bool pinned) {
  testing::Weights32 all;
  all.fill("a", {300000}, 1).fill("b", {64}, 2).fill("c", {64}, 3).fill("d", {64}, 4);
  say_of(kCopies, all.source(), retain, [&](Engine& engine) {
    std::vector<std::shared_ptr<std::byte>> kept;
    RefitOptions options;
    options.in_place = in_place;
    Refitter refitter(engine, on_host(*all.source(), pinned, kept), options);
    for (int i = 0; i < 5; ++i)
      refitter.run();
    const auto before = calls();
    refitter.run();
    const auto after = calls();
    std::fprintf(stderr, "memory %ld; launch %ld; graph %ld", after[0] - before[0],
                 after[3] - before[3], after[4] - before[4]);
  });
}

TEST(RefitterDeathTest, BringsValuesFromTheHostToTheSameMemory) {
  for (const bool pinned : {false, true}) {
    for (const Retain retain : {Retain::None, Retain::Auto}) {
      for (const bool in_place : {false, true}) {
        EXPECT_EXIT(say_calls_from_host(retain, in_place, pinned), ::testing::ExitedWithCode(0),
                    "memory 0; launch 0; graph 1$")
            << pinned << in_place;
      }
    }
  }
}

using Filled = std::vector<std::pair<std::string, std::vector<std::byte>>>;

// Fills all tensors, and gives back their bytes.
Filled fill(const WeightSource& source, const std::vector<std::shared_ptr<std::byte>>& memory,
            int value) {
  Filled filled;
  for (const std::string& name : source.names()) {
    const size_t i = filled.size(), bytes = source.read(name).view.bytes();
    filled.emplace_back(name, std::vector<std::byte>(bytes, static_cast<std::byte>(value + i)));
    std::memcpy(memory[i].get(), filled[i].second.data(), bytes);
  }
  return filled;
}

// Of constants that are parameters as they are, and of parameters that are kept.
void say_what_differs(const Engine& engine, const Filled& want, bool is_kept, const char* what,
                      int round) {
  const auto constants = engine.constants();
  for (const auto& [name, bytes] : want) {
    const auto constant = std::find_if(constants.begin(), constants.end(),
                                       [&](const auto& known) { return known.spec.name == name; });
    if (constant == constants.end() && !is_kept) continue;
    const SourceTensor kept = constant == constants.end() ? engine.parameter(name) : SourceTensor();
    const void* const have = constant == constants.end() ? kept.view.data : constant->data;
    if (std::memcmp(have, bytes.data(), bytes.size()) != 0)
      std::fprintf(stderr, "%s %s in round %d; ", name.c_str(), what, round);
  }
}

// Whose values are wrong after some calls, after going back from them, and in forks that have taken
// spare memory in between.
// `partial`: without one of the constants.
void say_whether_values_follow(Retain retain, bool pinned, bool stable, bool partial) {
  testing::Weights32 all;
  all.fill("a", {300000}, 1).fill("b", {64}, 2).fill("c", {64}, 3).fill("d", {64}, 4);
  say_of(kCopies, all.source(), retain, [&](Engine& engine) {
    std::vector<std::shared_ptr<std::byte>> memory, of_forks;
    testing::Weights32 some;
    for (const char* name : {"a", "c", "d"})
      some.set(name, Tensor::copy_of(all.at(name).view()));
    const auto source = on_host(partial ? *some.source() : *all.source(), pinned, memory, stable);
    const auto elsewhere = on_host(*all.source(), false, of_forks);
    // What is in a file changes there.
    const bool keeps = retain != Retain::None && !stable;
    RefitOptions options;
    options.partial = partial;
    Refitter refitter(engine, source, options);
    std::vector<std::pair<Engine, Filled>> forks;
    Filled before;
    for (int round = 0; round < 16; ++round) {
      if (round >= 8 && round % 2 == 0) {
        forks.emplace_back(engine.fork(), fill(*elsewhere, of_forks, 100 + round));
        // The second time, it lets go of the weights that it was made with, and the third time it
        // comes back to the memory that it took first.
        for (int again = 0; again < 3; ++again)
          forks.back().first.refit(*elsewhere);
      }
      const Filled now = fill(*source, memory, round + 1);
      refitter.run();
      say_what_differs(engine, now, keeps, "after", round);
      for (const auto& [fork, its] : forks)
        say_what_differs(fork, its, retain != Retain::None, "of a fork", round);
      if (round > 0) {
        engine.rollback();
        say_what_differs(engine, before, keeps, "gone back to", round);
        engine.rollback();
        say_what_differs(engine, now, keeps, "come back to", round);
      }
      before = now;
      if (round == 13) forks.clear();
    }
    std::fputs("done", stderr);
  });
}

TEST(RefitterDeathTest, ValuesFromTheHostFollowAndGoBack) {
  for (const Retain retain : {Retain::None, Retain::Auto, Retain::Host}) {
    for (const bool pinned : {false, true}) {
      for (const bool stable : {false, true}) {
        for (const bool partial : {false, true}) {
          EXPECT_EXIT(say_whether_values_follow(retain, pinned, stable, partial),
                      ::testing::ExitedWithCode(0), "^done")
              << static_cast<int>(retain) << pinned << stable << partial;
        }
      }
    }
  }
}

// Copies fail in a refit that repeats the last ones, or memory is short for those that do not.
void say_what_failures_leave(bool pinned, const char* failing) {
  testing::Weights32 all;
  all.fill("a", {300000}, 1).fill("b", {64}, 2).fill("c", {64}, 3).fill("d", {64}, 4);
  say_of(kCopies, all.source(), Retain::None, [&](Engine& engine) {
    std::vector<std::shared_ptr<std::byte>> memory;
    const auto source = on_host(*all.source(), pinned, memory);
    Refitter refitter(engine, source, {});
    Filled now;
    for (int round = 0; round < 12; ++round) {
      const Filled next = fill(*source, memory, round + 1);
      if (round % 4 == 3) {
        setenv("FAKE_CUDA", failing, 1);
        if (std::string_view(failing).starts_with("free=")) engine.trim();
        const long waits = fake_calls("wait");
        try {
          refitter.run();
          std::fputs("went through; ", stderr);
        } catch (const Error&) {
          say_what_differs(engine, now, false, "after a failure", round);
          // Copies that were begun may still read the caller's memory.
          const bool were_begun = std::string_view(failing) == "refuse=1";
          if (were_begun && fake_calls("wait") == waits) std::fputs("nobody waited; ", stderr);
        }
        setenv("FAKE_CUDA", "", 1);
      } else {
        refitter.run();
        now = next;
        say_what_differs(engine, now, false, "after", round);
      }
    }
    std::fputs("done", stderr);
  });
}

TEST(RefitterDeathTest, FailuresOnTheWayLeaveTheWeights) {
  for (const bool pinned : {false, true}) {
    for (const char* failing : {"refuse=1", "free=1000"}) {
      EXPECT_EXIT(say_what_failures_leave(pinned, failing), ::testing::ExitedWithCode(0), "^done")
          << pinned << failing;
    }
  }
}

}  // namespace
}  // namespace regraft::cuda
