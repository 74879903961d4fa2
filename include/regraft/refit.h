#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace regraft {

class Engine;
class WeightSource;

namespace engine {
class Variant;
}
namespace refit {
struct Staged;
class Transaction;
}  // namespace refit

// What to do with NaN and infinity in new weights.
enum class NonFinite {
  Report,  // Count them in the report.
  Reject,  // Error{Mismatch} naming every parameter that has any.
  Ignore,  // Do not look.
};

struct RefitOptions {
  // Parameters that the source does not have keep their values. Without it they are an error.
  bool partial = false;
  // Names that the engine does not know are listed in the report instead of being an error.
  bool allow_unexpected = false;
  // Converts sources of another dtype to the declared one, as PyTorch does: in one rounding, but
  // from f64 to 16 bits by way of f32. Without it another dtype is an error.
  bool cast = false;
  // Keeps the address of every constant: waits for running calls, then copies. The weights before
  // cannot be rolled back to. Default: fills other memory and flips.
  bool in_place = false;
  // Takes over memory that the source calls stable also where EngineOptions::adopt is false:
  // constants that are a parameter as it is read it there. Not in place.
  bool adopt = false;
  // Everything but the last step: the report says what would happen, the weights stay.
  bool dry_run = false;
  NonFinite non_finite = NonFinite::Report;
  // In place only: how long to wait for running calls before giving up with Error{State}.
  double wait_seconds = 60;
  // Of an engine on a device: a CUstream whose work so far makes the source's tensors.
  void* stream = nullptr;
};

// Memory of an engine in bytes.
struct MemoryReport {
  size_t constants = 0;  // The weights in use, in the kernels' layout.
  size_t previous = 0;   // Held for rollback only.
  size_t retained = 0;   // Parameters kept for partial refits and saving, beyond the constants.
  size_t mapped = 0;     // Parameters and constants in a mapped file, or that were adopted.
  size_t spare = 0;      // Recycled blocks waiting for the next refit; trim() frees them.
  size_t sessions = 0;   // Arenas of idle sessions and of runs that the caller recorded.
};

struct RefitReport {
  uint64_t generation = 0;  // The generation published; of a dry run, the one in use.
  bool dry_run = false;
  std::vector<std::string> updated;     // Constants computed anew.
  size_t untouched = 0;                 // Constants left as they are.
  std::vector<std::string> parameters;  // Parameters that got new values, canonical names.
  // Names of the source that feed nothing: known to the program but not read by the engine, or
  // unknown (allow_unexpected).
  std::vector<std::string> unused;
  std::vector<std::pair<std::string, uint64_t>> non_finite;  // Parameter -> NaN and Inf elements.
  uint64_t bytes_in = 0;                                     // Of the parameters read.
  uint64_t bytes_out = 0;  // Of the constants written, without what was adopted in place.
  // Wall time. stage: names, shapes, dtypes, opening; check: index guards; evaluate: reading,
  // converting, computing, packing; publish: waiting and flipping, copying, or (in place on a
  // device) computing what is one launch.
  double stage_ms = 0, check_ms = 0, evaluate_ms = 0, publish_ms = 0, total_ms = 0;
  double gigabytes_per_second = 0;  // (bytes_in + bytes_out) / total.
  MemoryReport memory;              // After publishing.
};

// A few lines for people.
std::string to_string(const RefitReport& report);

// New weights, computed and checked but not in use: for callers that must switch several engines
// at once. Movable; the destructor discards what was not published. Not thread-safe.
class PreparedRefit {
 public:
  explicit PreparedRefit(std::unique_ptr<refit::Transaction> transaction);
  PreparedRefit(PreparedRefit&&) noexcept;
  PreparedRefit& operator=(PreparedRefit&&) noexcept;
  ~PreparedRefit();

  const RefitReport& report() const;
  // Throws what publish() would throw now, having waited for running calls if in place: who
  // publishes several, and lets nobody else at their engines, checks all of them first.
  void check() const;
  // Makes the weights those of the engine. Throws Error{State} when the engine got other weights
  // since, when it was called before, and, in place, when running calls did not end in time.
  RefitReport publish();

 private:
  std::unique_ptr<refit::Transaction> transaction_;
};

// Refits an engine from the same tensors again and again: those of a model that trains, or a buffer
// that checkpoints are received in. Names, dims, dtypes and addresses are looked at once; run()
// does the rest of Engine::refit with the values that the tensors have then. Movable; thread-safe.
class Refitter {
 public:
  // The engine needs weights already. `source` must give memory that stays where it is, as
  // make_source() does, with the tensors of one parameter in one place; it is kept. `options` as
  // for Engine::refit, without `dry_run`. Throws what staging a refit throws, and
  // Error{InvalidArgument}.
  Refitter(const Engine& engine, std::shared_ptr<const WeightSource> source,
           const RefitOptions& options = {});
  Refitter(Refitter&&) noexcept;
  Refitter& operator=(Refitter&&) noexcept;
  ~Refitter();

  // Throws as Engine::refit; the weights then stay as they were. `stream` as in RefitOptions.
  RefitReport run(void* stream = nullptr);

 private:
  std::shared_ptr<engine::Variant> variant_;
  std::shared_ptr<const WeightSource> source_;
  std::shared_ptr<const refit::Staged> staged_;
  RefitOptions options_;
};

}  // namespace regraft
