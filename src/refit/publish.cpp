// The last part of a transaction: the flip, or the write in place.
#include "refit/stopwatch.h"
#include "refit/transaction.h"

namespace regraft::refit {

// bank_ holds its own blocks for the slots to be written: a second user of the base's is a fork or
// another transaction.
void Transaction::want_own_memory() const {
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (!slots_[s] || base_->slots[s].use_count() == 1) continue;
    base::fail("refit", ErrorCode::State,
               core_.plan().constants[core_.slots().slots[s].constants[0]].name,
               ": its memory is shared with a fork or a prepared refit and cannot be written in "
               "place");
  }
}

// Until nothing that was enqueued reads the memory of the base: runs of it, of forks that are gone,
// and those that the caller has recorded.
void Transaction::wait_for_reads() {
  base_->wait_for_uses();
  core_.pool()->wait();
  if (core_.is_recorded()) core_.device().synchronise_all();
}

// Called while nobody reads. Checks first: behind the first copy nothing can fail.
std::shared_ptr<const engine::Bank> Transaction::write_in_place() {
  auto next = std::make_shared<engine::Bank>();
  next->generation = variant_->next_generation();
  next->parameters = bank_->parameters;
  next->slots.reserve(slots_.size());
  want_own_memory();
  std::vector<base::BlockCopy> blocks;
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (!slots_[s]) continue;
    blocks.push_back({base_->slots[s]->writable, bank_->slots[s]->data, base_->slots[s]->bytes});
  }
  backends::Device& device = core_.device();
  if (!device.is_host()) {
    const backends::UseDevice use(device);
    wait_for_reads();
    next->slots = base_->slots;
    device.copy_blocks(blocks);
    device.synchronise(device.work_stream());
    return next;
  }
  next->slots = base_->slots;
  const base::BlockCopies copies(std::move(blocks));
  copies.run();
  return next;
}

// Called while nobody reads. What needs memory comes first; then a single launch, which nothing can
// stop halfway.
std::shared_ptr<const engine::Bank> Transaction::evaluate_in_place() {
  if (target_ == nullptr) {
    retain_parameters();
    remember_repetition(*in_place_);
  }
  bank_->generation = variant_->next_generation();
  backends::Device& device = core_.device();
  const backends::UseDevice use(device);
  wait_for_reads();
  in_place_->launch();
  if (target_ != nullptr) fill_repeated_bank();
  name_next();  // Wants memory, but does without.
  std::vector<uint64_t> counts = in_place_->finish();
  if (!counts.empty()) non_finite_ = std::move(counts);
  return bank_;
}

void Transaction::check_is_open() const {
  if (published_) base::fail("refit", ErrorCode::State, "this refit was published before");
  if (options_.dry_run) base::fail("refit", ErrorCode::State, "a dry run has nothing to publish");
  Problems problems("refit");
  check_recorded(problems);
  problems.raise();
}

void Transaction::fail_superseded() {
  base::fail("refit", ErrorCode::State,
             "the engine got other weights since this refit was prepared");
}

void Transaction::fail_timed_out() const {
  base::fail("refit", ErrorCode::State, "running calls did not end within ", options_.wait_seconds,
             " s; is a Weights handle held?");
}

void Transaction::check_publish() const {
  check_is_open();
  engine::Publisher& publisher = variant_->publisher();
  if (options_.in_place && base_) {
    if (!publisher.wait_for_nobody(options_.wait_seconds)) fail_timed_out();
    want_own_memory();
  }
  if (publisher.base() != base_) fail_superseded();
}

void Transaction::publish() {
  check_is_open();
  Stopwatch watch;
  if (options_.in_place && base_) {
    using InPlace = engine::Publisher::InPlace;
    const InPlace result = variant_->publisher().publish_in_place(
        base_, options_.wait_seconds,
        [&] { return in_place_ ? evaluate_in_place() : write_in_place(); });
    if (result == InPlace::Superseded) fail_superseded();
    if (result == InPlace::TimedOut) fail_timed_out();
  } else {
    bank_->generation = variant_->next_generation();
    if (!variant_->publisher().try_publish(base_, bank_)) fail_superseded();
  }
  published_ = true;
  if (in_place_ != nullptr) {
    in_place_ = nullptr;
    finish_report();
    finish_evaluation();
  }
  bank_ = nullptr;
  base_ = nullptr;
  report_.generation = variant_->publisher().generation();
  report_.publish_ms = watch.lap();
  report_.total_ms = report_.stage_ms + report_.check_ms + report_.evaluate_ms + report_.publish_ms;
  report_.gigabytes_per_second =
      static_cast<double>(report_.bytes_in + report_.bytes_out) / (report_.total_ms * 1e6);
  report_.memory = variant_->memory();
}

}  // namespace regraft::refit
