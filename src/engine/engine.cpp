#include "regraft/engine.h"

#include <limits>
#include <utility>

#include "base/fail.h"
#include "base/typed_errors.h"
#include "engine/image.h"
#include "engine/loan.h"
#include "engine/variant.h"
#include "refit/transaction.h"

namespace regraft {
namespace {

// A recording reads weights for as long as it lives: those in use, which stay where they are.
const engine::Bank& bank_for_run(const Weights& weights, const engine::Core& core, void* stream) {
  const engine::Bank& bank = engine::bank_of(weights, core);
  const uint64_t in_use = weights.pin()->variant->publisher().generation();
  if (weights.generation() != in_use && core.device().is_recording(stream)) {
    base::fail("engine", ErrorCode::State, "a run is being recorded with weights of generation ",
               weights.generation(), ": want those in use, of generation ", in_use);
  }
  return bank;
}

std::vector<Tensor> run_allocating(engine::Core& core, const engine::Bank& bank,
                                   const std::vector<TensorView>& inputs) {
  return base::typed_errors("engine", [&] {
    const engine::Loan scratch(core);
    const engine::Binding& binding = scratch->bind(core, inputs);
    std::vector<Tensor> outputs;
    std::vector<MutableTensorView> views;
    for (size_t i = 0; i < core.plan().outputs.size(); ++i) {
      const DType dtype = core.plan().buffers[core.plan().outputs[i].buffer].type.dtype;
      outputs.emplace_back(dtype, binding.output_dims()[i]);
      views.push_back(outputs.back().mutable_view());
    }
    scratch->run(core, bank, inputs, views);
    return outputs;
  });
}

void run_into(engine::Core& core, const engine::Bank& bank, engine::Scratch& scratch,
              std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs,
              void* stream) {
  base::typed_errors("engine", [&] {
    scratch.bind(core, inputs, core.device().is_recording(stream));
    scratch.run(core, bank, inputs, outputs, stream);
  });
}

// Where the run was recorded, the session goes on with other memory.
void run_session(engine::Core& core, const engine::Bank& bank,
                 std::unique_ptr<engine::Scratch>& scratch, std::span<const TensorView> inputs,
                 std::span<const MutableTensorView> outputs, void* stream) {
  run_into(core, bank, *scratch, inputs, outputs, stream);
  if (!scratch->is_recorded()) return;
  auto other = core.take_scratch();
  core.give_back(std::exchange(scratch, std::move(other)));
}

}  // namespace

namespace engine {

Engine create(Image image, const EngineOptions& options) {
  return base::typed_errors("engine", [&] {
    const std::shared_ptr<const WeightSource> weights = image.stripped ? nullptr : image.weights;
    auto variant = std::make_shared<Variant>(std::make_shared<Core>(std::move(image), options));
    if (weights) {
      // Building is a refit of everything: one code path.
      refit::Transaction build(variant, *weights, {}, refit::Purpose::Build);
      build.publish();
    }
    return Engine(std::move(variant));
  });
}

}  // namespace engine

uint64_t Weights::generation() const { return pin_ ? pin_->reader.bank()->generation : 0; }

Session::Session(std::shared_ptr<engine::Variant> variant, std::unique_ptr<engine::Scratch> scratch)
    : variant_(std::move(variant)), scratch_(std::move(scratch)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() {
  if (scratch_) variant_->core().give_back(std::move(scratch_));
}

void Session::run(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs,
                  void* stream) {
  const engine::Reader reader(*variant_);
  run_session(variant_->core(), *reader.bank(), scratch_, inputs, outputs, stream);
}

void Session::run(const Weights& weights, std::span<const TensorView> inputs,
                  std::span<const MutableTensorView> outputs, void* stream) {
  const engine::Bank& bank = bank_for_run(weights, variant_->core(), stream);
  run_session(variant_->core(), bank, scratch_, inputs, outputs, stream);
}

std::vector<Tensor> Engine::run(const std::vector<TensorView>& inputs) const {
  const engine::Reader reader(*variant_);
  return run_allocating(variant_->core(), *reader.bank(), inputs);
}

std::vector<Tensor> Engine::run(const Weights& weights,
                                const std::vector<TensorView>& inputs) const {
  return run_allocating(variant_->core(), engine::bank_of(weights, variant_->core()), inputs);
}

void Engine::run(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs,
                 void* stream) const {
  const engine::Reader reader(*variant_);
  const engine::Loan scratch(variant_->core());
  run_into(variant_->core(), *reader.bank(), *scratch, inputs, outputs, stream);
}

void Engine::run(const Weights& weights, std::span<const TensorView> inputs,
                 std::span<const MutableTensorView> outputs, void* stream) const {
  const engine::Bank& bank = bank_for_run(weights, variant_->core(), stream);
  const engine::Loan scratch(variant_->core());
  run_into(variant_->core(), bank, *scratch, inputs, outputs, stream);
}

std::vector<Dims> Engine::output_dims(const std::vector<Dims>& input_dims) const {
  const plan::Plan& plan = variant_->core().plan();
  const SymbolValues values = plan::solve_symbols(plan, input_dims);
  std::vector<Dims> dims;
  for (const plan::Port& port : plan.outputs) {
    dims.push_back(eval(plan.buffers[port.buffer].type.dims, values));
  }
  return dims;
}

Session Engine::session() const { return {variant_, variant_->core().take_scratch()}; }

RefitReport Engine::refit(const WeightSource& source, const RefitOptions& options) {
  const std::lock_guard lock(variant_->refit_mutex());
  return base::typed_errors("refit", [&] {
    refit::Transaction transaction(variant_, source, options, refit::Purpose::Refit);
    if (options.dry_run) return transaction.report();
    transaction.publish();
    return transaction.take_report();
  });
}

PreparedRefit Engine::prepare_refit(const WeightSource& source, const RefitOptions& options) {
  const std::lock_guard lock(variant_->refit_mutex());
  return base::typed_errors("refit", [&] {
    return PreparedRefit(
        std::make_unique<refit::Transaction>(variant_, source, options, refit::Purpose::Prepare));
  });
}

uint64_t Engine::rollback() {
  const std::lock_guard lock(variant_->refit_mutex());
  if (variant_->core().is_recorded()) {
    base::fail("engine", ErrorCode::State, "a run of engine '", name(),
               "' was recorded by the caller, who reads its constants where they lie: they cannot "
               "be rolled back");
  }
  if (!variant_->publisher().roll_back()) {
    base::fail("engine", ErrorCode::State,
               "no weights to roll back to: there was no refit yet, or it was in place, or their "
               "memory was given to a later refit or freed");
  }
  return generation();
}

Weights Engine::weights() const { return Weights(std::make_shared<engine::Pin>(variant_)); }

uint64_t Engine::generation() const { return variant_->publisher().generation(); }

Engine Engine::fork() const {
  const std::lock_guard lock(variant_->refit_mutex());
  return base::typed_errors("engine", [&] {
    std::shared_ptr<const engine::Bank> shared;
    variant_->publisher().look([&](const engine::Bank* bank, const engine::Bank*) {
      if (bank != nullptr) shared = bank->copy();
    });
    return Engine(std::make_shared<engine::Variant>(variant_->shared_core(), std::move(shared)));
  });
}

void Engine::forget_previous() {
  const std::lock_guard lock(variant_->refit_mutex());
  variant_->publisher().drop_previous();
}

void Engine::trim() {
  const std::lock_guard lock(variant_->refit_mutex());
  variant_->publisher().drop_previous();
  variant_->trim();
  variant_->core().trim_scratch();
  variant_->core().pool()->trim();
}

}  // namespace regraft
