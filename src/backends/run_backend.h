#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/device.h"
#include "plan/plan.h"
#include "regraft/tensor.h"

namespace regraft::backends {

// The physical form of a constant, chosen by the kernel that reads it. "plain" is row-major in the
// constant's dtype. Any other id is text that only its backend reads; equal ids mean equal bytes
// for equal logical values, on every machine that accepts the id.
struct Packing {
  std::string id = "plain";
  size_t bytes = 0;

  bool is_plain() const { return id == "plain"; }
};

// One operand of a kernel at concrete shapes.
struct Operand {
  bool present = false;
  DType dtype = DType::F32;
  Dims dims;
  Dims strides;              // In elements. Meaningless where `packing` is not plain.
  bool is_constant = false;  // Comes from the bank.
  Packing packing;           // For constants: the form that run() will be given.
  size_t alignment = 16;     // Bytes that the address is a multiple of; at least the item's size.
};

// What a kernel is prepared for. References are valid during the call only.
struct KernelRequest {
  const plan::Step& step;
  Attributes attributes;  // step.attributes with every size evaluated.
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  Device* device = &host_device();
  // The step runs once per generation of weights, not in every run: its kernel may wait for the
  // device.
  bool may_wait = false;
  // What a realised plan names for the step; "fastest": to be timed; empty: the first guess.
  std::string tactic{};
};

// Pointers of one call, in the order of the step's operands; null for an absent one. Data pointers
// already include the buffer's offset.
struct KernelArguments {
  std::span<const void* const> inputs;
  std::span<void* const> outputs;
  void* workspace = nullptr;  // workspace_bytes(), aligned to 64 bytes, on a device to 256.
  Stream stream = nullptr;    // Of a device: where the kernel is enqueued.
};

// A step prepared for concrete shapes. Immutable: run() may be called from several threads at once
// with different outputs and workspaces, does not allocate (reference kernels may) and gives bits
// that do not depend on the number of threads.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const KernelArguments& arguments) const = 0;
  virtual size_t workspace_bytes() const { return 0; }
  // Whether run() waits for the device: such a kernel cannot be recorded.
  virtual bool waits() const { return false; }
  // The implementation chosen, for reports and the realised plan: "brgconv:avx512_core_bf16".
  virtual std::string tactic() const { return ""; }
};

// Kernels of one device that can run several at a time. Immutable.
class KernelGroup {
 public:
  struct Call {
    size_t kernel = 0;  // Of those the group was made of.
    KernelArguments arguments;
    // By input: where to add the number of its NaN and infinite elements; null: nowhere. Empty for
    // none.
    std::span<uint64_t* const> counters;
    // By input: where to write its elements too, as they lie in it; null: nowhere. Empty for none.
    std::span<std::byte* const> copies;
  };
  virtual ~KernelGroup() = default;
  // The others run alone.
  virtual bool takes(size_t kernel) const = 0;
  // How many elements of the input the kernel reads, each once, so that it can count and copy them
  // on the way; 0: it cannot.
  virtual int64_t passes(size_t kernel, size_t input) const = 0;
  // Enqueues kernels that it takes to the device's work stream: those of one stage, between which
  // there is no order, after those of the stage before.
  virtual void run(std::span<const std::vector<Call>> stages) const = 0;
  // The same to be run with these very operands again and again; null, the default, when it cannot.
  virtual std::unique_ptr<Recording> record(std::span<const std::vector<Call>>) const {
    return nullptr;
  }
};

// The run side of a backend. Stateless and thread-safe.
class RunBackend {
 public:
  virtual ~RunBackend() = default;
  virtual std::string_view name() const = 0;
  // The libraries behind the kernels with their versions: "oneDNN 3.5.3". Part of cache keys.
  virtual std::string libraries() const { return ""; }
  // The device that `name` asks for ("cuda:1"); empty: the backend's first. Throws Error
  // {InvalidArgument, Unsupported}.
  virtual Device& device(std::string_view name) const;

  // The packing the step's kernel wants for input `input` (a constant) at the request's shapes;
  // plain by default. Asked once per engine, at the optimum shapes; every binding then uses it.
  virtual Packing choose_packing(const KernelRequest& request, size_t input) const;

  // Throws Error{Unsupported} when the backend has no kernel for the step, with the reason.
  virtual std::unique_ptr<Kernel> prepare(const KernelRequest& request) const = 0;

  // A kernel of one input (logical: `from`, of any strides and dtype) and one output (the bytes of
  // `packing` for a constant of dtype `to`). Converts the dtype in one rounding. The packing may
  // come from a file: throws Error{Unsupported} or Error{Corrupt} unless the id fits `from.dims`
  // and takes exactly packing.bytes.
  virtual std::unique_ptr<Kernel> prepare_packing(Device& device, const Operand& from, DType to,
                                                  const Packing& packing) const;

  // A step with one output and the packing of that output as one kernel, so that the value between
  // them is never written: its output is the bytes of `packing` for a constant of dtype `to`, the
  // same bits as prepare() and prepare_packing() one after the other give. Null, the default, when
  // the backend has no such kernel.
  virtual std::unique_ptr<Kernel> prepare_packed_step(const KernelRequest& request, DType to,
                                                      const Packing& packing) const;

  // A group of kernels that were prepared for the device; null, the default, when running them one
  // by one is as good.
  virtual std::unique_ptr<KernelGroup> group(Device& device,
                                             std::span<const Kernel* const> kernels) const;
};

// The backend whose name stands before the dot of `kernel` ("cpu.conv2d") or is `kernel` itself.
// Throws Error{Unsupported} naming the backends of this build.
const RunBackend& run_backend(std::string_view kernel);
std::vector<std::string> run_backend_names();

}  // namespace regraft::backends
