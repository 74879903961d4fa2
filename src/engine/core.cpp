#include "engine/core.h"

#include <algorithm>
#include <tuple>

#include "backends/to_host.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/parallel.h"
#include "engine/scratch.h"

namespace regraft::engine {
namespace {

constexpr std::string_view program_name(ProgramKind program) {
  return program == ProgramKind::Shape ? "shape" : "compute";
}

// Of the machine and the device that kernels are chosen for.
std::string facts(const backends::Device& device) {
  const std::string of_device = device.facts();
  return of_device.empty() ? plan::machine_facts() : plan::machine_facts() + " " + of_device;
}

// Same library, same instruction sets, same thread count: every choice can be repeated.
bool fits_here(const plan::Realised& given, const backends::Device& device) {
  return given.version == REGRAFT_VERSION && given.machine == facts(device) &&
         given.threads == base::thread_count();
}

}  // namespace

Core::Core(Image image, const EngineOptions& options)
    : image_(std::move(image)),
      options_(options),
      device_(backends::run_backend(image_.plan.backend).device(options.device)),
      pool_(std::make_shared<BlockPool>(options.memory_limit, options.spare, device_)) {
  plan::verify(image_.plan);
  for (size_t p = 0; p < plan().parameters.size(); ++p) {
    const plan::Parameter& parameter = plan().parameters[p];
    const TensorType& type = plan().buffers[parameter.buffer].type;
    specs_.emplace_back(nullptr, type.dtype, eval(type.dims, {}));
    parameter_index_[parameter.name] = static_cast<int32_t>(p);
    for (const std::string& alias : parameter.aliases) {
      parameter_index_[alias] = static_cast<int32_t>(p);
    }
  }
  keep_initial_values();
  image_.weights = nullptr;
  realise();
}

void Core::keep_initial_values() {
  initial_values_.resize(plan().parameters.size());
  if (!image_.stripped || !image_.weights) return;
  for (const std::string& name : image_.weights->names()) {
    const int32_t p = find_parameter(name);
    if (p < 0 || !plan().parameters[p].optional) continue;
    const TensorView want = parameter_spec(static_cast<size_t>(p));
    SourceTensor tensor = image_.weights->read(name);
    if (tensor.view.dims != want.dims || tensor.view.dtype != want.dtype) {
      base::fail("engine", ErrorCode::Mismatch, name, ": want ", want.spec(), ", have ",
                 tensor.view.spec());
    }
    if (!tensor.stable) {
      const backends::UseDevice use(device_);
      auto copy = std::make_shared<Tensor>(backends::to_host(device_, tensor.view));
      tensor = {copy->view(), copy, true};
    }
    initial_values_[p] = std::move(tensor);
  }
}

Core::~Core() = default;

void Core::realise() {
  const backends::UseDevice use(device_);
  const SymbolValues values = plan::tuned_sizes(plan().symbols);
  const Shaped optimum = shape_all(plan(), values, device_);
  const auto finish = [&] {
    weight_program_ = std::make_unique<WeightProgram>(plan(), slots_.slots, device_);
    bindings_ = std::make_unique<BindingCache>(plan(), slots_, options_.max_bindings, device_);
    record(*bindings_->get(values));
    copies_.assign(plan().parameters.size(), {});
    for (size_t s = 0; s < slots_.slots.size(); ++s) {
      const int32_t parameter = slots_.slots[s].copy_of;
      if (parameter >= 0) copies_[parameter].push_back(static_cast<int32_t>(s));
    }
  };
  const auto repeat = [&](const plan::Realised& given) {
    choose_as(optimum, given);
    finish();
    want_tactics_of(given);
  };
  if (!options_.realised.empty()) {
    repeat(plan::parse_realised(options_.realised));
    return;
  }
  if (!image_.realised.empty()) {
    try {
      const plan::Realised given = plan::parse_realised(image_.realised);
      if (fits_here(given, device_)) {
        repeat(given);
        return;
      }
      base::log(LogLevel::Debug, "[engine] the file's choices are for another machine");
    } catch (const Error& error) {
      base::log(LogLevel::Info, base::cat("[engine] choosing anew: ", error.what()));
    }
  }
  choose_freely(optimum);
  finish();
}

void Core::choose_freely(const Shaped& optimum) {
  realised_ = {};
  slots_ = choose_slots(
      plan(), optimum,
      [&](ProgramKind program, size_t step, size_t input, const backends::KernelRequest& request) {
        const backends::Packing packing =
            backends::run_backend(request.step.kernel).choose_packing(request, input);
        realised_.packings.push_back({std::string(program_name(program)),
                                      static_cast<int64_t>(step), static_cast<int64_t>(input),
                                      packing.id, packing.bytes});
        return packing;
      });
  // Other shapes have the first guesses: what is timed would differ from process to process.
  slots_.optimum = optimum.values;
  slots_.tactics.assign(plan().compute_steps.size(), "fastest");
}

void Core::choose_as(const Shaped& optimum, const plan::Realised& given) {
  if (given.plan != plan::fingerprint(plan())) {
    base::fail("engine", ErrorCode::Mismatch, "the realised plan belongs to another plan");
  }
  std::map<std::tuple<std::string_view, int64_t, int64_t>, const plan::Realised::Packing*> known;
  for (const auto& packing : given.packings) {
    known[{packing.program, packing.step, packing.input}] = &packing;
  }
  realised_ = {};
  realised_.packings = given.packings;
  slots_ = choose_slots(
      plan(), optimum,
      [&](ProgramKind program, size_t step, size_t input, const backends::KernelRequest& request) {
        const auto found = known.find(
            {program_name(program), static_cast<int64_t>(step), static_cast<int64_t>(input)});
        if (found == known.end()) {
          base::fail("engine", ErrorCode::Corrupt, "the realised plan has no packing for input ",
                     input, " of ", program_name(program), " step ", step, " (",
                     request.step.kernel, ")");
        }
        return backends::Packing{found->second->id, found->second->bytes};
      });
  slots_.optimum = optimum.values;
  slots_.tactics.resize(plan().compute_steps.size());
  for (const auto& tactic : given.tactics) {
    const auto step = static_cast<size_t>(tactic.step);
    if (tactic.program == "compute" && step < slots_.tactics.size()) {
      slots_.tactics[step] = tactic.tactic;
    }
  }
}

// Fills in the rest of the realised plan from what was prepared.
void Core::record(const Binding& optimum) {
  realised_.version = REGRAFT_VERSION;
  realised_.machine = facts(device_);
  realised_.threads = base::thread_count();
  realised_.plan = plan::fingerprint(plan());
  realised_.tactics.clear();
  const auto add = [&](std::string_view program, size_t step, const std::string& tactic) {
    if (tactic.empty()) return;
    realised_.tactics.push_back({std::string(program), static_cast<int64_t>(step), tactic});
  };
  for (size_t s = 0; s < plan().weight_steps.size(); ++s) {
    add("weight", s, weight_program_->step_tactic(s));
  }
  for (size_t s = 0; s < slots_.slots.size(); ++s) {
    add("pack", s, weight_program_->packing_tactic(s));
  }
  for (size_t s = 0; s < optimum.shape_steps().size(); ++s) {
    add("shape", s, optimum.shape_steps()[s].kernel->tactic());
  }
  for (size_t s = 0; s < optimum.compute_steps().size(); ++s) {
    add("compute", s, optimum.compute_steps()[s].kernel->tactic());
  }
}

// Tactics are chosen by the backends' kernels; they repeat where machine and versions match.
void Core::want_tactics_of(const plan::Realised& given) const {
  std::map<std::pair<std::string_view, int64_t>, std::string_view> have;
  for (const auto& tactic : realised_.tactics) {
    have[{tactic.program, tactic.step}] = tactic.tactic;
  }
  for (const auto& tactic : given.tactics) {
    const std::string_view mine = have[{tactic.program, tactic.step}];
    if (mine == tactic.tactic) continue;
    base::fail("engine", ErrorCode::Mismatch, "the realised plan wants '", tactic.tactic, "' for ",
               tactic.program, " step ", tactic.step, ", this machine takes '", mine, "'");
  }
}

TensorView Core::view_of(size_t parameter, const ParameterValue& value) const {
  TensorView view = parameter_spec(parameter);
  view.data = value.data;
  return view;
}

int32_t Core::find_parameter(std::string_view name) const {
  const auto found = parameter_index_.find(name);
  return found == parameter_index_.end() ? -1 : found->second;
}

std::vector<bool> Core::constants_of(const std::vector<bool>& slots) const {
  std::vector<bool> constants(plan().constants.size(), false);
  for (size_t s = 0; s < slots.size(); ++s) {
    if (!slots[s]) continue;
    for (const int32_t constant : slots_.slots[s].constants)
      constants[constant] = true;
  }
  return constants;
}

bool Core::shape_steps_read(const std::vector<bool>& slots) const {
  for (const std::vector<int32_t>& inputs : slots_.shape_inputs) {
    if (std::any_of(inputs.begin(), inputs.end(),
                    [&](int32_t slot) { return slot >= 0 && slots[slot]; })) {
      return true;
    }
  }
  return false;
}

std::unique_ptr<Scratch> Core::take_scratch() {
  {
    const std::lock_guard lock(scratch_mutex_);
    if (!scratch_.empty()) {
      std::unique_ptr<Scratch> scratch = std::move(scratch_.back());
      scratch_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<Scratch>();
}

bool Core::is_recorded() const {
  const std::lock_guard lock(scratch_mutex_);
  return !recorded_.empty();
}

void Core::give_back(std::unique_ptr<Scratch> scratch) noexcept {
  const std::lock_guard lock(scratch_mutex_);
  auto& list = scratch->is_recorded() ? recorded_ : scratch_;
  try {
    list.emplace_back();
    list.back() = std::move(scratch);
  } catch (const std::bad_alloc&) {
    // The list could not grow: the scratch is freed instead, or never, if a recording uses it.
    if (scratch->is_recorded()) (void)scratch.release();
  }
}

void Core::trim_scratch() {
  std::vector<std::unique_ptr<Scratch>> freed;
  const std::lock_guard lock(scratch_mutex_);
  freed.swap(scratch_);
}

void Core::prepare_runs(const Bank& from, const Bank& to) {
  if (device_.is_host()) return;
  const backends::UseDevice use(device_);
  const std::lock_guard lock(scratch_mutex_);
  try {
    for (const auto& scratch : scratch_)
      scratch->prepare(*this, from, to);
  } catch (const Error& error) {
    // Operands of a recorded run may be gone by now. Runs record what they need themselves.
    base::log(LogLevel::Debug,
              base::cat("[engine] runs are not recorded before the flip: ", error.what()));
  }
}

size_t Core::scratch_bytes() const {
  const std::lock_guard lock(scratch_mutex_);
  size_t bytes = 0;
  for (const auto* list : {&scratch_, &recorded_}) {
    for (const auto& scratch : *list)
      bytes += scratch->bytes();
  }
  return bytes;
}

}  // namespace regraft::engine
