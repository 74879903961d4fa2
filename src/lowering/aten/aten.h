#pragma once

#include <span>
#include <string_view>

#include "lowering/call.h"
#include "lowering/rule.h"

namespace regraft::lowering::aten {

using Handler = void (*)(Call& call);

// How one op of PyTorch is lowered: a rule in text, or a function where that is not enough. Only
// functional ops are listed; `relu_` is `relu` that then overwrites its first argument.
struct AtenOp {
  constexpr AtenOp(const char* declaration, const char* text)
      : signature(declaration), rule(text) {}
  constexpr AtenOp(const char* declaration, Handler function)
      : signature(declaration), handler(function) {}
  std::string_view signature;
  std::string_view rule;
  Handler handler = nullptr;
};

// One table per area; the list of them is in table.cpp.
using AtenTable = std::span<const AtenOp>;

// A table entry made ready.
struct Lowering {
  Signature signature;
  Rule rule;
  Handler handler = nullptr;
  bool is_in_place = false;

  void run(Call& call) const;
};

// The lowering of "conv2d.default" or "relu_.default", or null. Thread-safe.
const Lowering* find(std::string_view target);

}  // namespace regraft::lowering::aten
