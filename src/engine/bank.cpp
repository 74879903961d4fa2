#include "engine/bank.h"

#include <algorithm>

namespace regraft::engine {

std::shared_ptr<const Block> Bank::shape_values(
    uint64_t binding, size_t capacity,
    const std::function<std::shared_ptr<const Block>()>& compute) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, values] : shapes_) {
    if (id == binding) return values;
  }
  shapes_.emplace_back(binding, compute());
  if (shapes_.size() > std::max<size_t>(capacity, 1)) {
    let_go();
    shapes_.pop_front();
  }
  return shapes_.back().second;
}

Bank::~Bank() { let_go(); }

// Before blocks go that enqueued work may read.
void Bank::let_go() const {
  const std::lock_guard lock(uses_mutex_);
  if (pool_) pool_->wait_before_reuse(uses_);
}

void Bank::note_use(const std::shared_ptr<backends::Event>& event,
                    const std::shared_ptr<BlockPool>& pool) const {
  const std::lock_guard lock(uses_mutex_);
  pool_ = pool;
  if (std::find(uses_.begin(), uses_.end(), event) == uses_.end()) uses_.push_back(event);
}

void Bank::wait_for_uses() const {
  const std::lock_guard lock(uses_mutex_);
  for (const auto& event : uses_)
    event->wait();
}

std::shared_ptr<Bank> Bank::copy() const {
  auto other = std::make_shared<Bank>();
  other->generation = generation;
  other->slots = slots;
  other->parameters = parameters;
  other->inherit_shape_values(*this);
  return other;
}

void Bank::inherit_shape_values(const Bank& from) {
  const std::lock_guard lock(from.mutex_);
  shapes_ = from.shapes_;
}

}  // namespace regraft::engine
