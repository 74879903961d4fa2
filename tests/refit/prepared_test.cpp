// Refits of several engines at once: all are prepared and checked before any is published.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "regraft/engine.h"
#include "regraft/error.h"
#include "support/plan_builder.h"

namespace regraft {
namespace {

using testing::constant_bytes;
using ::testing::HasSubstr;
using testing::two_layer_engine;

PreparedRefit prepare(Engine& engine, int seed, bool in_place = false) {
  RefitOptions options;
  options.in_place = in_place;
  options.wait_seconds = 0.02;
  return engine.prepare_refit(*testing::two_layer_weights(seed).source(), options);
}

std::string said_by_check(const PreparedRefit& prepared) {
  try {
    prepared.check();
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::State);
    return error.what();
  }
}

TEST(Prepared, CheckSaysWhatPublishWould) {
  Engine engine = two_layer_engine(1);
  PreparedRefit first = prepare(engine, 2);
  PreparedRefit second = prepare(engine, 3);
  EXPECT_EQ(said_by_check(first), "");
  EXPECT_EQ(said_by_check(second), "");
  EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(1)));
  first.publish();
  EXPECT_THAT(said_by_check(first), HasSubstr("published before"));
  EXPECT_THAT(said_by_check(second), HasSubstr("other weights since"));
}

TEST(Prepared, CheckInPlaceWaitsForReadersAndWantsOwnMemory) {
  Engine engine = two_layer_engine(1);
  PreparedRefit prepared = prepare(engine, 2, true);
  {
    const Weights pin = engine.weights();
    EXPECT_THAT(said_by_check(prepared), HasSubstr("did not end within"));
  }
  {
    const Engine fork = engine.fork();
    EXPECT_THAT(said_by_check(prepared), HasSubstr("shared with a fork"));
  }
  EXPECT_EQ(said_by_check(prepared), "");
  EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(1)));
  prepared.publish();
  EXPECT_EQ(constant_bytes(engine), constant_bytes(two_layer_engine(2)));
}

TEST(Prepared, AReaderThatLeavesInTimeIsWaitedFor) {
  Engine engine = two_layer_engine(1);
  RefitOptions options;
  options.in_place = true;
  const PreparedRefit prepared =
      engine.prepare_refit(*testing::two_layer_weights(2).source(), options);
  Weights pin = engine.weights();
  std::thread leaves([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    pin = Weights();
  });
  EXPECT_EQ(said_by_check(prepared), "");
  leaves.join();
}

TEST(Prepared, DryRunsHaveNothingToPublish) {
  Engine engine = two_layer_engine(1);
  RefitOptions options;
  options.dry_run = true;
  const PreparedRefit prepared =
      engine.prepare_refit(*testing::two_layer_weights(2).source(), options);
  EXPECT_THAT(said_by_check(prepared), HasSubstr("dry run"));
}

TEST(Prepared, ForgettingThePreviousEndsRollback) {
  Engine engine = two_layer_engine(1);
  engine.refit(*testing::two_layer_weights(2).source());
  EXPECT_GT(engine.memory().previous, 0u);
  engine.forget_previous();
  EXPECT_EQ(engine.memory().previous, 0u);
  EXPECT_THROW(engine.rollback(), Error);
}

}  // namespace
}  // namespace regraft
