#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "regraft/engine.h"

namespace regraft {

// One step of an engine's compute program.
struct StepProfile {
  std::string kernel;  // "cpu.convolution"
  std::string origin;  // Where it comes from: a node of the exported graph.
  std::string tactic;  // The implementation chosen.
  double seconds = 0;  // The median.
  uint64_t bytes = 0;  // Inputs, constants and outputs, each read or written once.
  // Of convolutions, products and attention, an addition being one and a multiplication another; 0
  // of other steps, which memory bounds.
  uint64_t flops = 0;
  // The least time in which the machine could move the bytes and do the calculations.
  double roofline_seconds = 0;

  // What it achieves of the roofline. More than 1 where operands are still in a cache.
  double share() const { return seconds > 0 ? roofline_seconds / seconds : 0; }
};

// What the machine does when nothing else limits it: the roofline. Measured on it.
struct Peak {
  std::string of;         // "copy", "f32", "tf32", "bf16".
  double per_second = 0;  // Bytes read and written, or operations.
  std::string source;     // "measured: product 4096x4096x4096"
};

struct Profile {
  std::string engine, device;
  int runs = 0;
  std::string clock;       // What timed the steps: "CUPTI", "CUDA events", "the host's clock".
  double run_seconds = 0;  // A whole run that nobody looks into: the median.
  std::vector<StepProfile> steps;  // In the order of the run.
  std::vector<Peak> peaks;         // The copy first.

  // May differ from run_seconds: what lies between steps takes time, too, and so do events.
  double steps_seconds() const;
  uint64_t bytes() const;
  uint64_t flops() const;
  double roofline_seconds() const;
};

// Times every step of an engine, and the whole: `runs` times each. On a GPU a step's time is
// that of its kernels as CUPTI notes it; without CUPTI, that between events of one CUDA graph.
// Inputs as for Engine::run; the weights in use stay as they are. Throws as Engine::run, and
// Error{InvalidArgument} for less than one run.
Profile profile(const Engine& engine, const std::vector<TensorView>& inputs, int runs = 20);

// Inputs of the sizes that the engine is tuned for: random numbers, zeros where the engine wants
// integers (an index is then never out of range), true.
std::vector<Tensor> random_inputs(const Engine& engine);

// A table of the steps, the longest first, with totals and the roofline.
std::string to_string(const Profile& profile);

}  // namespace regraft
