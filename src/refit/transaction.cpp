#include "refit/transaction.h"

#include <chrono>

#include "backends/to_host.h"
#include "base/stream_copy.h"
#include "refit/lora.h"
#include "refit/values.h"
#include "tensor/copy.h"

namespace regraft::refit {
namespace {

constexpr size_t kConstantAlignment = 64;

class Stopwatch {
 public:
  // Milliseconds since the last call.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

bool is_aligned(const void* data, size_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

// The sum of a tensor and its terms.
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

Transaction::Transaction(std::shared_ptr<engine::Variant> variant, const WeightSource& source,
                         const RefitOptions& options, Purpose purpose)
    : variant_(std::move(variant)),
      core_(variant_->core()),
      options_(options),
      purpose_(purpose),
      base_(variant_->publisher().base()),
      merges_(core_.device(), *core_.pool()) {
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
      merges_(core_.device(), *core_.pool()) {
  run(nullptr);
}

void Transaction::run(const WeightSource* source) {
  if (purpose_ == Purpose::Refit && core_.image().immutable) {
    base::fail("refit", ErrorCode::State, "engine '", core_.image().name,
               "' was saved with immutable weights: it cannot be refitted");
  }
  if (purpose_ == Purpose::Refit && core_.is_recorded() && !options_.in_place) {
    base::fail("refit", ErrorCode::State, "a run of engine '", core_.image().name,
               "' was recorded by the caller, who reads its constants where they lie: refit with "
               "in_place = true");
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
  check(scope.reads, problems);
  problems.raise();
  report_.check_ms = watch.lap();
  evaluate();
  if (base_ && !options_.in_place && !options_.dry_run) {
    if (!core_.shape_steps_read(slots_)) bank_->inherit_shape_values(*base_);
    core_.prepare_runs(*base_, *bank_);
  }
  report_.evaluate_ms = watch.lap();
  finish_report();
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
    if (base_ && base_->parameters[p].view.data != nullptr) continue;
    if (!options_.partial && (!base_ || !core_.plan().parameters[p].optional))
      continue;  // Reported.
    problems.add(ErrorCode::State, core_.plan().parameters[p].name, ": want ",
                 core_.parameter_spec(p).spec(),
                 base_ ? ": other values given are used together with it, and it was not retained"
                       : ": the engine has no weights yet");
  }
}

void Transaction::check_guards(Problems& problems) {
  for (size_t p = 0; p < given_.size(); ++p) {
    if (!given_[p]) continue;
    const plan::Parameter& parameter = core_.plan().parameters[p];
    const SourceTensor& tensor = *staged_->tensors[p];
    const TensorView& view = tensor.view;
    if (parameter.index_bound >= 0) {
      Tensor copy;  // Guarded parameters are small tables of indices.
      if (!view.is_contiguous() || !core_.device().is_host()) {
        copy = backends::to_host(core_.device(), view);
      }
      const OutOfBounds found =
          find_out_of_bounds(copy ? copy.view() : view, parameter.index_bound);
      if (found.index >= 0) {
        problems.add(ErrorCode::Mismatch, parameter.name, ": element ", found.index, " is ",
                     found.value, ", want an index in 0..", parameter.index_bound - 1);
      }
    }
    if (options_.non_finite == NonFinite::Reject && view.count() > 0) {
      Tensor copy;
      if (!tensor.terms.empty()) {
        copy = merged_on_host(core_.device(), core_.parameter_spec(p), tensor);
      } else if (!view.is_contiguous() || !core_.device().is_host()) {
        copy = backends::to_host(core_.device(), view);
      }
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

// Sources that kernels cannot read as they are: strided, of another dtype, misaligned, or with
// adapters to be added.
void Transaction::convert_sources() {
  values_.resize(given_.size());
  own_values_.resize(given_.size());
  converted_.resize(given_.size());
  std::vector<base::BlockCopy> uploads;
  for (size_t p = 0; p < given_.size(); ++p) {
    if (!given_[p]) continue;
    if (staged_->readable[p].data != nullptr) {
      values_[p] = &staged_->readable[p];
    } else {
      convert_source(p, uploads);
    }
  }
  if (!uploads.empty()) core_.device().upload(uploads);
  merges_.run();
}

void Transaction::convert_source(size_t p, std::vector<base::BlockCopy>& uploads) {
  backends::Device& device = core_.device();
  const SourceTensor& tensor = *staged_->tensors[p];
  const TensorView& view = tensor.view;
  TensorView& value = own_values_[p];
  value = core_.parameter_spec(p);
  values_[p] = &value;
  converted_[p] = core_.pool()->take(value.bytes());
  value.data = converted_[p]->data;
  if (view.count() == 0) return;
  const MutableTensorView to(converted_[p]->writable, value.dtype, value.dims);
  if (!tensor.terms.empty() && is_readable(core_, p, view)) {
    merges_.add(view, to.mutable_data(), tensor.terms);
    return;
  }
  if (device.is_host()) {
    copy(view, to);
  } else if (device.holds(view.data)) {
    device.convert(view, to, device.work_stream());
  } else {
    uploads.push_back({converted_[p]->writable, bytes_on_host(view, to), to.bytes()});
  }
  if (!tensor.terms.empty()) merges_.add(value, to.mutable_data(), tensor.terms);
}

// The elements of a tensor of the host as `like` has them: its own memory, or a copy in kept_.
const std::byte* Transaction::bytes_on_host(const TensorView& view, const TensorView& like) {
  if (view.is_contiguous() && view.dtype == like.dtype) return view.as<std::byte>();
  kept_.emplace_back(like.dtype, like.dims);
  copy(view, kept_.back().mutable_view());
  return kept_.back().view().as<std::byte>();
}

// Gives every slot to be computed its memory, or finds that it needs none.
void Transaction::place_slots(engine::WeightJob& job) {
  const auto& slots = core_.slots().slots;
  for (size_t s = 0; s < slots.size(); ++s) {
    if (!slots_[s]) {
      job.present[s] = base_->slots[s]->data;
      continue;
    }
    const int32_t p = slots[s].copy_of;
    const bool adopts = core_.options().adopt || options_.adopt;
    if (p >= 0 && adopts && !options_.in_place && !converted_[p] && staged_->tensors[p]->stable &&
        is_aligned(values_[p]->data, kConstantAlignment)) {
      bank_->slots[s] = engine::BlockPool::borrow(values_[p]->data, slots[s].packing.bytes,
                                                  staged_->tensors[p]->owner);
      job.present[s] = bank_->slots[s]->data;
      continue;
    }
    // What was brought to the device for this constant alone is the constant.
    if (p >= 0 && !core_.device().is_host() && converted_[p] && !options_.in_place &&
        core_.copies_of(static_cast<size_t>(p)).size() == 1) {
      bank_->slots[s] = converted_[p];
      job.present[s] = bank_->slots[s]->data;
      report_.bytes_out += slots[s].packing.bytes;
      continue;
    }
    bank_->slots[s] = s < own_slots_.size() && own_slots_[s]
                          ? std::move(own_slots_[s])
                          : core_.pool()->take(slots[s].packing.bytes);
    job.slots[s] = true;
    job.targets[s] = bank_->slots[s]->writable;
    report_.bytes_out += slots[s].packing.bytes;
  }
}

// The memory of the generation before is what the new one is computed into. It goes to the pool; on
// a device, blocks that nobody else has go to the same slots again.
void Transaction::take_over_previous() {
  const std::shared_ptr<const engine::Bank> previous = variant_->publisher().take_previous();
  if (previous == nullptr || core_.device().is_host() || previous.use_count() > 1) return;
  previous->wait_for_uses();
  own_slots_.resize(slots_.size());
  for (size_t s = 0; s < slots_.size(); ++s) {
    const std::shared_ptr<engine::Block>& block = previous->slots[s];
    if (!slots_[s] || block.use_count() > 1 || block->writable == nullptr) continue;
    // What is brought to the device comes from the pool.
    const int32_t p = core_.slots().slots[s].copy_of;
    if (p < 0 || staged_->readable[p].data != nullptr) own_slots_[s] = block;
  }
}

// Decides where the given parameter's value is kept.
void Transaction::retain(size_t p) {
  engine::ParameterValue& kept = bank_->parameters[p];
  kept = {};
  Retain policy = core_.options().retain;
  if (policy == Retain::None) {
    // No checkpoint will bring an optional parameter again.
    if (!core_.plan().parameters[p].optional) return;
    policy = Retain::Auto;
  }
  kept.view = *values_[p];
  const bool on_host = core_.device().is_host();
  kept.on_host = on_host;
  // On a device, what a file brought is kept where the file is mapped.
  const TensorView& given = staged_->tensors[p]->view;
  const bool in_file =
      staged_->tensors[p]->stable && staged_->tensors[p]->terms.empty() &&
      (on_host ? !converted_[p]
               : given.is_contiguous() && given.dtype == kept.view.dtype && given.data != nullptr);
  for (const int32_t s : core_.copies_of(p)) {
    if (bank_->slots[s]->writable == nullptr) continue;
    // In place, the values move into the memory of the base's slot.
    kept.view.data = options_.in_place && base_ ? base_->slots[s]->data : bank_->slots[s]->data;
    kept.is_constant = true;
    return;
  }
  if (in_file && policy == Retain::Auto) {
    kept.owner = staged_->tensors[p]->owner;
    kept.is_mapped = true;
    kept.view.data = given.data;
    kept.on_host = on_host || !core_.device().holds(given.data);
    return;
  }
  if (policy == Retain::Host && !on_host) {
    const auto memory = engine::allocate(values_[p]->bytes(), core_.options().memory_limit);
    core_.device().copy(memory.get(), values_[p]->data, values_[p]->bytes(),
                        core_.device().work_stream());
    kept.view.data = memory.get();
    kept.owner = memory;
    kept.on_host = true;
    return;
  }
  retained_[p] = converted_[p] ? converted_[p] : core_.pool()->take(values_[p]->bytes());
  kept.view.data = retained_[p]->data;
  kept.owner = retained_[p];
}

void Transaction::evaluate() {
  if (!options_.dry_run) take_over_previous();
  bank_ = std::make_shared<engine::Bank>();
  const size_t slots = slots_.size(), parameters = given_.size();
  if (base_) {
    bank_->slots = base_->slots;
  } else {
    bank_->slots.resize(slots);
  }
  engine::WeightJob job;
  job.slots.resize(slots);
  job.targets.resize(slots);
  job.present.resize(slots);
  job.parameters.resize(parameters);
  retained_.resize(parameters);
  non_finite_.resize(parameters);
  convert_sources();
  place_slots(job);
  for (size_t p = 0; p < parameters; ++p)
    job.parameters[p] = bytes_of(p);
  if (core_.device().is_host()) {
    evaluate_on_host(job);
  } else {
    evaluate_on_device(job);
  }
  // Sources may go when the constructor returns.
  values_.clear();
  own_values_.clear();
  converted_.clear();
  kept_.clear();
  own_slots_.clear();
}

// Row-major, in the declared dtype; null: not available.
const std::byte* Transaction::bytes_of(size_t parameter) const {
  return given_[parameter] ? values_[parameter]->as<std::byte>()
         : base_           ? base_->parameters[parameter].view.as<std::byte>()
                           : nullptr;
}

void Transaction::evaluate_on_host(engine::WeightJob& job) {
  retain_parameters();
  job.touch.resize(given_.size());
  for (size_t p = 0; p < given_.size(); ++p) {
    const bool copies = retained_[p] && retained_[p] != converted_[p];
    job.touch[p] = given_[p] && (copies || options_.non_finite == NonFinite::Report);
  }
  job.on_touch = [&](int32_t p) {
    if (retained_[p] && retained_[p] != converted_[p]) {
      non_finite_[p] = copy_and_count_non_finite(*values_[p], retained_[p]->writable);
    } else {
      non_finite_[p] = count_non_finite(*values_[p]);
    }
  };
  core_.weight_program().evaluate(job, *core_.pool());
  name_changes();
}

// What the kernels do not need is done while they run.
void Transaction::evaluate_on_device(engine::WeightJob& job) {
  upload_missing(job);
  job.values = values_;
  job.counts = options_.non_finite == NonFinite::Report;
  // What is kept on the device is written by the kernels that read it.
  const bool keeps = core_.options().retain == Retain::Auto;
  if (keeps) {
    retain_parameters();
    job.copies.resize(given_.size());
    for (size_t p = 0; p < given_.size(); ++p) {
      if (retained_[p] && retained_[p] != converted_[p]) job.copies[p] = retained_[p]->writable;
    }
  }
  job.meanwhile = [&] {
    if (!keeps) {
      retain_parameters();
      enqueue_retention();
    }
    name_changes();
  };
  const std::vector<uint64_t> counts = core_.weight_program().evaluate(job, *core_.pool());
  if (!counts.empty()) non_finite_ = counts;
}

void Transaction::retain_parameters() {
  bank_->parameters.resize(given_.size());
  for (size_t p = 0; p < given_.size(); ++p) {
    if (given_[p]) {
      retain(p);
    } else if (base_) {
      bank_->parameters[p] = base_->parameters[p];
    }
  }
}

// On a device: parameters that are used together with what was given, but are kept on the host.
void Transaction::upload_missing(engine::WeightJob& job) {
  std::vector<base::BlockCopy> uploads;
  const std::vector<bool>& reads = staged_->scope_of(core_, base_ != nullptr).reads;
  for (size_t p = 0; p < reads.size(); ++p) {
    if (!reads[p] || given_[p] || !base_ || !base_->parameters[p].on_host) continue;
    const TensorView& view = base_->parameters[p].view;
    if (view.data == nullptr || view.count() == 0) continue;
    converted_[p] = core_.pool()->take(view.bytes());
    uploads.push_back({converted_[p]->writable, view.as<std::byte>(), view.bytes()});
    job.parameters[p] = converted_[p]->data;
  }
  if (!uploads.empty()) core_.device().upload(uploads);
}

void Transaction::enqueue_retention() {
  std::vector<base::BlockCopy> blocks;
  for (size_t p = 0; p < retained_.size(); ++p) {
    if (!retained_[p] || retained_[p] == converted_[p]) continue;
    blocks.push_back({retained_[p]->writable, values_[p]->as<std::byte>(), values_[p]->bytes()});
  }
  if (!blocks.empty()) core_.device().copy_blocks(blocks);
}

const RefitReport& Transaction::report() {
  if (!published_) report_.memory = variant_->memory();
  return report_;
}

void Transaction::name_changes() {
  const plan::Plan& plan = core_.plan();
  const std::vector<bool> constants = core_.constants_of(slots_);
  for (size_t c = 0; c < constants.size(); ++c) {
    if (constants[c]) {
      report_.updated.push_back(plan.constants[c].name);
    } else {
      ++report_.untouched;
    }
  }
  for (size_t p = 0; p < given_.size(); ++p) {
    if (given_[p]) report_.parameters.push_back(plan.parameters[p].name);
  }
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
  report_.total_ms = report_.stage_ms + report_.check_ms + report_.evaluate_ms;
  staged_ = nullptr;
}

// bank_ holds its own blocks for the slots to be written: a second user of the base's is a fork or
// another transaction.
void Transaction::want_own_memory() const {
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (!slots_[s] || base_->slots[s].use_count() == 1) continue;
    base::fail("refit", ErrorCode::State,
               core_.plan().constants[core_.slots().slots[s].constants[0]].name,
               ": its memory is shared with a fork or a prepared refit and cannot be written in "
               "place");
  }
}

// Called while nobody reads. Checks first: behind the first copy nothing can fail.
std::shared_ptr<const engine::Bank> Transaction::write_in_place() {
  auto next = std::make_shared<engine::Bank>();
  next->generation = variant_->next_generation();
  next->parameters = bank_->parameters;
  next->slots.reserve(slots_.size());
  want_own_memory();
  std::vector<base::BlockCopy> blocks;
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (!slots_[s]) continue;
    blocks.push_back({base_->slots[s]->writable, bank_->slots[s]->data, base_->slots[s]->bytes});
  }
  backends::Device& device = core_.device();
  if (!device.is_host()) {
    const backends::UseDevice use(device);
    base_->wait_for_uses();
    if (core_.is_recorded()) device.synchronise_all();
    next->slots = base_->slots;
    device.copy_blocks(blocks);
    device.synchronise(device.work_stream());
    return next;
  }
  next->slots = base_->slots;
  const base::BlockCopies copies(std::move(blocks));
  copies.run();
  return next;
}

void Transaction::check_is_open() const {
  if (published_) base::fail("refit", ErrorCode::State, "this refit was published before");
  if (options_.dry_run) base::fail("refit", ErrorCode::State, "a dry run has nothing to publish");
}

void Transaction::fail_superseded() {
  base::fail("refit", ErrorCode::State,
             "the engine got other weights since this refit was prepared");
}

void Transaction::fail_timed_out() const {
  base::fail("refit", ErrorCode::State, "running calls did not end within ", options_.wait_seconds,
             " s; is a Weights handle held?");
}

void Transaction::check_publish() const {
  check_is_open();
  engine::Publisher& publisher = variant_->publisher();
  if (options_.in_place && base_) {
    if (!publisher.wait_for_nobody(options_.wait_seconds)) fail_timed_out();
    want_own_memory();
  }
  if (publisher.base() != base_) fail_superseded();
}

RefitReport Transaction::publish() {
  check_is_open();
  Stopwatch watch;
  if (options_.in_place && base_) {
    using InPlace = engine::Publisher::InPlace;
    const InPlace result = variant_->publisher().publish_in_place(base_, options_.wait_seconds,
                                                                  [&] { return write_in_place(); });
    if (result == InPlace::Superseded) fail_superseded();
    if (result == InPlace::TimedOut) fail_timed_out();
  } else {
    bank_->generation = variant_->next_generation();
    if (!variant_->publisher().try_publish(base_, bank_)) fail_superseded();
  }
  published_ = true;
  bank_ = nullptr;
  base_ = nullptr;
  report_.generation = variant_->publisher().generation();
  report_.publish_ms = watch.lap();
  report_.total_ms += report_.publish_ms;
  report_.gigabytes_per_second =
      static_cast<double>(report_.bytes_in + report_.bytes_out) / (report_.total_ms * 1e6);
  report_.memory = variant_->memory();
  return report_;
}

}  // namespace regraft::refit
