#pragma once

#include <new>
#include <stdexcept>

#include "base/fail.h"

namespace regraft::base {

// Calls f; what the standard library throws when memory runs out becomes Error{stage, OutOfMemory}.
template <typename F>
decltype(auto) typed_errors(std::string_view stage, const F& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    fail(stage, ErrorCode::OutOfMemory, "not enough memory");
  } catch (const std::length_error&) {
    fail(stage, ErrorCode::OutOfMemory, "a list of that many elements");
  }
}

}  // namespace regraft::base
