#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "plan/plan.h"

namespace regraft::plan {

// The choices made for one machine. Engines with equal digests compute equal bits from equal
// weights. Plain data; its text is what is exported, imported and stored in engine files.
struct Realised {
  // The form that step `step` of a program wants for its constant input `input`.
  struct Packing {
    std::string program;  // "shape" or "compute".
    int64_t step = 0;
    int64_t input = 0;
    std::string id;
    uint64_t bytes = 0;
  };
  // The implementation behind a step ("weight", "shape", "compute") or a slot's packing ("pack").
  struct Tactic {
    std::string program;
    int64_t step = 0;
    std::string tactic;
  };

  std::string version;  // Of the library.
  std::string machine;  // machine_facts() where the choices were made.
  int64_t threads = 0;
  std::string plan;  // fingerprint() of the plan they belong to.
  std::vector<Packing> packings;
  std::vector<Tactic> tactics;  // At the optimum shapes.
};

std::string to_text(const Realised& realised);
// Throws Error{"plan", Corrupt} or Error{"plan", Version}.
Realised parse_realised(std::string_view text);
// Of the choices and the plan; not of the machine, the thread count, or the order of tactics.
std::string digest(const Realised& realised);

// Digest of everything a plan says.
std::string fingerprint(const Plan& plan);

// What decides which kernels exist here: architecture and instruction sets.
std::string machine_facts();

}  // namespace regraft::plan
