#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "engine/bank.h"

namespace regraft::engine {

// Which bank is in use, and who is reading. Readers enter and leave; publishing a new bank never
// waits for them, writing into the bank's own memory does. Thread-safe.
class Publisher {
 public:
  // The bank in use; its memory stays unchanged until leave(). Waits while an in-place write waits
  // or works, so that new readers cannot starve it. Null when there is no bank; leave() all the
  // same.
  std::shared_ptr<const Bank> enter();
  void leave();

  // The bank in use, for a refit to start from. Who keeps it keeps its blocks from being written in
  // place: others enter() or look().
  std::shared_ptr<const Bank> base() const;
  // Calls `f` with the banks (null: none) while nobody can publish; it must be quick.
  void look(const std::function<void(const Bank* current, const Bank* previous)>& f) const;
  uint64_t generation() const;  // 0: no bank.

  // Makes `bank` the one in use if `base` still is; the old one becomes previous().
  bool try_publish(const std::shared_ptr<const Bank>& base, std::shared_ptr<const Bank> bank);
  // Waits until nobody reads, then calls `write` while nobody can enter and makes its result the
  // bank in use. Nothing changes when `base` is not in use any more or the readers did not leave
  // within `seconds`. What `write` throws leaves the bank in use; there is no previous one then.
  enum class InPlace { Done, Superseded, TimedOut };
  InPlace publish_in_place(const std::shared_ptr<const Bank>& base, double seconds,
                           const std::function<std::shared_ptr<const Bank>()>& write);
  // Waits until nobody reads; false: somebody still did after `seconds`.
  bool wait_for_nobody(double seconds);
  // The bank before, which there is none any more; null: there was none.
  std::shared_ptr<const Bank> take_previous();
  void drop_previous() { take_previous(); }
  // Exchanges the bank in use and the previous one; false when there is none.
  bool roll_back();

 private:
  struct Waiting;
  mutable std::mutex mutex_;
  std::condition_variable may_enter_, nobody_reads_;
  std::shared_ptr<const Bank> current_, previous_;
  int readers_ = 0;
  int waiting_writers_ = 0;
};

}  // namespace regraft::engine
