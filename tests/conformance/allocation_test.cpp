// Own kernels of the cpu backend do not allocate in a run (backends/run_backend.h). oneDNN does, on
// every call, and reference kernels may.
#include <atomic>
#include <cstdlib>
#include <map>
#include <new>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/parallel.h"
#include "engine/loan.h"
#include "engine/variant.h"
#include "support/conformance.h"

namespace {

std::atomic<size_t> allocations{0};

void* counted(void* memory) {
  ++allocations;
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Of this program and its libraries.
void* operator new(size_t bytes) { return counted(std::malloc(bytes > 0 ? bytes : 1)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes > 0 ? bytes : 1);
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  const auto of = static_cast<size_t>(alignment);
  return counted(std::aligned_alloc(of, (bytes + of - 1) / of * of));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace regraft::test {
namespace {

// How many allocations there were at each point.
class Counts final : public backends::Laps {
 public:
  explicit Counts(size_t points) : at_(points) {}
  void mark(size_t point, backends::Stream) override { at_[point] = allocations; }
  std::string_view clock() const override { return "allocations"; }
  std::vector<double> seconds() const override { return {}; }
  size_t of_step(size_t step) const { return at_[step + 1] - at_[step]; }

 private:
  std::vector<size_t> at_;
};

// Allocations in the steps of a second run, by tactic without its instruction set.
std::map<std::string, size_t> allocations_of(const PreparedCase& c) {
  const Engine engine = make_engine("cpu", c);
  std::vector<Tensor> outputs = engine.run(c.inputs);
  std::vector<MutableTensorView> views;
  for (Tensor& output : outputs)
    views.push_back(output.mutable_view());
  engine::Core& core = engine.variant()->core();
  const engine::Reader reader(*engine.variant());
  const engine::Loan scratch(core);
  scratch->bind(core, c.inputs);
  std::map<std::string, size_t> found;
  const engine::Runner runner = [&](const engine::Binding& binding, std::byte* const* bases,
                                    std::byte* workspace, backends::Stream stream) {
    const auto& steps = binding.compute_steps();
    Counts counts(steps.size() + 1);
    binding.run(bases, workspace, stream, &counts);
    for (size_t s = 0; s < steps.size(); ++s) {
      const std::string tactic = steps[s].kernel->tactic();
      found[tactic.substr(0, tactic.find(':'))] += counts.of_step(s);
    }
  };
  scratch->run(core, *reader.bank(), c.inputs, views, nullptr, &runner);
  return found;
}

TEST(Allocation, OwnKernelsDoWithout) {
  std::map<std::string, int> runs = {{"channels_last", 0}, {"columns", 0}, {"copy", 0},
                                     {"empty_sum", 0},     {"gemv", 0},    {"nothing", 0},
                                     {"rows", 0},          {"tiled", 0},   {"tiles", 0}};
  // Without OpenMP, a team of threads is made for each region.
  const int threads = base::thread_count();
#ifdef REGRAFT_NO_OPENMP
  base::set_thread_count(1);
#endif
  for (const std::string& file : case_files()) {
    for (const Case& c : load_cases(file)) {
      for (const Feed feed : {Feed::Inputs, Feed::FirstIsInput}) {
        const auto prepared = prepare_case(c, feed);
        if (prepared == nullptr) continue;
        for (const auto& [tactic, count] : allocations_of(*prepared)) {
          const auto own = runs.find(tactic);
          if (own == runs.end()) continue;
          ++own->second;
          EXPECT_EQ(count, 0) << c.name << ": " << tactic;
        }
      }
    }
  }
  base::set_thread_count(threads);
  EXPECT_THAT(runs, testing::Each(testing::Pair(testing::_, testing::Gt(0))));
}

// What the other test sees nothing of would be lost on it.
TEST(Allocation, IsSeen) {
  const size_t before = allocations;
  const std::vector<int> memory(1000);
  EXPECT_EQ(allocations, before + 1) << memory.size();
}

}  // namespace
}  // namespace regraft::test
