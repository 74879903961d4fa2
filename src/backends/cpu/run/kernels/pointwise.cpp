#include <algorithm>
#include <array>
#include <cstring>

#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/pointwise_ops.h"
#include "backends/cpu/run/pointwise_space.h"
#include "backends/cpu/run/workspace.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

using Source = PointwiseProgram::Source;

constexpr size_t kMaxOperands = 16;

// Inputs broadcast to the outputs' dims (all outputs alike); attribute `program`.
class PointwiseKernel final : public Kernel {
 public:
  PointwiseKernel(const KernelRequest& request, PointwiseProgram program)
      : program_(std::move(program)),
        space_(request.inputs, request.outputs),
        threads_(base::thread_count()) {
    for (const Operand& input : request.inputs)
      lanes_.push_back(lane_of(input.dtype));
    plan_registers(request);
    for (const PointwiseProgram::Instruction& instruction : program_.instructions) {
      functions_.push_back(tile_op(instruction.op, instruction.lane, isa()).function);
    }
    for (const PointwiseProgram::Number& number : program_.numbers) {
      NumberValue& value = numbers_.emplace_back();
      store_number(number, value.data());
    }
  }

  void run(const KernelArguments& arguments) const override {
    const int64_t tiles = space_.tile_count();
    if (tiles == 0) return;
    // One slice of scratch memory per range, so ranges must not outnumber the threads.
    const int64_t ranges = std::min<int64_t>(
        threads_, std::max<int64_t>(1, tiles * space_.tile_lanes() / kGrainLanes));
    base::parallel_for(ranges, 1, [&](int64_t begin, int64_t end) {
      for (int64_t range = begin; range < end; ++range) {
        char* const scratch =
            static_cast<char*>(arguments.workspace) + range * static_cast<int64_t>(scratch_bytes_);
        for (int64_t t = tiles * range / ranges; t < tiles * (range + 1) / ranges; ++t) {
          run_tile(arguments, t, scratch);
        }
      }
    });
  }
  size_t workspace_bytes() const override { return scratch_bytes_ * static_cast<size_t>(threads_); }
  std::string tactic() const override { return "tiles"; }

 private:
  static constexpr int64_t kGrainLanes = 8192;
  using NumberValue = std::array<char, 8>;

  static void store_number(const PointwiseProgram::Number& number, char* to) {
    if (number.lane == Lane::F32) {
      const auto value = static_cast<float>(number.value);
      std::memcpy(to, &value, sizeof value);
    } else if (number.lane == Lane::I64) {
      const auto value = static_cast<int64_t>(number.value);
      std::memcpy(to, &value, sizeof value);
    } else {
      *to = number.value != 0 ? 1 : 0;
    }
  }

  // Gives every loaded input and every register a slot of scratch memory. Slots are used again
  // after the last reader.
  void plan_registers(const KernelRequest& request);

  void run_tile(const KernelArguments& arguments, int64_t tile, char* scratch) const {
    std::array<TileOperand, kMaxOperands> inputs;
    const PointwiseSpace::Tile at = space_.tile(tile);
    for (size_t i = 0; i < lanes_.size(); ++i) {
      inputs[i] = space_.load(at, i, arguments.inputs[i], scratch + input_slots_[i]);
    }
    const int64_t count = at.count();
    const auto operand = [&](const Source& source) -> TileOperand {
      const auto index = static_cast<size_t>(source.index);
      if (source.kind == Source::Kind::Input) return inputs[index];
      if (source.kind == Source::Kind::Number) return {numbers_[index].data(), true};
      return {register_at(arguments, at, index, scratch), false};
    };
    for (size_t i = 0; i < functions_.size(); ++i) {
      const PointwiseProgram::Instruction& instruction = program_.instructions[i];
      std::array<TileOperand, 3> sources;
      for (size_t s = 0; s < instruction.sources.size(); ++s) {
        sources[s] = operand(instruction.sources[s]);
      }
      functions_[i](register_at(arguments, at, i, scratch), sources.data(), count);
    }
    for (size_t i = 0; i < program_.results.size(); ++i) {
      const Source& result = program_.results[i];
      if (is_direct(at, result, i)) continue;
      const TileOperand value = operand(result);
      space_.store(at, i, value, program_.lane(result, lanes_), arguments.outputs[i]);
    }
  }

  // Whether the register of a result lies in the output's own memory.
  bool is_direct(const PointwiseSpace::Tile& at, const Source& result, size_t output) const {
    return result.kind == Source::Kind::Register &&
           direct_[static_cast<size_t>(result.index)] == static_cast<int>(output) &&
           space_.is_dense_output(at, output);
  }
  void* register_at(const KernelArguments& arguments, const PointwiseSpace::Tile& at, size_t index,
                    char* scratch) const {
    const int output = direct_[index];
    if (output >= 0 && space_.is_dense_output(at, static_cast<size_t>(output))) {
      return space_.output_address(at, static_cast<size_t>(output),
                                   arguments.outputs[static_cast<size_t>(output)]);
    }
    return scratch + register_slots_[index];
  }

  PointwiseProgram program_;
  PointwiseSpace space_;
  int threads_;
  std::vector<Lane> lanes_;
  std::vector<TileFunction> functions_;
  std::vector<NumberValue> numbers_;
  std::vector<size_t> input_slots_, register_slots_;  // Offsets into the scratch memory.
  std::vector<int>
      direct_;  // Per register: the output of its lane that it is the result for, or -1.
  size_t scratch_bytes_ = 0;
};

void PointwiseKernel::plan_registers(const KernelRequest& request) {
  const auto& instructions = program_.instructions;
  std::vector<size_t> last_use(instructions.size(), 0);
  for (size_t i = 0; i < instructions.size(); ++i) {
    for (const Source& source : instructions[i].sources) {
      if (source.kind == Source::Kind::Register) last_use[static_cast<size_t>(source.index)] = i;
    }
  }
  // In place, output 0 may not be written while an instruction still has input 0 to read.
  size_t reads_first_input = 0;
  for (size_t i = 0; i < instructions.size(); ++i) {
    for (const Source& source : instructions[i].sources) {
      const bool is_first = source.kind == Source::Kind::Input && source.index == 0;
      if (is_first && request.step.in_place) reads_first_input = i;
    }
  }
  direct_.assign(instructions.size(), -1);
  for (size_t i = 0; i < program_.results.size(); ++i) {
    const Source& result = program_.results[i];
    if (result.kind != Source::Kind::Register) continue;
    const auto index = static_cast<size_t>(result.index);
    last_use[index] = instructions.size();
    if (direct_[index] < 0 && index >= reads_first_input &&
        request.outputs[i].dtype == lane_dtype(instructions[index].result)) {
      direct_[index] = static_cast<int>(i);
    }
  }
  // Slots are all of one size: the widest lane's.
  const size_t slot_bytes = static_cast<size_t>(space_.tile_lanes()) * sizeof(int64_t);
  size_t slots = 0;
  std::vector<size_t> free;
  const auto take = [&] {
    if (free.empty()) return slots++ * slot_bytes;
    const size_t slot = free.back();
    free.pop_back();
    return slot;
  };
  for (size_t i = 0; i < request.inputs.size(); ++i)
    input_slots_.push_back(take());
  for (size_t i = 0; i < instructions.size(); ++i) {
    register_slots_.push_back(take());
    for (size_t j = 0; j < i; ++j) {
      if (last_use[j] == i) free.push_back(register_slots_[j]);
    }
    if (last_use[i] == 0) last_use[i] = i;  // Never read: its slot stays its own.
  }
  scratch_bytes_ = slots * slot_bytes;
}

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  if (request.inputs.size() > kMaxOperands) unsupported(request, "more than 16 inputs");
  std::vector<Lane> lanes;
  const auto check = [&](const Operand& operand) {
    if (operand.dtype == DType::F64 || is_complex(operand.dtype)) {
      unsupported(request, "does not take ", name(operand.dtype));
    }
  };
  for (const Operand& input : request.inputs) {
    check(input);
    lanes.push_back(lane_of(input.dtype));
  }
  for (const Operand& output : request.outputs) {
    check(output);
    if (output.dims != request.outputs[0].dims) unsupported(request, "outputs differ in dims");
  }
  PointwiseProgram program = PointwiseProgram::parse(request.attributes.text("program"), lanes);
  if (program.results.size() != request.outputs.size()) {
    unsupported(request, "the program has ", program.results.size(), " results");
  }
  return std::make_unique<PointwiseKernel>(request, std::move(program));
}

constexpr KernelDef kKernels[] = {{"pointwise", &prepare}};

}  // namespace

extern const KernelFile k_kernels_pointwise;
const KernelFile k_kernels_pointwise = kKernels;

}  // namespace regraft::cpu
