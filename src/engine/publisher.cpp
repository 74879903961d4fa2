#include "engine/publisher.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace regraft::engine {

namespace {

std::chrono::duration<double> duration_of(double seconds) {
  constexpr double kForever = 1e9;  // Clocks count nanoseconds, and have no room for much more.
  return std::chrono::duration<double>(std::min(seconds, kForever));
}

}  // namespace

// Keeps new readers out while alive.
struct Publisher::Waiting {
  Publisher& publisher;
  ~Waiting() {
    if (--publisher.waiting_writers_ == 0) publisher.may_enter_.notify_all();
  }
};

std::shared_ptr<const Bank> Publisher::enter() {
  std::unique_lock lock(mutex_);
  may_enter_.wait(lock, [&] { return waiting_writers_ == 0; });
  ++readers_;
  return current_;
}

void Publisher::leave() {
  const std::lock_guard lock(mutex_);
  if (--readers_ == 0 && waiting_writers_ > 0) nobody_reads_.notify_all();
}

std::shared_ptr<const Bank> Publisher::base() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

void Publisher::look(
    const std::function<void(const Bank* current, const Bank* previous)>& f) const {
  const std::lock_guard lock(mutex_);
  f(current_.get(), previous_.get());
}

uint64_t Publisher::generation() const {
  const std::lock_guard lock(mutex_);
  return current_ ? current_->generation : 0;
}

bool Publisher::try_publish(const std::shared_ptr<const Bank>& base,
                            std::shared_ptr<const Bank> bank) {
  std::shared_ptr<const Bank> dropped;  // Freed outside of the lock.
  const std::lock_guard lock(mutex_);
  if (current_ != base) return false;
  dropped = std::exchange(previous_, std::exchange(current_, std::move(bank)));
  return true;
}

bool Publisher::wait_for_nobody(double seconds) {
  std::unique_lock lock(mutex_);
  ++waiting_writers_;
  const Waiting waiting{*this};  // Goes before the lock does.
  return nobody_reads_.wait_for(lock, duration_of(seconds), [&] { return readers_ == 0; });
}

Publisher::InPlace Publisher::publish_in_place(
    const std::shared_ptr<const Bank>& base, double seconds,
    const std::function<std::shared_ptr<const Bank>()>& write) {
  std::unique_lock lock(mutex_);
  ++waiting_writers_;
  const Waiting waiting{*this};  // Goes before the lock does.
  if (!nobody_reads_.wait_for(lock, duration_of(seconds), [&] { return readers_ == 0; })) {
    return InPlace::TimedOut;
  }
  if (current_ != base) return InPlace::Superseded;
  previous_ = nullptr;
  current_ = write();
  return InPlace::Done;
}

std::shared_ptr<const Bank> Publisher::take_previous() {
  const std::lock_guard lock(mutex_);
  return std::exchange(previous_, nullptr);
}

bool Publisher::roll_back() {
  const std::lock_guard lock(mutex_);
  if (!previous_) return false;
  std::swap(current_, previous_);
  return true;
}

}  // namespace regraft::engine
