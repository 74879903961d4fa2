#include "refit/transaction.h"

#include "backends/to_host.h"
#include "base/stream_copy.h"
#include "refit/lora.h"
#include "refit/stopwatch.h"
#include "refit/values.h"
#include "tensor/copy.h"

namespace regraft::refit {
namespace {

constexpr size_t kConstantAlignment = 64;

bool is_aligned(const void* data, size_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

// The sum of a tensor and its terms, in the parameter's dtype.
Tensor merged_on_host(backends::Device& device, const TensorView& spec,
                      const SourceTensor& tensor) {
  Tensor base(spec.dtype, spec.dims);
  copy(backends::to_host(device, tensor.view).view(), base.mutable_view());
  std::vector<Tensor> factors;
  std::vector<LoraTerm> terms = tensor.terms;
  for (LoraTerm& term : terms) {
    for (TensorView* factor : {&term.a, &term.b}) {
      factors.push_back(backends::to_host(device, *factor));
      *factor = factors.back().view();
    }
  }
  return merge_lora(base.view(), terms);
}

}  // namespace

Uploading::~Uploading() {
  if (!is_armed_ || device_.is_host()) return;
  try {
    const backends::UseDevice use(device_);
    device_.synchronise(device_.work_stream());
  } catch (const Error&) {
    // Whoever leaves says what went wrong.
  }
}

Transaction::Transaction(std::shared_ptr<engine::Variant> variant, const WeightSource& source,
                         const RefitOptions& options, Purpose purpose)
    : variant_(std::move(variant)),
      core_(variant_->core()),
      options_(options),
      purpose_(purpose),
      base_(variant_->publisher().base()),
      memory_(core_.device()),
      merges_(core_.device(), *core_.pool(), memory_),
      uploading_(core_.device()) {
  run(&source);
}

Transaction::Transaction(std::shared_ptr<engine::Variant> variant,
                         std::shared_ptr<const Staged> staged, const RefitOptions& options)
    : variant_(std::move(variant)),
      core_(variant_->core()),
      options_(options),
      purpose_(Purpose::Refit),
      base_(variant_->publisher().base()),
      staged_(std::move(staged)),
      memory_(core_.device()),
      merges_(core_.device(), *core_.pool(), memory_),
      uploading_(core_.device()) {
  run(nullptr);
}

void Transaction::run(const WeightSource* source) {
  if (purpose_ != Purpose::Build && core_.image().immutable) {
    base::fail("refit", ErrorCode::State, "engine '", core_.image().name,
               "' was saved with immutable weights: it cannot be refitted");
  }
  if (!(options_.wait_seconds >= 0)) {
    base::fail("refit", ErrorCode::InvalidArgument, "wait_seconds: want 0 or more, have ",
               options_.wait_seconds);
  }
  Stopwatch watch;
  backends::Device& device = core_.device();
  const backends::UseDevice use(device);
  if (!device.is_host()) {
    // The source's tensors are those of the caller's stream at this point.
    backends::Event& ready = variant_->ready_event();
    ready.record(options_.stream);
    ready.order(device.work_stream());
  }
  Problems problems(purpose_ == Purpose::Build ? "engine" : "refit");
  if (source != nullptr) stage_source(*source, problems);
  report_.stage_ms = watch.lap();
  const Staged::Scope& scope = staged_->scope_of(core_, base_ != nullptr);
  given_ = scope.given;
  slots_ = scope.slots;
  check_recorded(problems);
  check(scope.reads, problems);
  problems.raise();
  report_.check_ms = watch.lap();
  evaluate();
  prepare_runs(true);
  report_.evaluate_ms = watch.lap();
  if (in_place_ == nullptr) finish_report();
}

// Who recorded a run launches it again and again.
void Transaction::check_recorded(Problems& problems) const {
  if (purpose_ == Purpose::Build || !core_.is_recorded()) return;
  if (!options_.in_place) {
    problems.add(ErrorCode::State, "a run of engine '", core_.image().name,
                 "' was recorded by the caller, who reads its constants where they lie: refit with "
                 "in_place = true");
  } else if (core_.shape_steps_read(slots_)) {
    problems.add(
        ErrorCode::State, "engine '", core_.image().name,
        "': a run of it was recorded by the caller, in which what depends on shapes and on "
        "constants that change now stays as it was");
  }
}

// A source that is the one of the last refit is not looked at again.
void Transaction::stage_source(const WeightSource& source, Problems& problems) {
  std::shared_ptr<const Staged>& last = variant_->last_staged();
  if (base_ && last && last->is_of(source, options_)) {
    staged_ = last;
    return;
  }
  last = nullptr;
  Staged staged = stage(core_, source, options_, base_ == nullptr, problems);
  if (base_ && problems.count() == 0) staged.remember(source, options_);
  staged_ = std::make_shared<const Staged>(std::move(staged));
  if (staged_->is_remembered()) last = staged_;
}

// `reads`: what the new constants need.
void Transaction::check(const std::vector<bool>& reads, Problems& problems) {
  check_guards(problems);
  if (options_.in_place && base_) check_in_place(problems);
  for (size_t p = 0; p < reads.size(); ++p) {
    if (!reads[p] || given_[p]) continue;
    if (base_ && base_->parameters[p].data != nullptr) continue;
    if (!options_.partial && (!base_ || !core_.plan().parameters[p].optional))
      continue;  // Reported.
    problems.add(ErrorCode::State, core_.plan().parameters[p].name, ": want ",
                 core_.parameter_spec(p).spec(),
                 base_ ? ": other values given are used together with it, and it was not retained"
                       : ": the engine has no weights yet");
  }
}

// Guarded parameters: small tables, row-major on the host; `copy` may hold them.
TensorView Transaction::indices_of(const TensorView& view, Tensor& copy) {
  backends::Device& device = core_.device();
  const bool is_row_major = view.is_contiguous() && view.count() > 0;
  if (is_row_major && device.is_host()) return view;
  if (!is_row_major || !device.holds(view.data)) {
    copy = backends::to_host(device, view);
    return copy.view();
  }
  std::byte* pinned = variant_->pinned(view.bytes());
  device.copy(pinned, view.data, view.bytes(), device.work_stream());
  device.synchronise(device.work_stream());
  return {pinned, view.dtype, view.dims};
}

void Transaction::check_guards(Problems& problems) {
  for (size_t p = 0; p < given_.size(); ++p) {
    if (!given_[p]) continue;
    const plan::Parameter& parameter = core_.plan().parameters[p];
    const SourceTensor& tensor = *staged_->tensors[p];
    const TensorView& view = tensor.view;
    if (parameter.index_bound >= 0) {
      Tensor copy;
      const OutOfBounds found = find_out_of_bounds(indices_of(view, copy), parameter.index_bound);
      if (found.index >= 0) {
        problems.add(ErrorCode::Mismatch, parameter.name, ": element ", found.index, " is ",
                     found.value, ", want an index in 0..", parameter.index_bound - 1);
      }
    }
    if (options_.non_finite == NonFinite::Reject && view.count() > 0) {
      // Values are those that the engine gets.
      const TensorView& spec = core_.parameter_spec(p);
      const bool is_as_given = tensor.terms.empty() && view.dtype == spec.dtype &&
                               view.is_contiguous() && core_.device().is_host();
      const Tensor copy = is_as_given ? Tensor() : merged_on_host(core_.device(), spec, tensor);
      const uint64_t count = count_non_finite(copy ? copy.view() : view);
      if (count > 0) {
        problems.add(ErrorCode::Mismatch, parameter.name, ": ", count, " elements are not finite");
      }
    }
  }
}

void Transaction::check_in_place(Problems& problems) {
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (!slots_[s] || base_->slots[s]->writable != nullptr) continue;
    const plan::Constant& constant = core_.plan().constants[core_.slots().slots[s].constants[0]];
    problems.add(
        ErrorCode::State, constant.name,
        ": lies in a mapped file or in adopted memory and cannot be written in place; make the "
        "engine with adopt = false");
  }
}

// Gives every slot to be computed its memory, or finds that it needs none.
void Transaction::place_slots() {
  const auto& slots = core_.slots().slots;
  for (size_t s = 0; s < slots.size(); ++s) {
    if (!slots_[s]) {
      job_.present[s] = base_->slots[s]->data;
      continue;
    }
    const int32_t p = slots[s].copy_of;
    const bool adopts = core_.options().adopt || options_.adopt;
    if (p >= 0 && adopts && !options_.in_place && staged_->readable[p].data != nullptr &&
        staged_->tensors[p]->stable && is_aligned(values_[p]->data, kConstantAlignment)) {
      bank_->slots[s] = engine::BlockPool::borrow(values_[p]->data, slots[s].packing.bytes,
                                                  staged_->tensors[p]->owner);
      job_.present[s] = bank_->slots[s]->data;
      continue;
    }
    if (p >= 0 && converted_[p] && constant_of(static_cast<size_t>(p)) >= 0) {
      bank_->slots[s] = converted_[p];
      job_.present[s] = bank_->slots[s]->data;
      report_.bytes_out += slots[s].packing.bytes;
      continue;
    }
    bank_->slots[s] = s < own_slots_.size() && own_slots_[s]
                          ? std::move(own_slots_[s])
                          : core_.pool()->take(slots[s].packing.bytes);
    job_.slots[s] = true;
    job_.targets[s] = bank_->slots[s]->writable;
    report_.bytes_out += slots[s].packing.bytes;
  }
}

// The memory of the generation before is what the new one is computed into. It goes to the pool;
// on a device, it is given if nobody else has it.
std::shared_ptr<const engine::Bank> Transaction::take_previous() {
  if (options_.dry_run) return nullptr;
  std::shared_ptr<const engine::Bank> previous = variant_->publisher().take_previous();
  if (previous == nullptr || core_.device().is_host() || previous.use_count() > 1) return nullptr;
  previous->wait_for_uses();
  return previous;
}

// Blocks that nobody else has go to the same slots and parameters again.
void Transaction::take_over(const engine::Bank& previous) {
  // What is converted on the device comes from the pool: its source may be memory of the engine.
  const auto is_converted = [&](int32_t p) {
    return p >= 0 && given_[p] && staged_->readable[p].data == nullptr && !staged_->brought[p];
  };
  own_slots_.resize(slots_.size());
  for (size_t s = 0; s < slots_.size(); ++s) {
    const std::shared_ptr<engine::Block>& block = previous.slots[s];
    if (slots_[s] && is_own(block) && !is_converted(core_.slots().slots[s].copy_of)) {
      own_slots_[s] = block;
    }
  }
  own_parameters_.resize(given_.size());
  for (size_t p = 0; p < given_.size(); ++p) {
    const std::shared_ptr<engine::Block>& block = previous.parameters[p].block;
    if (given_[p] && is_own(block) && !is_converted(static_cast<int32_t>(p))) {
      own_parameters_[p] = block;
    }
  }
  // Runs of forks that let go of them just now.
  core_.pool()->wait();
}

void Transaction::evaluate() {
  std::shared_ptr<const engine::Bank> previous = take_previous();
  name_changes();
  if (try_repeat(previous)) return;
  if (previous != nullptr) take_over(*previous);
  previous = nullptr;
  convert_sources();
  merges_.run();
  if (try_prepare_in_place()) return;
  begin_job();
  place_slots();
  place_retained();
  if (core_.device().is_host()) {
    evaluate_on_host();
  } else {
    evaluate_on_device();
  }
  finish_evaluation();
}

// A job of nothing, for a bank like the base.
void Transaction::begin_job() {
  const size_t slots = slots_.size(), parameters = given_.size();
  bank_ = std::make_shared<engine::Bank>();
  if (base_) {
    bank_->slots = base_->slots;
  } else {
    bank_->slots.resize(slots);
  }
  report_.bytes_out = 0;
  job_ = {};
  job_.slots.resize(slots);
  job_.targets.resize(slots);
  job_.present.resize(slots);
  job_.parameters.resize(parameters);
  for (size_t p = 0; p < parameters; ++p)
    job_.parameters[p] = bytes_of(p);
  retained_.assign(parameters, nullptr);
  non_finite_.assign(parameters, 0);
}

// Sources may go when the constructor returns.
void Transaction::finish_evaluation() {
  values_.clear();
  own_values_.clear();
  converted_.clear();
  uploading_.end();
  staging_ = nullptr;
  staged_at_.clear();
  uploads_.clear();
  kept_.clear();
  own_slots_.clear();
  own_parameters_.clear();
}

// Row-major, in the declared dtype; null: not available.
const std::byte* Transaction::bytes_of(size_t parameter) const {
  return given_[parameter] ? values_[parameter]->as<std::byte>()
         : base_           ? base_->parameters[parameter].data
                           : nullptr;
}

void Transaction::evaluate_on_host() {
  retain_parameters();
  job_.touch.resize(given_.size());
  for (size_t p = 0; p < given_.size(); ++p) {
    const bool copies = retained_[p] && retained_[p] != converted_[p];
    job_.touch[p] = given_[p] && (copies || options_.non_finite == NonFinite::Report);
  }
  job_.on_touch = [&](int32_t p) {
    if (retained_[p] && retained_[p] != converted_[p]) {
      non_finite_[p] = copy_and_count_non_finite(*values_[p], retained_[p]->writable);
    } else {
      non_finite_[p] = count_non_finite(*values_[p]);
    }
  };
  core_.weight_program().evaluate(job_, *core_.pool());
  prepare_runs(false);
}

// What the kernels do on the way: what is kept on the device is written by those that read it.
void Transaction::ask_kernels() {
  job_.values = values_;
  job_.counts = options_.non_finite == NonFinite::Report;
  job_.copies.resize(given_.size());
  for (size_t p = 0; p < given_.size(); ++p) {
    if (retained_[p] && retained_[p] != converted_[p]) job_.copies[p] = retained_[p]->writable;
  }
}

// The new bank takes over what the runs of the old one have made. Where shape steps read constants
// that change, these have to be there first.
void Transaction::prepare_runs(bool is_evaluated) {
  if (!base_ || options_.in_place || options_.dry_run) return;
  const bool reads = core_.shape_steps_read(slots_);
  if (reads != is_evaluated) return;
  if (!reads) bank_->inherit_shape_values(*base_);
  core_.prepare_runs(*base_, *bank_);
}

// What the kernels do not need is done while they run.
void Transaction::evaluate_on_device() {
  upload_missing();
  ask_kernels();
  const auto evaluation = core_.weight_program().begin(job_, *core_.pool());
  run_on_device(*evaluation);
  remember_repetition(*evaluation);
}

void Transaction::run_on_device(engine::WeightProgram::Evaluation& evaluation) {
  evaluation.launch();
  if (target_ != nullptr) {
    fill_repeated_bank();
  } else {
    retain_parameters();
  }
  name_next();
  prepare_runs(false);
  std::vector<uint64_t> counts = evaluation.finish();
  if (!counts.empty()) non_finite_ = std::move(counts);
}

// What is staged for later refits has their lists ready.
void Transaction::name_next() {
  if (staged_.use_count() == 1) return;
  staged_->make_next_names(core_, staged_->scope_of(core_, base_ != nullptr));
}

// Constants computed where they lie: a single launch is as good as a copy, which comes as a whole
// or not at all.
bool Transaction::try_prepare_in_place() {
  if (!options_.in_place || !base_ || purpose_ != Purpose::Refit || options_.dry_run ||
      core_.device().is_host() || core_.options().retain == Retain::Host) {
    return false;
  }
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (slots_[s] && !is_own(base_->slots[s])) return false;
  }
  begin_job();
  for (size_t s = 0; s < slots_.size(); ++s) {
    job_.slots[s] = slots_[s];
    if (slots_[s]) {
      job_.targets[s] = base_->slots[s]->writable;
      report_.bytes_out += base_->slots[s]->bytes;
    } else {
      job_.present[s] = base_->slots[s]->data;
    }
  }
  own_parameters_.resize(given_.size());
  for (size_t p = 0; p < given_.size(); ++p) {
    const std::shared_ptr<engine::Block>& block = base_->parameters[p].block;
    own_parameters_[p] = given_[p] && is_own(block) ? block : nullptr;
  }
  place_retained();
  upload_missing();
  ask_kernels();
  in_place_ = core_.weight_program().prepare(job_, *core_.pool());
  // Elsewhere, nothing may be written to what is in use.
  if (in_place_ == nullptr) own_parameters_.clear();
  return in_place_ != nullptr;
}

// On a device: parameters that are used together with what was given, but are kept on the host.
void Transaction::upload_missing() {
  std::vector<base::BlockCopy> uploads;
  const std::vector<bool>& reads = staged_->scope_of(core_, base_ != nullptr).reads;
  for (size_t p = 0; p < reads.size(); ++p) {
    if (!reads[p] || given_[p] || !base_ || !base_->parameters[p].on_host) continue;
    const engine::ParameterValue& value = base_->parameters[p];
    if (value.data == nullptr || value.bytes == 0) continue;
    if (!converted_[p]) {
      converted_[p] = core_.pool()->take(value.bytes);
      uploads.push_back({converted_[p]->writable, value.data, value.bytes});
    }
    job_.parameters[p] = converted_[p]->data;
  }
  if (!uploads.empty()) core_.device().upload(uploads);
}

const RefitReport& Transaction::report() {
  if (!published_) {
    report_.memory = variant_->memory();
    report_.total_ms = report_.stage_ms + report_.check_ms + report_.evaluate_ms;
  }
  return report_;
}

void Transaction::name_changes() {
  Staged::Names names = staged_->names(core_, staged_->scope_of(core_, base_ != nullptr));
  report_.updated = std::move(names.updated);
  report_.parameters = std::move(names.parameters);
  report_.untouched = names.untouched;
  report_.unused = staged_->unused;
}

void Transaction::finish_report() {
  for (size_t p = 0; p < given_.size(); ++p) {
    if (options_.non_finite == NonFinite::Report && non_finite_[p] > 0) {
      report_.non_finite.emplace_back(core_.plan().parameters[p].name, non_finite_[p]);
    }
  }
  report_.dry_run = options_.dry_run;
  report_.generation = base_ ? base_->generation : 0;
  report_.bytes_in = staged_->bytes;
  staged_ = nullptr;
}

}  // namespace regraft::refit
