#pragma once

#include <memory>

#include "engine/core.h"
#include "engine/scratch.h"

namespace regraft::engine {

// A scratch on loan from the core's pool. A run that the caller records keeps it.
class Loan {
 public:
  explicit Loan(Core& core) : core_(core), scratch_(core.take_scratch()) {}
  ~Loan() { core_.give_back(std::move(scratch_)); }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  Scratch& operator*() const { return *scratch_; }
  Scratch* operator->() const { return scratch_.get(); }

 private:
  Core& core_;
  std::unique_ptr<Scratch> scratch_;
};

}  // namespace regraft::engine
