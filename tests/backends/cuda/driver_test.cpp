// What is said where something is missing, too old or full. Every test is a process of its own with
// a driver that says what the test wants: GPUs are not needed, and those there are not used.
#include "backends/cuda/run/api/driver.h"

#include <cstdlib>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backends/cuda/fake_driver.h"
#include "backends/cuda/run/cuda_device.h"
#include "engine/memory.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft::cuda {
namespace {

// In a child: the message of what `body` throws goes to standard error.
void say(const std::string& driver, bool with_libraries, const std::function<void()>& body,
         const char* folder = REGRAFT_FAKE_DRIVER) {
  use_fake_driver(driver, with_libraries, folder);
  try {
    body();
    std::fputs("nothing was thrown\n", stderr);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s: %s\n", std::string(name(error.code())).c_str(), error.what());
  }
  std::fflush(stderr);
  std::_Exit(0);
}

void expect(
    const std::string& driver, const std::string& message,
    const std::function<void()>& body = [] { cuda_device("cuda:0"); }) {
  EXPECT_EXIT(say(driver, true, body), ::testing::ExitedWithCode(0), message) << driver;
}

TEST(DriverDeathTest, IsLookedAtBeforeItIsUsed) {
  expect("", "nothing was thrown");
  expect("version=12080",
         "unsupported: .cuda. the NVIDIA driver is too old: want one for CUDA 13, have one for "
         "CUDA 12.8");
  expect("devices=0", "unsupported: .cuda. the driver sees no GPU");
  expect("init=999", "unsupported: .cuda. the NVIDIA driver cannot be used: a fake error");
  expect("major=7",
         "unsupported: .cuda. cuda:0 .Fake GPU.: want compute capability 8.0 or more, have 7.0");
  expect("devices=2", "invalid_argument: .cuda. no device 'cuda:2'; want cuda:0..cuda:1",
         [] { cuda_device("cuda:2"); });
}

// Which is asked first: such a driver lacks functions, too.
TEST(DriverDeathTest, IsToldByItsVersionWhereItLacksFunctions) {
  const auto say_of_old = [](const std::string& driver) {
    say(driver, true, [] { cuda_device("cuda:0"); }, REGRAFT_OLD_DRIVER);
  };
  EXPECT_EXIT(say_of_old("version=12080"), ::testing::ExitedWithCode(0),
              "^unsupported: .cuda. the NVIDIA driver is too old: want one for CUDA 13, have one "
              "for CUDA 12.8");
  EXPECT_EXIT(say_of_old(""), ::testing::ExitedWithCode(0),
              "^unsupported: .cuda. libcuda.so.1 is too old: it has no cuMemcpyBatchAsync_v2");
}

TEST(DriverDeathTest, LibrariesAreNamedWhenTheyAreMissing) {
  const auto body = [] { cuda_device("cuda:0").facts(); };
  EXPECT_EXIT(
      {
        // Loaded already, it would be found.
        say("", false, body);
      },
      ::testing::ExitedWithCode(0),
      "unsupported: .cuda. lib[a-zA-Z]+.so.1?[39] was not found .nvidia-[a-z0-9-]+.: install "
      "PyTorch's CUDA "
      "build, or name its folder in REGRAFT_CUDA_PATH");
}

TEST(DriverDeathTest, MemoryThatIsNotThereIsCounted) {
  expect("free=100000",
         "out_of_memory: .cuda. cuda:0: cannot allocate 100001 bytes; 99000 of 100000 are free",
         [] {
           const auto some = cuda_device("cuda:0").allocate(1000);
           cuda_device("cuda:0").allocate(100001);
         });
}

TEST(DriverDeathTest, SpareMemoryGoesBackWhereNoneIsLeft) {
  expect("free=100000", "out_of_memory: .cuda. cuda:0: cannot allocate 60000 bytes; 30000 of", [] {
    const auto pool = std::make_shared<engine::BlockPool>(0, true, cuda_device("cuda:0"));
    pool->take(50000);
    const auto limited = std::make_shared<engine::BlockPool>(40000, true, cuda_device("cuda:0"));
    limited->take(20000);
    try {
      limited->take(50000);
    } catch (const Error&) {
      // No memory of any size would make it fit.
      if (limited->spare_bytes() != 20000) throw Error("test", ErrorCode::Internal, "given back");
    }
    limited->trim();
    const auto most = pool->take(70000);
    if (pool->spare_bytes() != 0) throw Error("test", ErrorCode::Internal, "kept");
    pool->take(60000);
  });
}

TEST(DriverDeathTest, MemoryOfAnotherDeviceIsRefused) {
  expect("ordinal=1 devices=2", "mismatch: .cuda. want memory of cuda:0, have some of cuda:1", [] {
    const auto memory = cuda_device("cuda:0").allocate(1000);
    cuda_device("cuda:0").holds(memory.get());
  });
}

// A run or refit that does not fit fails as a whole, and what fits goes on.
TEST(DriverDeathTest, AnEngineOutlivesFullMemory) {
  expect("free=1000000",
         "out_of_memory: .* cannot allocate [48]000000 bytes; [0-9]+ of 1000000 are free", [] {
           testing::Weights32 weights;
           weights.set("w", {4}, {1, 2, 3, 4});
           Engine engine = engine_of(
               "symbols { n in [1,1000000] } parameters { @w: f32[4] } graph(%x: f32[n,4]) {"
               " %a = add(%x, @w) %b = softmax(%a) {dim=0} %c = mul(%b, @w) return %c }",
               weights.source());
           const auto run = [&](int64_t rows) {
             engine.run({Tensor(DType::F32, {rows, 4}).view()});
           };
           run(3);
           std::string message;
           try {
             run(250000);
           } catch (const Error& error) {
             message = error.what();
             if (error.code() != ErrorCode::OutOfMemory) throw;
           }
           run(3);
           run(5);
           // Every allocation of a refit in turn, and those behind it.
           static int left;
           int failures = 0;
           for (int n = 0; n < 100; ++n) {
             left = n;
             engine::set_allocation_hook([](size_t) {
               if (left-- <= 0) throw Error("engine", ErrorCode::OutOfMemory, "injected");
             });
             try {
               engine.refit(*weights.source());
               break;
             } catch (const Error&) {
               ++failures;
             }
             if (engine.generation() != 1) throw Error("test", ErrorCode::Internal, "changed");
           }
           engine::set_allocation_hook(nullptr);
           if (failures == 0 || engine.generation() != 2) {
             throw Error("test", ErrorCode::Internal, "no refit failed");
           }
           run(3);
           throw Error("engine", ErrorCode::OutOfMemory, message);
         });
}

}  // namespace
}  // namespace regraft::cuda
