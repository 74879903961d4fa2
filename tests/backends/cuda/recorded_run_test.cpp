// Runs that the caller records, by a driver that runs nothing and says that it records.
#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

#include "backends/cuda/fake_driver.h"
#include "backends/cuda/run/cuda_device.h"
#include "support/plan_builder.h"

namespace regraft::cuda {
namespace {

// What is added depends on the length and on two parameters alone.
constexpr const char* kPositions =
    "symbols { n in [1,32] } parameters { @table: f32[32,4] @scale: f32[4] @weight: f32[4] }"
    " graph(%x: f32[n,4]) {"
    " %p = slice(@table) {end=n} %q = mul(%p, @scale) %e = exp(%q)"
    " %a = add(%x, %e) %y = mul(%a, @weight)"
    " return %y }";

// With a value between two kernels.
constexpr const char* kSoftmax =
    "symbols { n in [1,32] } parameters { @weight: f32[4] } graph(%x: f32[n,4]) {"
    " %a = add(%x, @weight) %s = softmax(%a) {dim=0} %y = mul(%s, @weight)"
    " return %y }";

testing::Weights32 weights() {
  testing::Weights32 all;
  all.fill("table", {32, 4}, 1).fill("scale", {4}, 2).fill("weight", {4}, 3);
  return all;
}

TensorView place(const std::shared_ptr<std::byte>& memory, int64_t length) {
  return {memory.get(), DType::F32, {length, 4}};
}

// Runs of one caller with operands of the device.
class Run {
 public:
  explicit Run(const Engine& engine)
      : session_(engine.session()),
        x_(cuda_device("cuda:0").allocate(32 * 16)),
        y_(cuda_device("cuda:0").allocate(32 * 16)) {}
  void operator()(int64_t length) {
    const TensorView x = place(x_, length);
    const MutableTensorView y(y_.get(), DType::F32, x.dims);
    session_.run({&x, 1}, {&y, 1});
  }
  // Of the engine's own memory.
  void by(const Engine& engine, int64_t length, const Weights* weights = nullptr) const {
    const TensorView x = place(x_, length);
    const MutableTensorView y(y_.get(), DType::F32, x.dims);
    weights != nullptr ? engine.run(*weights, {&x, 1}, {&y, 1}) : engine.run({&x, 1}, {&y, 1});
  }

 private:
  Session session_;
  std::shared_ptr<std::byte> x_, y_;
};

// What the caller records: all streams are captured meanwhile.
template <typename Body>
void record(const Body& body) {
  setenv("FAKE_CUDA", "capturing=1", 1);
  try {
    body();
  } catch (const Error&) {
    setenv("FAKE_CUDA", "", 1);
    throw;
  }
  setenv("FAKE_CUDA", "", 1);
}

// "ok", or what was thrown.
template <typename Body>
void say(const Body& body) {
  try {
    body();
    std::fputs("ok; ", stderr);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s; ", std::string(name(error.code())).c_str(), error.what());
  }
}

std::shared_ptr<const WeightSource> one(const std::string& name) {
  testing::Weights32 found;
  const auto all = weights().source();
  return found.set(name, Tensor::copy_of(all->read(name).view)).source();
}

RefitOptions partial(bool in_place) {
  RefitOptions options;
  options.partial = true;
  options.in_place = in_place;
  return options;
}

void say_refits(bool is_recorded) {
  speak_with_fake_driver([&] {
    Engine engine = engine_of(kPositions, weights().source());
    Run run(engine);
    run(5);
    if (is_recorded) record([&] { run(5); });
    for (const bool in_place : {true, false}) {
      for (const char* const parameter : {"weight", "scale", "table"}) {
        try {
          engine.refit(*one(parameter), partial(in_place));
          std::fputs("ok; ", stderr);
        } catch (const Error& error) {
          std::fprintf(stderr, "%s; ", std::string(name(error.code())).c_str());
        }
      }
    }
    std::fprintf(stderr, "generation %d", static_cast<int>(engine.generation()));
  });
}

TEST(RecordedRunDeathTest, RefusesRefitsThatItWouldNotFollow) {
  EXPECT_EXIT(say_refits(false), ::testing::ExitedWithCode(0),
              "^ok; ok; ok; ok; ok; ok; generation 7$");
  EXPECT_EXIT(say_refits(true), ::testing::ExitedWithCode(0),
              "^ok; state; state; state; state; state; generation 2$");
}

// Weights that are in use no more, or were to be before the recording.
void say_other_weights() {
  speak_with_fake_driver([&] {
    Engine engine = engine_of(kPositions, weights().source());
    Run run(engine);
    const Weights first = engine.weights();
    engine.refit(*weights().source());
    run.by(engine, 5);
    say([&] { record([&] { run.by(engine, 5, &first); }); });
    PreparedRefit aside = engine.prepare_refit(*one("weight"), partial(false)),
                  in_place = engine.prepare_refit(*one("scale"), partial(true));
    const Weights present = engine.weights();
    say([&] { record([&] { run.by(engine, 5, &present); }); });
    say([&] { aside.publish(); });
    say([&] { in_place.publish(); });
    say([&] { engine.rollback(); });
    std::fprintf(stderr, "generation %d", static_cast<int>(engine.generation()));
  });
}

TEST(RecordedRunDeathTest, ReadsTheWeightsInUse) {
  EXPECT_EXIT(
      say_other_weights(), ::testing::ExitedWithCode(0),
      "^state: .engine. a run is being recorded with weights of generation 1: want those "
      "in use, of generation 2; ok; state: .refit. a run of engine 'test' was recorded [^;]*; "
      "state: .refit. engine 'test': a run of it was recorded [^;]*; "
      "state: .engine. a run of engine 'test' was recorded by the caller, who reads its "
      "constants where they lie: they cannot be rolled back; generation 2$");
}

void say_recordings() {
  speak_with_fake_driver([&] {
    Engine engine = engine_of(kSoftmax, one("weight"));
    Run run(engine);
    run.by(engine, 5);
    // The second finds no memory that was used before.
    say([&] {
      record([&] {
        run.by(engine, 5);
        run.by(engine, 5);
      });
    });
    say([&] { record([&] { run.by(engine, 6); }); });
    const Tensor x(DType::F32, {5, 4});
    Tensor y(DType::F32, {5, 4});
    say([&] {
      record([&] {
        const TensorView input = x.view();
        const MutableTensorView output = y.mutable_view();
        engine.run({&input, 1}, {&output, 1});
      });
    });
    say([&] { run.by(engine, 6); });
  });
}

// What was refused is not recorded.
void say_failures() {
  speak_with_fake_driver([] {
    Engine engine = engine_of(kSoftmax, one("weight"));
    Run run(engine);
    run(5);
    say([&] { record([&] { run(6); }); });
    say([&] { record([&] { run.by(engine, 40); }); });
    say([&] { engine.refit(*one("weight")); });
    say([&] { engine.rollback(); });
    say([&] { record([&] { run(5); }); });
    say([&] { engine.rollback(); });
  });
}

TEST(RecordedRunDeathTest, NeedsARunThatWasEnqueued) {
  EXPECT_EXIT(say_failures(), ::testing::ExitedWithCode(0),
              "^state: [^;]*; mismatch: [^;]*; ok; ok; ok; state: [^;]*; $");
}

TEST(RecordedRunDeathTest, IsRefusedWhereItIsMoreThanEnqueued) {
  EXPECT_EXIT(say_recordings(), ::testing::ExitedWithCode(0),
              "^ok; state: .engine. a run that is being recorded has inputs of other sizes than "
              "those before: run once with these before recording; state: .engine. a run is being "
              "recorded: want all operands on cuda:0; input 'x' lies on the host; output '.*' lies "
              "on the host; ok; $");
}

// Other lengths take the place of the one that was recorded, whose memory stays all the same.
void say_freed_memory(bool is_recorded) {
  speak_with_fake_driver([&] {
    EngineOptions options;
    options.max_bindings = 1;
    Engine engine = engine_of(kPositions, weights().source(), options);
    const auto used = [] {
      size_t free = 0, total = 0;
      cuda_device("cuda:0").synchronise(cuda_device("cuda:0").work_stream());
      driver().cuMemGetInfo(&free, &total);
      return total - free;
    };
    Run run(engine);
    run(30);
    run(2);
    engine.trim();
    const size_t before = used();
    run(30);
    if (is_recorded) record([&] { run(30); });
    run(2);
    engine.trim();
    std::fputs(used() > before ? "more" : "as much", stderr);
  });
}

TEST(RecordedRunDeathTest, KeepsItsShapeValues) {
  EXPECT_EXIT(say_freed_memory(false), ::testing::ExitedWithCode(0), "^as much$");
  EXPECT_EXIT(say_freed_memory(true), ::testing::ExitedWithCode(0), "^more$");
}

}  // namespace
}  // namespace regraft::cuda
