#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/run/kernel.h"

namespace regraft::cuda {

// The types that kernels of vectors of elements are made for.
inline constexpr bool is_narrow_float(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16;
}

// Where a kernel finds an operand: one of the step's, or a place in its workspace.
struct Place {
  enum Kind : uint8_t { Input, Output, Workspace } kind = Input;
  size_t index = 0;   // Of the operand.
  size_t offset = 0;  // Bytes from its start.

  static Place input(size_t i, size_t offset = 0) { return {Input, i, offset}; }
  static Place output(size_t i, size_t offset = 0) { return {Output, i, offset}; }
  static Place workspace(size_t offset) { return {Workspace, 0, offset}; }
  void* in(const KernelArguments& arguments) const;
};

// A tensor operand of a launch.
struct LaunchOperand {
  Place place;
  DType dtype = DType::F32;
  Dims dims;
  Dims strides;
  size_t alignment = 16;  // Bytes that the address is a multiple of.
};

LaunchOperand input_of(const KernelRequest& request, size_t i);
LaunchOperand output_of(const KernelRequest& request, size_t i);

// The name of an element type in kernel sources: "float", "bf16", "i64".
std::string_view type_name(DType dtype);
// The type of elements that are only moved: "raw4".
std::string raw_name(DType dtype);

inline constexpr size_t kMaxRank = 8, kInts = 24, kNumbers = 4, kMaxArgumentWords = 500;

// One launch of a compiled function whose single argument is a struct. Immutable.
class Launch {
 public:
  // 64-bit words of the struct, in its order.
  class Words {
   public:
    void add(int64_t word) { words_.push_back(static_cast<uint64_t>(word)); }
    void add(double number);
    // A pointer that is filled in by each run.
    void add(Place place);
    // A View of run/cu/prelude.cu.
    void add(const LaunchOperand& operand);

   private:
    friend class Launch;
    std::vector<uint64_t> words_;
    std::vector<std::pair<size_t, Place>> places_;
  };

  Launch() = default;
  // Throws Error{Unsupported} when the struct is too large.
  Launch(CUfunction function, Words words, unsigned blocks, unsigned threads,
         unsigned shared_bytes = 0);
  void run(const KernelArguments& arguments) const;

 private:
  CUfunction function_ = nullptr;
  Words words_;
  unsigned blocks_ = 0, threads_ = 0, shared_bytes_ = 0;
};

// What the kernels of run/cu/element.cu are made of.
struct ElementSpec {
  std::string source;   // File of run/cu with the function element().
  std::string defines;  // Lines before it.
  std::vector<LaunchOperand> inputs, outputs;
  std::vector<int64_t> ints;
  std::vector<double> numbers;
  int64_t count = -1;  // -1: the elements of the first output.
  bool moves = false;  // Elements of the first operands are moved: typed by their size.
};
Launch make_element(CudaDevice& device, const ElementSpec& spec);

// A line of an operand: what an op runs over. Operands have strides over common dims.
struct LineSpec {
  std::string source;
  std::string defines;
  std::vector<LaunchOperand> operands;  // Of equal dims; 0 strides broadcast.
  std::vector<bool> reduced;            // By dimension: part of the line.
  std::vector<int64_t> ints;
  std::vector<double> numbers;
  bool any_order = false;   // The op does not mind in which order a line is read.
  bool caches = false;      // ints[0] says whether a line lies in shared memory.
  size_t cache_item = 4;    // Bytes of a cached element.
  bool one_thread = false;  // A line is the work of one thread.
};
Launch make_line(CudaDevice& device, const LineSpec& spec);
// The axes of all operands that are in the line, or not; axes of size 1 are dropped and neighbours
// that all operands walk evenly are merged. A line has one axis at least.
std::vector<LaunchOperand> line_axes(const LineSpec& spec, bool in_line);

// A kernel of launches that run one after the other.
class LaunchKernel final : public Kernel {
 public:
  LaunchKernel(std::vector<Launch> launches, std::string tactic, size_t workspace_bytes = 0)
      : launches_(std::move(launches)),
        tactic_(std::move(tactic)),
        workspace_bytes_(workspace_bytes) {}
  void run(const KernelArguments& arguments) const override {
    for (const Launch& launch : launches_)
      launch.run(arguments);
  }
  std::string tactic() const override { return tactic_; }
  size_t workspace_bytes() const override { return workspace_bytes_; }

 private:
  std::vector<Launch> launches_;
  std::string tactic_;
  size_t workspace_bytes_;
};

std::unique_ptr<Kernel> make_kernel(Launch launch, std::string tactic);

// Strides of `operand` over `dims`, which it broadcasts to.
Dims broadcast_strides(const Operand& operand, const Dims& dims);

}  // namespace regraft::cuda
