#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "backends/cpu/run/kernel.h"

namespace regraft::cpu {

const dnnl::engine& onednn_engine();
// "oneDNN 3.5.3"
std::string onednn_version();

// Nothing for dtypes that oneDNN's primitives do not take.
std::optional<dnnl::memory::data_type> onednn_type(DType dtype);

// The descriptor of an operand as it lies in memory; strides of dimensions of size 1, which mean
// nothing, are made those of a dense tensor, because oneDNN compares them.
dnnl::memory::desc strided_desc(dnnl::memory::data_type type, const Dims& dims, Dims strides);

// Strides of a tensor whose dimension 1 is innermost in memory ("channels last").
Dims channels_last_strides(const Dims& dims);
// Whether `strides` are channels-last up to dimensions of size 1.
bool is_channels_last(const Dims& dims, const Dims& strides);

// An attribute object that asks for a scratchpad of ours.
dnnl::primitive_attr user_scratchpad_attr();

// Makes oneDNN use as many threads as parallel_for does, on this thread and while alive.
class OnednnTeam {
 public:
  explicit OnednnTeam(int threads);
  ~OnednnTeam();
  OnednnTeam(const OnednnTeam&) = delete;
  OnednnTeam& operator=(const OnednnTeam&) = delete;

 private:
  [[maybe_unused]] int saved_;
};

// A primitive with the descriptors of its arguments; run() takes their addresses in the same order.
// Thread-safe: memory objects are kept in a free list, one set per concurrent caller.
class OnednnCall {
 public:
  using Argument = std::pair<int, dnnl::memory::desc>;

  OnednnCall() = default;
  OnednnCall(const dnnl::primitive& primitive, std::vector<Argument> arguments,
             const dnnl::memory::desc& scratchpad);

  void run(std::span<void* const> addresses, void* scratchpad) const;
  size_t scratchpad_bytes() const { return scratchpad_bytes_; }
  explicit operator bool() const { return pool_ != nullptr; }

 private:
  struct ArgumentSet;
  struct Pool;
  dnnl::primitive primitive_;
  std::shared_ptr<Pool> pool_;
  size_t scratchpad_bytes_ = 0;
  int threads_ = 1;
};

// A primitive under construction: what its descriptor answered.
struct BuiltPrimitive {
  dnnl::primitive primitive;
  dnnl::memory::desc weights, scratchpad;
  std::vector<OnednnCall::Argument> arguments;
  std::string implementation;

  // Takes the primitive unless it is oneDNN's reference, which is hundreds of times slower:
  // that only where it is allowed.
  template <typename Primitive, typename Descriptor>
  bool take(const Descriptor& descriptor, bool allow_reference = false) {
    implementation = descriptor.impl_info_str();
    weights = descriptor.weights_desc();
    scratchpad = descriptor.scratchpad_desc();
    if (implementation.substr(0, 3) == "ref" && !allow_reference) return false;
    primitive = Primitive(descriptor);
    return true;
  }
};

}  // namespace regraft::cpu
