#include "support/plan_builder.h"

#include <cstring>

#include "tensor/copy.h"

namespace regraft::testing {

using plan::StorageKind;

int32_t PlanBuilder::buffer(const std::string& name, StorageKind kind, int32_t index, DType dtype,
                            const SymDims& dims) {
  SymDims strides(dims.size());
  SymInt stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    stride = stride * dims[i];
  }
  const auto storage = static_cast<int32_t>(plan.storages.size());
  plan.storages.push_back({kind, index, stride * SymInt(static_cast<int64_t>(item_size(dtype)))});
  plan.buffers.push_back({name, {dtype, dims}, strides, 0, storage});
  return static_cast<int32_t>(plan.buffers.size()) - 1;
}

SymInt PlanBuilder::symbol(const std::string& name, int64_t min, int64_t max, int64_t optimum) {
  plan.symbols.push_back({name, min, max, optimum});
  return SymInt::symbol(name);
}

int32_t PlanBuilder::input(const std::string& name, DType dtype, SymDims dims) {
  const int32_t b =
      buffer(name, StorageKind::Input, static_cast<int32_t>(plan.inputs.size()), dtype, dims);
  plan.inputs.push_back({name, b});
  return b;
}

int32_t PlanBuilder::parameter(const std::string& name, DType dtype, SymDims dims,
                               std::vector<std::string> aliases, int64_t index_bound) {
  const int32_t b = buffer(name, StorageKind::Parameter,
                           static_cast<int32_t>(plan.parameters.size()), dtype, dims);
  plan.parameters.push_back({name, std::move(aliases), b, index_bound});
  return b;
}

int32_t PlanBuilder::weight(const std::string& kernel, std::vector<int32_t> inputs, DType dtype,
                            SymDims dims, Attributes attributes) {
  const int32_t b =
      buffer("w" + std::to_string(plan.buffers.size()), StorageKind::Weight, -1, dtype, dims);
  plan.weight_steps.push_back({kernel, std::move(inputs), {b}, std::move(attributes), "", false});
  return b;
}

int32_t PlanBuilder::shape(const std::string& kernel, std::vector<int32_t> inputs, DType dtype,
                           SymDims dims, Attributes attributes) {
  const int32_t b =
      buffer("s" + std::to_string(plan.buffers.size()), StorageKind::Shape, -1, dtype, dims);
  plan.shape_steps.push_back({kernel, std::move(inputs), {b}, std::move(attributes), "", false});
  return b;
}

int32_t PlanBuilder::compute(const std::string& kernel, std::vector<int32_t> inputs, DType dtype,
                             SymDims dims, Attributes attributes) {
  const int32_t b =
      buffer("t" + std::to_string(plan.buffers.size()), StorageKind::Compute, -1, dtype, dims);
  plan.compute_steps.push_back({kernel, std::move(inputs), {b}, std::move(attributes), "", false});
  return b;
}

int32_t PlanBuilder::output(const std::string& name, const std::string& kernel,
                            std::vector<int32_t> inputs, DType dtype, SymDims dims,
                            Attributes attributes) {
  const int32_t b =
      buffer(name, StorageKind::Output, static_cast<int32_t>(plan.outputs.size()), dtype, dims);
  plan.outputs.push_back({name, b});
  plan.compute_steps.push_back(
      {kernel, std::move(inputs), {b}, std::move(attributes), name, false});
  return b;
}

void PlanBuilder::alias_output(const std::string& name, int32_t buffer) {
  plan.outputs.push_back({name, buffer});
}

int32_t PlanBuilder::constant(const std::string& name, int32_t source) {
  return constant(name, source, plan.buffers[source].type.dtype);
}

int32_t PlanBuilder::constant(const std::string& name, int32_t source, DType dtype) {
  const SymDims dims = plan.buffers[source].type.dims;
  const int32_t b =
      buffer(name, StorageKind::Constant, static_cast<int32_t>(plan.constants.size()), dtype, dims);
  plan.constants.push_back({name, source, b});
  return b;
}

Engine make_engine(plan::Plan plan, std::shared_ptr<const WeightSource> weights,
                   const EngineOptions& options) {
  engine::Image image;
  image.plan = std::move(plan);
  image.name = "test";
  image.stripped = weights == nullptr;
  image.weights = std::move(weights);
  return engine::create(std::move(image), options);
}

Tensor f32(Dims dims, std::vector<float> values) {
  return Tensor::copy_of(TensorView(values.data(), DType::F32, std::move(dims)));
}

Tensor f16(Dims dims, std::vector<float> values) {
  Tensor halves(DType::F16, dims);
  copy(TensorView(values.data(), DType::F32, std::move(dims)), halves.mutable_view());
  return halves;
}

std::vector<float> floats(const TensorView& view) {
  const auto* data = view.as<float>();
  return {data, data + view.count()};
}

Weights32& Weights32::set(const std::string& name, Tensor tensor) {
  if (!tensors_.contains(name)) order_.push_back(name);
  tensors_[name] = std::move(tensor);
  return *this;
}

Weights32& Weights32::set(const std::string& name, Dims dims, std::vector<float> values) {
  return set(name, f32(std::move(dims), std::move(values)));
}

Weights32& Weights32::fill(const std::string& name, Dims dims, int seed) {
  std::vector<float> values(static_cast<size_t>(numel(dims)));
  uint32_t state = static_cast<uint32_t>(seed) * 2654435761u + 12345u;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / 16777216.0f - 0.5f;
  }
  return set(name, std::move(dims), std::move(values));
}

std::shared_ptr<const WeightSource> Weights32::source(bool stable) const {
  std::vector<std::pair<std::string, SourceTensor>> tensors;
  for (const std::string& name : order_) {
    const Tensor& tensor = tensors_.at(name);
    tensors.push_back({name, {tensor.view(), std::make_shared<Tensor>(tensor), stable}});
  }
  return make_source(std::move(tensors));
}

void Weights32::overwrite(const Weights32& values) {
  for (auto& [name, tensor] : tensors_)
    copy(values.at(name).view(), tensor.mutable_view());
}

std::vector<std::string> constant_bytes(const Engine& engine) {
  std::vector<std::string> bytes;
  for (const ConstantInfo& constant : engine.constants()) {
    bytes.emplace_back(static_cast<const char*>(constant.data), constant.bytes);
  }
  return bytes;
}

std::vector<const void*> constant_addresses(const Engine& engine) {
  std::vector<const void*> addresses;
  for (const ConstantInfo& constant : engine.constants())
    addresses.push_back(constant.data);
  return addresses;
}

plan::Plan two_layer_plan() {
  PlanBuilder b;
  const SymInt n = b.symbol("n", 1, 64, 2);
  const int32_t x = b.input("x", DType::F32, {n, 4});
  const int32_t weight = b.parameter("fold.weight", DType::F32, {5, 4});
  const int32_t bias = b.parameter("fold.bias", DType::F32, {5});
  const int32_t scale = b.parameter("fold.scale", DType::F32, {5});
  const int32_t head = b.parameter("head.weight", DType::F32, {3, 5}, {"embed.weight"});
  const int32_t shift = b.parameter("shift", DType::F32, {3});
  const int32_t column =
      b.weight("reference.reshape", {scale}, DType::F32, {5, 1}, {{"dims", SymDims{5, 1}}});
  const int32_t folded = b.weight("reference.mul", {weight, column}, DType::F32, {5, 4});
  const int32_t folded_bias = b.weight("reference.mul", {bias, scale}, DType::F32, {5});
  const int32_t w0 = b.constant("w0", folded), b0 = b.constant("b0", folded_bias);
  const int32_t w1 = b.constant("w1", head), s = b.constant("shift", shift);
  const int32_t hidden = b.compute("reference.linear", {x, w0, b0}, DType::F32, {n, 5});
  const int32_t active = b.compute("reference.relu", {hidden}, DType::F32, {n, 5});
  b.plan.compute_steps.back().in_place = true;
  b.output("y", "reference.linear", {active, w1, s}, DType::F32, {n, 3});
  return b.plan;
}

Weights32 two_layer_weights(int seed) {
  Weights32 weights;
  weights.fill("fold.weight", {5, 4}, seed).fill("fold.bias", {5}, seed + 1);
  weights.fill("fold.scale", {5}, seed + 2).fill("head.weight", {3, 5}, seed + 3);
  weights.fill("shift", {3}, seed + 4);
  return weights;
}

Engine two_layer_engine(int seed, const EngineOptions& options) {
  return make_engine(two_layer_plan(), two_layer_weights(seed).source(), options);
}

plan::Plan many_constants_plan(int layers, int64_t width) {
  PlanBuilder b;
  const int32_t x = b.input("x", DType::F32, {width});
  const int32_t one = b.parameter("one", DType::F32, {1});
  std::vector<int32_t> constants;
  for (int k = 0; k < layers; ++k) {
    const int32_t p = b.parameter("p" + std::to_string(k), DType::F32, {width});
    const int32_t product = b.weight("reference.mul", {p, one}, DType::F32, {width});
    constants.push_back(b.constant("c" + std::to_string(k), product));
  }
  for (int k = 0; k < layers; ++k) {
    b.output("y" + std::to_string(k), "reference.add", {x, constants[k]}, DType::F32, {width});
  }
  return b.plan;
}

Weights32 many_constants_weights(int layers, int64_t width, float value) {
  Weights32 weights;
  weights.set("one", {1}, {1.0f});
  for (int k = 0; k < layers; ++k) {
    weights.set("p" + std::to_string(k), {width},
                std::vector<float>(static_cast<size_t>(width), value));
  }
  return weights;
}

}  // namespace regraft::testing
