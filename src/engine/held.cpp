#include "base/fail.h"
#include "base/typed_errors.h"
#include "engine/variant.h"
#include "regraft/engine.h"

namespace regraft {
namespace {

// Copies values that refits write over, or that lie where the kernels do not.
class Holder {
 public:
  explicit Holder(engine::Core& core) : core_(core) {}

  SourceTensor hold(size_t parameter, const engine::ParameterValue& value) {
    backends::Device& device = core_.device();
    TensorView view = core_.view_of(parameter, value);
    const bool is_near = device.is_host() || !value.on_host;
    if (is_near && !value.is_constant) {
      return {std::move(view), value.block ? value.block : value.owner, false};
    }
    auto block = core_.pool()->take(value.bytes);
    auto& copies = is_near ? copies_ : uploads_;
    copies.push_back({block->writable, value.data, value.bytes});
    view.data = block->data;
    return {std::move(view), std::move(block), false};
  }

  void run() {
    backends::Device& device = core_.device();
    device.upload(uploads_);
    device.copy_blocks(copies_);
    device.synchronise(device.work_stream());
  }

 private:
  engine::Core& core_;
  std::vector<base::BlockCopy> copies_, uploads_;
};

}  // namespace

std::vector<SourceTensor> Engine::held_parameters(std::span<const std::string> names) const {
  // In-place refits write to constants, which parameters may be.
  const std::lock_guard lock(variant_->refit_mutex());
  return base::typed_errors("engine", [&] {
    engine::Core& core = variant_->core();
    const backends::UseDevice use(core.device());
    const engine::Reader reader(*variant_);
    std::vector<std::string> problems;
    std::vector<size_t> found;
    ErrorCode code = ErrorCode::State;
    for (const std::string& name : names) {
      const int32_t p = core.find_parameter(name);
      if (p < 0) {
        code = ErrorCode::NotFound;
        problems.push_back(base::cat("no parameter '", name, "'"));
      } else if (reader.bank()->parameters[p].data == nullptr) {
        problems.push_back(base::cat("parameter '", name, "' was not retained"));
      } else {
        found.push_back(static_cast<size_t>(p));
      }
    }
    if (!problems.empty()) base::fail("engine", code, base::join(problems, "; "));
    Holder holder(core);
    std::vector<SourceTensor> held;
    for (const size_t p : found)
      held.push_back(holder.hold(p, reader.bank()->parameters[p]));
    holder.run();
    return held;
  });
}

}  // namespace regraft
