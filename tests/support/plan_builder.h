#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/image.h"
#include "plan/plan.h"
#include "regraft/engine.h"

namespace regraft::testing {

// Writes plans by hand: every value is a row-major buffer of a storage of its own. Methods return
// buffer indices.
class PlanBuilder {
 public:
  explicit PlanBuilder(std::string backend = "reference") { plan.backend = std::move(backend); }

  SymInt symbol(const std::string& name, int64_t min, int64_t max, int64_t optimum = 0);
  int32_t input(const std::string& name, DType dtype, SymDims dims);
  int32_t parameter(const std::string& name, DType dtype, SymDims dims,
                    std::vector<std::string> aliases = {}, int64_t index_bound = -1);
  // A step of one output.
  int32_t weight(const std::string& kernel, std::vector<int32_t> inputs, DType dtype, SymDims dims,
                 Attributes attributes = {});
  int32_t shape(const std::string& kernel, std::vector<int32_t> inputs, DType dtype, SymDims dims,
                Attributes attributes = {});
  int32_t compute(const std::string& kernel, std::vector<int32_t> inputs, DType dtype, SymDims dims,
                  Attributes attributes = {});
  // A compute step that writes an output of the plan.
  int32_t output(const std::string& name, const std::string& kernel, std::vector<int32_t> inputs,
                 DType dtype, SymDims dims, Attributes attributes = {});
  // An output that is another value of the plan.
  void alias_output(const std::string& name, int32_t buffer);
  // A constant of the source's dtype, or of another one.
  int32_t constant(const std::string& name, int32_t source);
  int32_t constant(const std::string& name, int32_t source, DType dtype);

  plan::Plan plan;

 private:
  int32_t buffer(const std::string& name, plan::StorageKind kind, int32_t index, DType dtype,
                 const SymDims& dims);
};

// An engine over the plan with these weights.
Engine make_engine(plan::Plan plan, std::shared_ptr<const WeightSource> weights,
                   const EngineOptions& options = {});

// Weights in memory by name; f32 unless said otherwise. Owns its tensors.
class Weights32 {
 public:
  Weights32& set(const std::string& name, Dims dims, std::vector<float> values);
  // Values that differ from element to element and from seed to seed.
  Weights32& fill(const std::string& name, Dims dims, int seed);
  Weights32& set(const std::string& name, Tensor tensor);
  // `stable`: the engine may keep the memory.
  std::shared_ptr<const WeightSource> source(bool stable = false) const;
  const Tensor& at(const std::string& name) const { return tensors_.at(name); }
  // Gives the memory of these tensors, which sources refer to, the values of others of the same
  // names and shapes.
  void overwrite(const Weights32& values);

 private:
  std::vector<std::string> order_;
  std::map<std::string, Tensor> tensors_;
};

Tensor f32(Dims dims, std::vector<float> values);
Tensor f16(Dims dims, std::vector<float> values);
std::vector<float> floats(const TensorView& view);
// The bytes of every packed constant in use, in order.
std::vector<std::string> constant_bytes(const Engine& engine);
std::vector<const void*> constant_addresses(const Engine& engine);

// Two linear layers whose first is folded with a scale, as batch norm is; the second weight is tied
// to another name and used transposed as well. Inputs f32[n,4], output f32[n,3].
//   $w0 = mul(@fold.weight, reshape(@fold.scale)), $b0 = mul(@fold.bias, @fold.scale),
//   $w1 = @head.weight (= @embed.weight), $shift = @shift
plan::Plan two_layer_plan();
Weights32 two_layer_weights(int seed);
Engine two_layer_engine(int seed, const EngineOptions& options = {});

// `layers` outputs, the k-th of which is x + $c<k>, with $c<k> = mul(@p<k>, @one): an output that
// mixes generations has unequal values.
plan::Plan many_constants_plan(int layers, int64_t width);
Weights32 many_constants_weights(int layers, int64_t width, float value);

}  // namespace regraft::testing
