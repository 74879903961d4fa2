// Refits that were recorded: when one is the same again, and what it leaves to be done.
#include <algorithm>

#include "refit/transaction.h"

namespace regraft::refit {

// Where everything that counts for what is enqueued lies.
std::vector<const void*> Transaction::places(const engine::Bank& target) const {
  std::vector<const void*> out;
  out.reserve(2 * (slots_.size() + given_.size()));
  for (const engine::Bank* bank : {base_.get(), &target}) {
    for (const auto& slot : bank->slots)
      out.push_back(slot->data);
    for (const engine::ParameterValue& parameter : bank->parameters)
      out.push_back(parameter.data);
  }
  return out;
}

// Whether what a refit writes is memory of `bank` that nobody else has, and the rest is the base's.
bool Transaction::is_written_alone(const engine::Bank& bank) const {
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (slots_[s] ? !is_own(bank.slots[s]) : bank.slots[s] != base_->slots[s]) return false;
  }
  for (size_t p = 0; p < given_.size(); ++p) {
    const engine::ParameterValue &value = bank.parameters[p], &present = base_->parameters[p];
    const bool fits = given_[p] ? value.block == nullptr || is_own(value.block)
                                : value.data == present.data && value.block == present.block;
    if (!fits) return false;
  }
  return true;
}

// Not where values are kept on the host, which no recording writes.
bool Transaction::may_repeat() const {
  return base_ != nullptr && purpose_ == Purpose::Refit && !options_.dry_run &&
         !core_.device().is_host() && core_.options().retain != Retain::Host &&
         std::find(given_.begin(), given_.end(), true) != given_.end();
}

// A refit that was recorded, where all of its memory is what it was: the memory of `previous`, or
// of the base in place. The new weights are kept where those were.
bool Transaction::try_repeat(const std::shared_ptr<const engine::Bank>& previous) {
  target_ = options_.in_place ? base_ : previous;
  if (!may_repeat() || target_ == nullptr || !is_written_alone(*target_)) {
    target_ = nullptr;
    return false;
  }
  // Runs of forks that let go of it just now.
  core_.pool()->wait();
  const Staged::Repetition* known =
      staged_->find_repetition(places(*target_), options_.non_finite == NonFinite::Report);
  if (known != nullptr && known->staging_bytes > 0) {
    staging_ = core_.pool()->take(known->staging_bytes);
    if (staging_->data != known->staging) known = nullptr;
  }
  auto evaluation =
      known == nullptr ? nullptr : core_.weight_program().again(known->repeat, *core_.pool());
  if (evaluation == nullptr) {
    staging_ = nullptr;
    target_ = nullptr;
    return false;
  }
  if (!known->uploads.empty()) {
    uploading_.begin();
    core_.device().upload(known->uploads);
  }
  non_finite_.assign(given_.size(), 0);
  bank_ = std::make_shared<engine::Bank>();
  bank_->slots.reserve(target_->slots.size());
  bank_->parameters.reserve(target_->parameters.size());
  report_.bytes_out = known->bytes_out;
  if (options_.in_place) {
    in_place_ = std::move(evaluation);
  } else {
    run_on_device(*evaluation);
    finish_evaluation();
  }
  return true;
}

// While the device works: wants no memory.
void Transaction::fill_repeated_bank() noexcept {
  bank_->slots.assign(target_->slots.begin(), target_->slots.end());
  bank_->parameters.assign(target_->parameters.begin(), target_->parameters.end());
  target_ = nullptr;
}

// Whether the uploads, to staging memory and to the new weights, bring all that the evaluation read
// and that did not lie on the device. In place, the new weights are those in use.
bool Transaction::are_uploads_all() const {
  for (size_t p = 0; p < converted_.size(); ++p) {
    const std::shared_ptr<engine::Block>& block = converted_[p];
    if (block == nullptr || block->bytes == 0) continue;
    if (!given_[p] || !staged_->brought[p] || options_.in_place) return false;
    const int32_t s = constant_of(p);
    const bool is_constant = s >= 0 && bank_->slots[s] == block;
    if (!is_constant && bank_->parameters[p].block != block) return false;
  }
  return true;
}

void Transaction::remember_repetition(const engine::WeightProgram::Evaluation& evaluation) {
  const auto repeat = evaluation.repeat();
  if (!may_repeat() || repeat == nullptr || staged_.use_count() == 1 || !are_uploads_all()) return;
  const bool counts = options_.non_finite == NonFinite::Report;
  staged_->remember({places(*bank_), counts, repeat, report_.bytes_out, std::move(uploads_),
                     staging_ ? staging_->data : nullptr, staging_ ? staging_->bytes : 0});
}

}  // namespace regraft::refit
