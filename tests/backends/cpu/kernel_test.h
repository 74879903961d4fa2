#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backends/run_backend.h"
#include "regraft/tensor.h"

namespace regraft::test {

// One call of a kernel compared with reference kernels.
//
//     KernelTest test("cpu.linear", {{"epilogue", "relu"}});
//     test.input(DType::F32, {5, 7}).constant(DType::F32, {3, 7}).absent();
//     test.output(DType::F32, {5, 3});
//     test.check("%y = relu(linear(%a0, %a1)) return %y");
//
// The text is the body of a graph whose inputs are %a0, %a1, ... (none for absent operands).
// `order` lists the dimensions from outermost to innermost in memory; empty: row-major.
class KernelTest {
 public:
  KernelTest(std::string kernel, Attributes attributes);

  KernelTest& input(DType dtype, Dims dims, std::vector<size_t> order = {});
  // As input, with whole numbers in [low, high).
  KernelTest& integers(DType dtype, Dims dims, int64_t low, int64_t high);
  // An input in the bank: in the packing that the kernel chooses. `order` is its source's.
  KernelTest& constant(DType dtype, Dims dims, std::vector<size_t> order = {});
  KernelTest& absent();
  KernelTest& output(DType dtype, Dims dims, std::vector<size_t> order = {});
  // Prepares, runs and compares all outputs; floats with the relative L2 error `tolerance` (0: a
  // few units in the last place). Also runs again, which must give the same bits. Returns the
  // tactic.
  std::string check(std::string_view body, double tolerance = 0);
  // The kernel itself, for tests of preparation.
  backends::KernelRequest request() const;
  // Multiplies the values of the input added last.
  KernelTest& scaled(double factor);

 private:
  struct Slot {
    bool present = false;
    bool is_constant = false;
    Tensor memory;
    TensorView view;
  };
  Slot make(DType dtype, const Dims& dims, std::vector<size_t> order) const;
  void fill_normal(Slot& slot);

  plan::Step step_;
  std::vector<Slot> inputs_, outputs_;
  uint64_t seed_ = 1;
};

}  // namespace regraft::test
