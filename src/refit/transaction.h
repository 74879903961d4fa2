#pragma once

#include <memory>
#include <vector>

#include "engine/variant.h"
#include "refit/merges.h"
#include "refit/problems.h"
#include "refit/stage.h"
#include "regraft/refit.h"

namespace regraft::refit {

enum class Purpose {
  Build,    // The first weights of an engine.
  Refit,    // Published at once.
  Prepare,  // A refit that is published later.
};

// Nobody else has it, and it may be written to.
inline bool is_own(const std::shared_ptr<engine::Block>& block) {
  return block != nullptr && block.use_count() == 1 && block->writable != nullptr;
}

// While it is armed, the device may read memory of the host: who leaves waits for it.
class Uploading {
 public:
  explicit Uploading(backends::Device& device) : device_(device) {}
  ~Uploading();
  Uploading(const Uploading&) = delete;
  Uploading& operator=(const Uploading&) = delete;
  void begin() { is_armed_ = true; }
  // The work stream has been synchronised.
  void end() { is_armed_ = false; }

 private:
  backends::Device& device_;
  bool is_armed_ = false;
};

// One change of weights: stage -> check -> evaluate -> publish. The constructor does all but the
// last into memory that nobody sees; when it throws, or the transaction is destroyed before
// publish(), nothing has changed but that the generation before may have lost its memory. Where a
// refit in place is one launch, which either happens as a whole or not at all, publish() evaluates.
// The source is not used after publish(), nor, with Purpose::Prepare, after the constructor. Not
// thread-safe.
class Transaction {
 public:
  Transaction(std::shared_ptr<engine::Variant> variant, const WeightSource& source,
              const RefitOptions& options, Purpose purpose);
  // A refit from tensors that were staged before, with the same options and for an engine that had
  // weights then.
  Transaction(std::shared_ptr<engine::Variant> variant, std::shared_ptr<const Staged> staged,
              const RefitOptions& options);

  const RefitReport& report();
  // Throws what publish() would throw now.
  void check_publish() const;
  // Throws Error{"refit", State}: superseded, readers that do not leave, or (in place) constants
  // whose memory is shared.
  void publish();
  // For who does not need the transaction any more.
  RefitReport take_report() { return std::move(report_); }

 private:
  void run(const WeightSource* source);
  void check_is_open() const;
  [[noreturn]] static void fail_superseded();
  [[noreturn]] void fail_timed_out() const;
  void want_own_memory() const;
  void stage_source(const WeightSource& source, Problems& problems);
  void check_recorded(Problems& problems) const;
  void check(const std::vector<bool>& reads, Problems& problems);
  void check_guards(Problems& problems);
  TensorView indices_of(const TensorView& view, Tensor& copy);
  void check_in_place(Problems& problems);
  void evaluate();
  std::shared_ptr<const engine::Bank> take_previous();
  void take_over(const engine::Bank& previous);
  void begin_job();
  bool try_prepare_in_place();
  bool may_repeat() const;
  bool try_repeat(const std::shared_ptr<const engine::Bank>& previous);
  void fill_repeated_bank() noexcept;
  bool is_written_alone(const engine::Bank& bank) const;
  std::vector<const void*> places(const engine::Bank& target) const;
  bool are_uploads_all() const;
  void remember_repetition(const engine::WeightProgram::Evaluation& evaluation);
  void run_on_device(engine::WeightProgram::Evaluation& evaluation);
  void finish_evaluation();
  void prepare_runs(bool is_evaluated);
  void evaluate_on_host();
  void evaluate_on_device();
  void convert_sources();
  void convert_source(size_t parameter, std::vector<base::BlockCopy>& uploads);
  int32_t constant_of(size_t parameter) const;
  bool is_staged(size_t parameter) const;
  void place_staging();
  std::shared_ptr<engine::Block> take_memory_for(size_t parameter);
  const std::byte* bytes_on_host(const TensorView& view, const TensorView& like);
  void place_slots();
  enum class Keeping : uint8_t { Nowhere, InSlot, InFile, OnHost, InBlock };
  Keeping keeping_of(size_t parameter) const;
  void place_retained();
  void retain(size_t parameter);
  void retain_parameters();
  void upload_missing();
  void ask_kernels();
  void name_changes();
  void finish_report();
  const std::byte* bytes_of(size_t parameter) const;
  void name_next();
  void wait_for_reads();
  std::shared_ptr<const engine::Bank> write_in_place();
  std::shared_ptr<const engine::Bank> evaluate_in_place();

  std::shared_ptr<engine::Variant> variant_;
  engine::Core& core_;
  const RefitOptions options_;
  const Purpose purpose_;
  std::shared_ptr<const engine::Bank> base_;  // The weights in use; null before the first.
  std::shared_ptr<const Staged> staged_;
  std::vector<bool> given_;  // By parameter.
  std::vector<bool> slots_;  // That depend on them.
  // By given parameter: row-major, declared dtype; the source's own where they can be read.
  std::vector<const TensorView*> values_;
  std::vector<TensorView> own_values_;
  std::vector<std::shared_ptr<engine::Block>>
      converted_;  // Its memory where it is neither the source's nor in staging_.
  // Of a refit with new values of all parameters: what is brought to the device and needed no
  // longer than the evaluation.
  std::shared_ptr<engine::Block> staging_;
  std::vector<std::byte*> staged_at_;     // By parameter; null: elsewhere.
  std::vector<base::BlockCopy> uploads_;  // All that was brought, the large ones first.
  std::vector<std::shared_ptr<engine::Block>> retained_;  // Copies to be made.
  // By slot and parameter: memory to compute or keep it in.
  std::vector<std::shared_ptr<engine::Block>> own_slots_, own_parameters_;
  engine::WeightJob job_;
  // Null: computed elsewhere first.
  std::unique_ptr<engine::WeightProgram::Evaluation> in_place_;
  // Of a refit that was recorded: the weights in whose memory it writes. Null: of another.
  std::shared_ptr<const engine::Bank> target_;
  std::vector<uint64_t> non_finite_;
  std::vector<Tensor> kept_;      // Host memory that the device still reads.
  backends::KnownMemory memory_;  // Of sources.
  Merges merges_;
  std::shared_ptr<engine::Bank> bank_;  // The new generation; in place: the values to copy.
  RefitReport report_;
  bool published_ = false;
  Uploading uploading_;  // Goes first.
};

}  // namespace regraft::refit
