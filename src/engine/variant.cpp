#include "engine/variant.h"

#include <set>

#include "base/fail.h"

namespace regraft::engine {

Variant::Variant(std::shared_ptr<Core> core, std::shared_ptr<const Bank> bank)
    : core_(std::move(core)) {
  if (bank) {
    last_generation_ = bank->generation;
    publisher_.try_publish(nullptr, std::move(bank));
  }
}

uint64_t Variant::next_generation() {
  const std::lock_guard lock(counter_mutex_);
  return ++last_generation_;
}

MemoryReport Variant::memory() const {
  MemoryReport report;
  std::set<const void*> seen;
  const auto add_slots = [&](const Bank& bank, size_t& owned) {
    for (const auto& block : bank.slots) {
      if (!seen.insert(block->data).second) continue;
      (block->writable != nullptr ? owned : report.mapped) += block->bytes;
    }
  };
  const auto add_parameters = [&](const Bank& bank, size_t& owned) {
    for (const ParameterValue& value : bank.parameters) {
      if (value.view.data == nullptr || value.is_constant) continue;
      if (!seen.insert(value.view.data).second) continue;
      (value.is_mapped ? report.mapped : owned) += value.view.bytes();
    }
  };
  publisher_.look([&](const Bank* current, const Bank* previous) {
    if (current != nullptr) {
      add_slots(*current, report.constants);
      add_parameters(*current, report.retained);
    }
    if (previous != nullptr) {
      add_slots(*previous, report.previous);
      add_parameters(*previous, report.previous);
    }
  });
  report.spare = core_->pool()->spare_bytes();
  report.sessions = core_->idle_scratch_bytes();
  return report;
}

// Lets go of the bank first: a write in place behind the last leave() must not find its blocks
// still held.
Reader::~Reader() {
  bank_ = nullptr;
  variant_.publisher().leave();
}

Reader::Reader(Variant& variant) : variant_(variant), bank_(variant.publisher().enter()) {
  if (bank_) return;
  variant.publisher().leave();
  base::fail("engine", ErrorCode::State, "engine '", variant.core().image().name,
             "' has no weights yet: it was stripped of them. Refit it with all of its ",
             variant.core().plan().parameters.size(), " parameters before running it");
}

}  // namespace regraft::engine
