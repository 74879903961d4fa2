// A run of a shape seen before does not allocate. The plan has no kernels of its own: whether a
// backend's kernels allocate is for its own tests.
// Sanitizers replace the allocator themselves, and ThreadSanitizer builds start threads per loop.
#ifndef REGRAFT_SANITIZED
#include <atomic>
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "regraft/engine.h"
#include "support/plan_builder.h"

namespace {
std::atomic<long> g_allocations{0};

void* counted(size_t bytes) {
  ++g_allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(size_t bytes) { return counted(bytes); }
void* operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

namespace regraft {
namespace {

TEST(Allocation, NoneAfterTheFirstRunOfAShape) {
  testing::PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 100);
  const int32_t x = b.input("x", DType::F32, {n, 2});
  const int32_t p = b.parameter("p", DType::F32, {2});
  const int32_t c = b.constant("c", p);
  const int32_t table = b.shape("reference.neg", {c}, DType::F32, {2});
  b.alias_output("x", x);
  b.alias_output("c", c);
  b.alias_output("t", table);
  testing::Weights32 weights;
  weights.set("p", {2}, {1, 2});
  const Engine engine = testing::make_engine(b.plan, weights.source());
  Session session = engine.session();
  const Tensor small = testing::f32({1, 2}, {5, 6}),
               large = testing::f32({3, 2}, {1, 2, 3, 4, 5, 6});
  const Tensor small_out(DType::F32, {1, 2}), large_out(DType::F32, {3, 2});
  const Tensor constant(DType::F32, {2}), values(DType::F32, {2});
  const std::vector<TensorView> small_in = {small.view()}, large_in = {large.view()};
  const std::vector<MutableTensorView> small_outs = {
      small_out.mutable_view(), constant.mutable_view(), values.mutable_view()};
  const std::vector<MutableTensorView> large_outs = {
      large_out.mutable_view(), constant.mutable_view(), values.mutable_view()};
  session.run(small_in, small_outs);
  session.run(large_in, large_outs);
  const long before = g_allocations;
  for (int i = 0; i < 10; ++i) {
    session.run(small_in, small_outs);
    session.run(large_in, large_outs);
    engine.run(small_in, small_outs);
  }
  // The engine's own session is made by its first run.
  const long pooled = g_allocations - before;
  const long again = g_allocations;
  for (int i = 0; i < 10; ++i) {
    session.run(small_in, small_outs);
    session.run(large_in, large_outs);
    engine.run(small_in, small_outs);
  }
  EXPECT_EQ(g_allocations - again, 0) << pooled;
  EXPECT_EQ(testing::floats(large_out.view()), testing::floats(large.view()));
  EXPECT_EQ(testing::floats(values.view()), (std::vector<float>{-1, -2}));
}

}  // namespace
}  // namespace regraft
#endif
