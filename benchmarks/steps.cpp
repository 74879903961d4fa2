// Times every step of an engine file's plan by itself, on random weights and inputs.
//   bench_steps model.rgf [repeats] [symbol=value ...]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "engine/shaped.h"
#include "engine_file/engine_file.h"
#include "tensor/convert.h"

namespace regraft {
namespace {

using Clock = std::chrono::steady_clock;

struct Prepared {
  const plan::Step* step;
  std::unique_ptr<backends::Kernel> kernel;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  std::string program;
  double best = 1e9;
};

class Plan {
 public:
  Plan(const plan::Plan& plan, const SymbolValues& values)
      : plan_(plan), shaped_(engine::shape_all(plan, values)) {
    for (size_t i = 0; i < plan.storages.size(); ++i) {
      memory_.emplace_back(DType::U8, Dims{std::max<int64_t>(shaped_.storage_bytes[i], 1)});
    }
    fill_random();
    add(plan.weight_steps, "weight");
    add(plan.shape_steps, "shape");
    add(plan.compute_steps, "compute");
  }

  void run(int repeats) {
    for (int r = 0; r < repeats; ++r) {
      for (Prepared& step : steps_) {
        const auto begin = Clock::now();
        step.kernel->run({step.inputs, step.outputs, workspace_});
        const std::chrono::duration<double, std::micro> time = Clock::now() - begin;
        step.best = std::min(step.best, time.count());
      }
    }
  }

  void print() const {
    std::map<std::string, double> totals;
    for (const Prepared& step : steps_) {
      const std::string kernel = step.step != nullptr ? step.step->kernel : "packing";
      totals[step.program] += step.best;
      totals[step.program + " " + kernel] += step.best;
      std::printf("%-8s %9.1f us  %-34s %-28s", step.program.c_str(), step.best, kernel.c_str(),
                  step.kernel->tactic().c_str());
      if (step.step != nullptr) describe(*step.step);
      std::printf("\n");
    }
    for (const auto& [name, time] : totals)
      std::printf("%10.1f us  %s\n", time, name.c_str());
  }

 private:
  void fill_random() {
    uint32_t state = 1;
    const auto fill = [&](int32_t buffer) {
      const plan::Placed& placed = shaped_.buffers[buffer];
      const auto storage = static_cast<size_t>(plan_.buffers[buffer].storage);
      const MutableTensorView view(memory_[storage].mutable_view().mutable_data(), placed.dtype,
                                   placed.dims);
      visit(placed.dtype, [&](auto tag) {
        using T = decltype(tag);
        if constexpr (!kIsComplex<T>) {
          for (int64_t i = 0; i < view.count(); ++i) {
            state = state * 1664525U + 1013904223U;
            const double value = static_cast<double>(state >> 8) * 0x1p-24;
            view.as_mutable<T>()[i] =
                convert<T>(is_floating(placed.dtype) ? value - 0.3 : value * 2);
          }
        }
      });
    };
    for (const plan::Parameter& parameter : plan_.parameters)
      fill(parameter.buffer);
    for (const plan::Port& input : plan_.inputs)
      fill(input.buffer);
  }

  void* address(int32_t buffer) {
    if (buffer < 0) return nullptr;
    const auto storage = static_cast<size_t>(plan_.buffers[buffer].storage);
    return memory_[storage].mutable_view().as_mutable<char>() +
           shaped_.buffers[buffer].offset_bytes;
  }

  void add(const std::vector<plan::Step>& steps, const std::string& program) {
    for (const plan::Step& step : steps) {
      backends::KernelRequest request = engine::request_of(plan_, step, shaped_);
      Prepared prepared;
      prepared.step = &step;
      prepared.program = program;
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        prepared.inputs.push_back(address(step.inputs[i]));
        if (request.inputs[i].is_constant) {
          request.inputs[i].packing = backends::run_backend(step.kernel).choose_packing(request, i);
          if (program != "weight") prepared.inputs[i] = packed(step.inputs[i], request.inputs[i]);
        }
      }
      for (const int32_t output : step.outputs)
        prepared.outputs.push_back(address(output));
      finish(std::move(prepared), engine::prepare(request));
    }
  }

  // Constants are packed when a step asks for them; the packing is timed as a step of its own.
  const void* packed(int32_t buffer, const backends::Operand& operand) {
    const int32_t index = plan_.storage_of(buffer).index;
    Tensor& memory = packed_[{index, operand.packing.id}];
    if (memory) return memory.view().data;
    memory = Tensor(DType::U8, {static_cast<int64_t>(std::max<size_t>(operand.packing.bytes, 1))});
    const plan::Constant& constant = plan_.constants[static_cast<size_t>(index)];
    Prepared prepared;
    prepared.program = "packing";
    prepared.inputs = {address(constant.source)};
    prepared.outputs = {memory.mutable_view().mutable_data()};
    auto kernel = backends::run_backend(plan_.backend)
                      .prepare_packing(backends::host_device(),
                                       engine::operand_of(shaped_.buffers[constant.source]),
                                       operand.dtype, operand.packing);
    finish(std::move(prepared), std::move(kernel));
    return memory.view().data;
  }

  void finish(Prepared prepared, std::unique_ptr<backends::Kernel> kernel) {
    if (kernel->workspace_bytes() > workspace_bytes_) {
      workspace_bytes_ = kernel->workspace_bytes();
      workspace_memory_ = Tensor(DType::U8, {static_cast<int64_t>(workspace_bytes_)});
      workspace_ = workspace_memory_.mutable_view().mutable_data();
    }
    prepared.kernel = std::move(kernel);
    steps_.push_back(std::move(prepared));
  }

  void describe(const plan::Step& step) const {
    for (const int32_t input : step.inputs) {
      if (input >= 0) std::printf(" %s", to_string(shaped_.buffers[input].dims).c_str());
    }
    std::printf(" ->");
    for (const int32_t output : step.outputs) {
      std::printf(" %s", to_string(shaped_.buffers[output].dims).c_str());
    }
    for (const char* name : {"epilogue", "program"}) {
      const Attribute* text = step.attributes.find(name);
      if (text != nullptr) std::printf(" %s", to_string(*text).c_str());
    }
    std::printf("  (%s)", step.origin.c_str());
  }

  const plan::Plan& plan_;
  engine::Shaped shaped_;
  std::vector<Tensor> memory_;
  std::map<std::pair<int32_t, std::string>, Tensor> packed_;
  std::vector<Prepared> steps_;
  Tensor workspace_memory_;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
};

}  // namespace
}  // namespace regraft

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_steps model.rgf [repeats] [symbol=value ...]\n");
    return 2;
  }
  try {
    const regraft::engine::Image image = regraft::engine_file::read(argv[1]);
    regraft::SymbolValues values = regraft::plan::tuned_sizes(image.plan.symbols);
    for (int i = 3; i < argc; ++i) {
      const char* const equals = std::strchr(argv[i], '=');
      if (equals == nullptr) continue;
      values[std::string(argv[i], static_cast<size_t>(equals - argv[i]))] = std::atoll(equals + 1);
    }
    regraft::Plan plan(image.plan, values);
    plan.run(argc > 2 ? std::atoi(argv[2]) : 10);
    plan.print();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
