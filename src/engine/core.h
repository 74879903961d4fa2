#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/bank.h"
#include "engine/binding.h"
#include "engine/image.h"
#include "engine/memory.h"
#include "engine/slots.h"
#include "engine/weight_program.h"
#include "plan/realised.h"

namespace regraft::engine {

class Scratch;

// What all variants of an engine share: the plan realised on this machine, and caches. Nothing
// here depends on weight values. Thread-safe.
class Core {
 public:
  // Throws as engine::create; does not build weights.
  Core(Image image, const EngineOptions& options);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  const plan::Plan& plan() const { return image_.plan; }
  // weights is null: the core holds no weights.
  const Image& image() const { return image_; }
  const EngineOptions& options() const { return options_; }
  const SlotTable& slots() const { return slots_; }
  const WeightProgram& weight_program() const { return *weight_program_; }
  const plan::Realised& realised() const { return realised_; }
  const std::shared_ptr<BlockPool>& pool() const { return pool_; }
  backends::Device& device() const { return device_; }
  BindingCache& bindings() { return *bindings_; }

  // The value of an optional parameter that a stripped engine came with.
  const std::optional<SourceTensor>& initial_value(size_t parameter) const {
    return initial_values_[parameter];
  }
  // dtype and dims of a parameter.
  const TensorView& parameter_spec(size_t parameter) const { return specs_[parameter]; }
  TensorView view_of(size_t parameter, const ParameterValue& value) const;
  // The parameter of a name or alias, or -1.
  int32_t find_parameter(std::string_view name) const;
  // Constants whose slots are among these.
  std::vector<bool> constants_of(const std::vector<bool>& slots) const;
  bool shape_steps_read(const std::vector<bool>& slots) const;
  // Slots that hold the parameter's bytes unchanged.
  const std::vector<int32_t>& copies_of(size_t parameter) const { return copies_[parameter]; }

  std::unique_ptr<Scratch> take_scratch();
  // One that a recording of the caller's uses is kept until the core goes.
  void give_back(std::unique_ptr<Scratch> scratch) noexcept;
  // Whether there is such a one. Refits must then keep the addresses of the constants.
  bool is_recorded() const;
  void trim_scratch();
  // On a device, before `to` takes the place of `from`: idle scratches record for its addresses
  // what they repeat.
  void prepare_runs(const Bank& from, const Bank& to);
  size_t scratch_bytes() const;  // Of those that nobody has on loan.

 private:
  void keep_initial_values();
  void realise();
  void choose_freely(const Shaped& optimum);
  void choose_as(const Shaped& optimum, const plan::Realised& given);
  void want_tactics_of(const plan::Realised& given) const;
  void record(const Binding& optimum);

  Image image_;
  EngineOptions options_;
  backends::Device& device_;
  std::shared_ptr<BlockPool> pool_;
  SlotTable slots_;
  plan::Realised realised_;
  std::vector<TensorView> specs_;                            // By parameter.
  std::vector<std::optional<SourceTensor>> initial_values_;  // By parameter.
  std::vector<std::vector<int32_t>> copies_;                 // By parameter.
  std::unique_ptr<WeightProgram> weight_program_;
  std::unique_ptr<BindingCache> bindings_;
  std::map<std::string, int32_t, std::less<>> parameter_index_;
  mutable std::mutex scratch_mutex_;
  std::vector<std::unique_ptr<Scratch>> scratch_, recorded_;
};

}  // namespace regraft::engine
