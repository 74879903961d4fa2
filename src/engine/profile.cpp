#include "regraft/profile.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>

#include "base/fail.h"
#include "base/typed_errors.h"
#include "engine/loan.h"
#include "engine/roofline.h"
#include "engine/variant.h"
#include "tensor/copy.h"

namespace regraft {
namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct Times {
  double run = 0;
  std::vector<double> steps;
  std::string clock;  // Of the steps.
};

// Repeats `enqueue`, as a recording where the device has them; seconds between its marks, by lap.
std::vector<std::vector<double>> repeat(backends::Device& device, backends::Stream stream,
                                        backends::Laps& laps, int runs,
                                        const std::function<void(backends::Stream)>& enqueue) {
  const auto recording = laps.may_be_recorded() ? device.record(enqueue) : nullptr;
  std::vector<std::vector<double>> seconds;
  for (int i = 0; i < runs; ++i) {
    recording ? recording->launch(stream) : enqueue(stream);
    device.synchronise(stream);
    const std::vector<double> once = laps.seconds();
    seconds.resize(once.size());
    for (size_t lap = 0; lap < once.size(); ++lap)
      seconds[lap].push_back(once[lap]);
  }
  return seconds;
}

Times time(backends::Device& device, const engine::Binding& binding, std::byte* const* bases,
           std::byte* workspace, backends::Stream stream, int runs) {
  // The first run loads what a recording must find ready.
  binding.run(bases, workspace, stream);
  device.synchronise(stream);
  const size_t steps = binding.compute_steps().size();
  Times times;
  const auto time_steps = [&](backends::Laps& laps) {
    const auto by_step = repeat(device, stream, laps, runs, [&](backends::Stream on) {
      binding.run(bases, workspace, on, &laps);
    });
    times.steps.clear();
    for (const std::vector<double>& of_step : by_step)
      times.steps.push_back(median(of_step));
    times.clock = laps.clock();
  };
  if (const auto exact = device.try_make_exact_laps(steps + 1)) time_steps(*exact);
  // Where it may not look, it sees nothing.
  if (std::all_of(times.steps.begin(), times.steps.end(), [](double s) { return s == 0; })) {
    time_steps(*device.make_laps(steps + 1));
  }
  const auto ends = device.make_laps(2);
  const auto whole = repeat(device, stream, *ends, runs, [&](backends::Stream on) {
    ends->mark(0, on);
    binding.run(bases, workspace, on);
    ends->mark(1, on);
  });
  times.run = median(whole.front());
  return times;
}

// A compute program without steps has no laps either.
void add_steps(Profile& out, engine::Core& core, const engine::Binding& binding,
               const SymbolValues& values, const Times& times) {
  const plan::Plan& plan = core.plan();
  const engine::Shaped shaped = engine::shape_all(plan, values, core.device());
  engine::Roofline roofline(plan.backend, core.device());
  for (size_t s = 0; s < plan.compute_steps.size(); ++s) {
    const plan::Step& step = plan.compute_steps[s];
    const engine::StepWork work = engine::work_of(engine::request_of(plan, step, shaped));
    out.steps.push_back({step.kernel, step.origin, binding.compute_steps()[s].kernel->tactic(),
                         times.steps[s], work.bytes, work.flops, roofline.seconds(work)});
  }
  out.peaks = roofline.peaks();
}

template <typename T>
T sum(const std::vector<StepProfile>& steps, T StepProfile::* member) {
  T total = 0;
  for (const StepProfile& step : steps)
    total += step.*member;
  return total;
}

}  // namespace

double Profile::steps_seconds() const { return sum(steps, &StepProfile::seconds); }
uint64_t Profile::bytes() const { return sum(steps, &StepProfile::bytes); }
uint64_t Profile::flops() const { return sum(steps, &StepProfile::flops); }
double Profile::roofline_seconds() const { return sum(steps, &StepProfile::roofline_seconds); }

Profile profile(const Engine& engine, const std::vector<TensorView>& inputs, int runs) {
  if (runs < 1) {
    base::fail("engine", ErrorCode::InvalidArgument, "profile: want at least 1 run, have ", runs);
  }
  return base::typed_errors("engine", [&] {
    engine::Core& core = engine.variant()->core();
    const engine::Reader reader(*engine.variant());
    const engine::Loan scratch(core);
    const engine::Binding& binding = scratch->bind(core, inputs);
    std::vector<Tensor> outputs;
    std::vector<MutableTensorView> views;
    std::vector<Dims> dims;
    for (size_t i = 0; i < core.plan().outputs.size(); ++i) {
      const DType dtype = core.plan().buffers[core.plan().outputs[i].buffer].type.dtype;
      outputs.emplace_back(dtype, binding.output_dims()[i]);
      views.push_back(outputs.back().mutable_view());
    }
    for (const TensorView& input : inputs)
      dims.push_back(input.dims);
    Profile out;
    out.engine = engine.name();
    out.device = engine.device();
    out.runs = runs;
    const engine::Runner runner = [&](const engine::Binding& bound, std::byte* const* bases,
                                      std::byte* workspace, backends::Stream stream) {
      const Times times = time(core.device(), bound, bases, workspace, stream, runs);
      out.run_seconds = times.run;
      out.clock = times.clock;
      add_steps(out, core, bound, plan::solve_symbols(core.plan(), dims), times);
    };
    scratch->run(core, *reader.bank(), inputs, views, nullptr, &runner);
    return out;
  });
}

std::vector<Tensor> random_inputs(const Engine& engine) {
  const plan::Plan& plan = engine.variant()->core().plan();
  const SymbolValues values = plan::tuned_sizes(plan.symbols);
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<Tensor> inputs;
  for (const plan::Port& port : plan.inputs) {
    const TensorType& type = plan.buffers[port.buffer].type;
    inputs.emplace_back(type.dtype, eval(type.dims, values));
    const MutableTensorView view = inputs.back().mutable_view();
    if (!is_floating(type.dtype)) {
      std::memset(view.mutable_data(), type.dtype == DType::Bool ? 1 : 0, view.bytes());
      continue;
    }
    const Tensor numbers(DType::F32, view.dims);
    auto* const at = numbers.mutable_view().as_mutable<float>();
    std::generate_n(at, view.count(), [&] { return normal(generator); });
    copy(numbers.view(), view);
  }
  return inputs;
}

}  // namespace regraft
