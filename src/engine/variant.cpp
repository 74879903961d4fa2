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

backends::Event& Variant::ready_event() {
  if (!ready_event_) ready_event_ = core_->device().make_event();
  return *ready_event_;
}

std::byte* Variant::pinned(size_t bytes) {
  if (pinned_bytes_ < bytes) {
    pinned_ = core_->device().allocate_pinned(bytes);
    pinned_bytes_ = bytes;
  }
  return pinned_.get();
}

void Variant::trim() {
  last_staged_ = nullptr;
  pinned_ = nullptr;
  pinned_bytes_ = 0;
}

MemoryReport Variant::memory() const {
  MemoryReport report;
  // Constants and parameters may be one piece of a file.
  std::set<const void*> mapped;
  const auto add_mapped = [&](const void* data, size_t bytes) {
    if (mapped.insert(data).second) report.mapped += bytes;
  };
  // What `other` has in the same place counts there.
  const auto add_slots = [&](const Bank& bank, const Bank* other, size_t& owned) {
    for (size_t s = 0; s < bank.slots.size(); ++s) {
      const Block& block = *bank.slots[s];
      if (other != nullptr && other->slots[s]->data == block.data) continue;
      if (block.writable != nullptr) {
        owned += block.bytes;
      } else {
        add_mapped(block.data, block.bytes);
      }
    }
  };
  const auto add_parameters = [&](const Bank& bank, const Bank* other, size_t& owned) {
    for (size_t p = 0; p < bank.parameters.size(); ++p) {
      const ParameterValue& value = bank.parameters[p];
      if (value.data == nullptr || value.is_constant) continue;
      if (other != nullptr && other->parameters[p].data == value.data) continue;
      if (value.is_mapped) {
        add_mapped(value.data, value.bytes);
      } else {
        owned += value.bytes;
      }
    }
  };
  publisher_.look([&](const Bank* current, const Bank* previous) {
    if (current != nullptr) {
      add_slots(*current, nullptr, report.constants);
      add_parameters(*current, nullptr, report.retained);
    }
    if (previous != nullptr) {
      add_slots(*previous, current, report.previous);
      add_parameters(*previous, current, report.previous);
    }
  });
  report.spare = core_->pool()->spare_bytes();
  report.sessions = core_->scratch_bytes();
  return report;
}

const Bank& bank_of(const Weights& weights, const Core& core) {
  if (weights.pin() == nullptr || &weights.pin()->variant->core() != &core) {
    base::fail("engine", ErrorCode::InvalidArgument, "these weights belong to another engine");
  }
  return *weights.pin()->reader.bank();
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
