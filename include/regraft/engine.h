#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/refit.h"
#include "regraft/tensor.h"
#include "regraft/weight_source.h"

namespace regraft {

namespace engine {
class Variant;
class Scratch;
struct Pin;
}  // namespace engine

// Which parameters an engine keeps for partial refits and saving.
enum class Retain {
  Auto,  // Those of a mapped file stay there (so nobody may write into it: open_source()); a
         // constant that equals its parameter stands for it; host copies of the rest.
  Host,  // Host copies of all.
  None,  // Nothing: a partial refit must bring every parameter its constants need.
};

struct EngineOptions {
  Retain retain = Retain::Auto;
  // A constant that equals a parameter of a mapped file is used where it lies. Such a constant has
  // no memory to be refitted in place.
  bool adopt = true;
  // Keep the memory of replaced weights for the next refit.
  bool spare = true;
  // Shapes whose kernels stay prepared; the least recently used goes first.
  size_t max_bindings = 16;
  // Refuse any single piece of memory beyond this many bytes. 0: the machine's memory.
  size_t memory_limit = 0;
  // Where a backend of accelerators runs: "cuda:1". Empty: its first device.
  std::string device;
  // Text of Engine::realised_plan() whose choices to repeat; empty: the choices stored in the file
  // if they were made on such a machine, else choose.
  std::string realised;
};

// dtype and sizes at the boundary. Sizes are expressions over the symbols: "s0", "s0*2+1", "224".
struct TensorSpec {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::string> dims;
  // "f32[s0,224]"
  std::string text() const;
};

struct SymbolRange {
  std::string name;
  int64_t min = 0;
  int64_t max = 0;      // INT64_MAX: no bound.
  int64_t optimum = 0;  // 0: none stated.
};

struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  std::vector<SymbolRange> symbols;
};

struct ParameterInfo {
  TensorSpec spec;
  std::vector<std::string> aliases;  // Other names of the same tensor.
  bool retained = false;
};

// One packed form of a constant.
struct ConstantInfo {
  TensorSpec spec;
  std::string packing;  // "plain": row-major.
  size_t bytes = 0;
  const void* data = nullptr;  // Null before the first weights. Valid while `weights` is pinned.
};

enum class SaveForm {
  Embedded,   // With the parameters: can be refitted, also partially.
  Stripped,   // Without weights: must be refitted before it runs.
  Immutable,  // With the final constants only: runs, refuses refits.
};

struct SaveOptions {
  SaveForm form = SaveForm::Embedded;
  // Store the choices made on this machine, for machines like it.
  bool realised = true;
};

// One generation of weights, pinned: runs that are given it use these weights whatever is published
// meanwhile, and in-place refits wait for it to go. Copyable.
class Weights {
 public:
  Weights() = default;
  explicit Weights(std::shared_ptr<const engine::Pin> pin) : pin_(std::move(pin)) {}
  uint64_t generation() const;  // 0: none.
  const engine::Pin* pin() const { return pin_.get(); }

 private:
  std::shared_ptr<const engine::Pin> pin_;
};

// One caller's scratch memory. Reusing a session keeps its memory warm. Not thread-safe: one per
// thread. Keeps the engine alive.
class Session {
 public:
  Session(std::shared_ptr<engine::Variant> variant, std::unique_ptr<engine::Scratch> scratch);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // As Engine::run. Does not allocate after the first run of a shape.
  void run(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs,
           void* stream = nullptr);
  void run(const Weights& weights, std::span<const TensorView> inputs,
           std::span<const MutableTensorView> outputs, void* stream = nullptr);

 private:
  std::shared_ptr<engine::Variant> variant_;
  std::unique_ptr<engine::Scratch> scratch_;
};

// A compiled program with weights that can be replaced. A handle: copies are the same engine.
// Thread-safe: any calls may run concurrently. A run uses the weights of one generation from start
// to end; refits take turns.
class Engine {
 public:
  explicit Engine(std::shared_ptr<engine::Variant> variant) : variant_(std::move(variant)) {}

  // Reads an engine file and realises its plan on this machine. Throws Error{NotFound, Io, Corrupt,
  // Version, Unsupported, OutOfMemory}.
  static Engine load(const std::string& path, const EngineOptions& options = {});

  // An engine file that lies in another file: the page-aligned bytes [offset, offset + bytes).
  static Engine load_part(const std::string& path, uint64_t offset, uint64_t bytes,
                          const EngineOptions& options = {});
  // From the bytes of an engine file, which it copies. Throws as load().
  static Engine deserialize(std::span<const std::byte> bytes, const EngineOptions& options = {});

  // Runs on row-major or strided inputs of exactly the declared dtypes, in the order of the
  // signature. Throws Error{Mismatch} naming every input that does not fit and Error{State} when
  // the engine has no weights yet.
  std::vector<Tensor> run(const std::vector<TensorView>& inputs) const;
  std::vector<Tensor> run(const Weights& weights, const std::vector<TensorView>& inputs) const;
  // Into memory of the caller: row-major, of the dims that output_dims() gives, apart from inputs.
  // On a device, operands may lie there or on the host. Work is enqueued to `stream` (a CUstream);
  // where all operands lie on the device, the call does not wait for it. A stream may be captured
  // (cuStreamBeginCapture): after a run with inputs of the same sizes, with all operands on the
  // device and the weights in use, else Error{State}. The graph reads the constants where they lie:
  // the engine has to outlive it, and from then on takes refits in place only.
  void run(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs,
           void* stream = nullptr) const;
  void run(const Weights& weights, std::span<const TensorView> inputs,
           std::span<const MutableTensorView> outputs, void* stream = nullptr) const;
  // Sizes of the outputs for inputs of these sizes.
  std::vector<Dims> output_dims(const std::vector<Dims>& input_dims) const;
  Session session() const;

  // Replaces weights: all or nothing. After an error the old weights answer, and the message lists
  // every offender. Throws Error{Mismatch, State, NotFound, Io, Corrupt, OutOfMemory}.
  RefitReport refit(const WeightSource& source, const RefitOptions& options = {});
  // The same up to the last step.
  PreparedRefit prepare_refit(const WeightSource& source, const RefitOptions& options = {});
  // Back to the weights before the last refit, or forth again; returns the generation now in use.
  // Throws Error{State} when they are gone (their memory is the first that a refit takes, also one
  // that failed or was prepared and discarded; trim() frees it), and when a run was captured by the
  // caller.
  uint64_t rollback();
  // The weights now in use. Throws Error{State} when there are none.
  Weights weights() const;
  uint64_t generation() const;  // 0: no weights yet.
  // Another engine over the same plan and kernels that starts with the same weights and shares
  // their memory until either is refitted.
  Engine fork() const;
  // Gives up rolling back: frees the weights before the last refit.
  void forget_previous();
  // Frees what is held for speed: spare blocks, the generation before, idle sessions.
  void trim();

  // Writes the engine with its current weights; a reader sees the old file or the new one. Throws
  // Error{State} naming the parameters that were not retained, Error{NotFound} for a folder that is
  // not there, and Error{Io}.
  void save(const std::string& path, const SaveOptions& options = {}) const;

  // The same bytes in memory.
  std::vector<std::byte> serialize(const SaveOptions& options = {}) const;

  const std::string& name() const;
  std::string backend() const;
  // Where it runs: "cpu", "cuda:0".
  std::string device() const;
  bool is_immutable() const;
  // The plan came out of CompileOptions::cache instead of a compilation.
  bool from_cache() const;
  Signature signature() const;
  std::vector<ParameterInfo> parameters() const;
  std::vector<ConstantInfo> constants() const;
  std::vector<ConstantInfo> constants(const Weights& weights) const;
  // The logical values of all constants in use, before any packing, by name. Throws Error{State}
  // naming the parameters that were not retained.
  std::vector<std::pair<std::string, Tensor>> constant_values() const;
  // The value in use of a parameter, by name or alias. While the result lives, refits in place
  // wait: held_parameters() gives values that do not hold them up. Throws Error{NotFound}, and
  // Error{State} when it was not retained.
  SourceTensor parameter(std::string_view name) const;
  // Values in use of parameters, in memory of the engine's device that refits leave as it is: what
  // adapters are added to. Those that are kept there already are not copied. Throws as parameter(),
  // naming all of them.
  std::vector<SourceTensor> held_parameters(std::span<const std::string> names) const;
  // Text that the compiler left under `key` ("settings", "nodes", ...).
  std::optional<std::string> metadata(std::string_view key) const;
  MemoryReport memory() const;
  // Parameter -> constants through which steps, and constant -> parameters.
  std::string refit_map() const;
  // Steps of both programs with the kernels chosen.
  std::string steps() const;
  // The choices made on this machine, to be repeated by another process (EngineOptions::realised),
  // and a digest of them. Refits are bit-equal to builds under equal digests.
  std::string realised_plan() const;
  std::string realised_digest() const;

  const std::shared_ptr<engine::Variant>& variant() const { return variant_; }

 private:
  std::shared_ptr<engine::Variant> variant_;
};

// Copies tensors as they are, row-major, each to its address of `to`: memory of `device` ("cuda:1")
// for as many bytes as it has. Those that lie on the device are read after what `stream` has been
// given. Returns when they are there. Throws Error{InvalidArgument, Unsupported, Mismatch,
// OutOfMemory}.
void copy_tensors(std::span<const TensorView> tensors, const std::string& device,
                  std::span<void* const> to, void* stream = nullptr);

}  // namespace regraft
