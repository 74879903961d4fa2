#include "backends/cpu/kernel_test.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include <gtest/gtest.h>

#include "ir/text.h"
#include "support/compare.h"
#include "support/evaluator.h"
#include "tensor/convert.h"
#include "tensor/copy.h"

namespace regraft::test {
namespace {

uint64_t next(uint64_t& state) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return state >> 11;
}
double uniform(uint64_t& state) { return static_cast<double>(next(state)) * 0x1p-53; }

backends::Operand operand_of(const TensorView& view) {
  backends::Operand operand;
  operand.present = true;
  operand.dtype = view.dtype;
  operand.dims = view.dims;
  operand.strides = view.strides;
  return operand;
}

// Memory of a kernel, surrounded by a pattern that must stay.
class Guarded {
 public:
  explicit Guarded(size_t bytes)
      : bytes_(bytes), memory_(DType::U8, {static_cast<int64_t>(bytes + 2 * kGuard)}) {
    std::memset(begin(), 0x5a, bytes + 2 * kGuard);
  }
  void* data() { return begin() + kGuard; }
  bool intact() {
    for (size_t i = 0; i < kGuard; ++i) {
      if (begin()[i] != 0x5a || begin()[kGuard + bytes_ + i] != 0x5a) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 256;
  unsigned char* begin() { return memory_.mutable_view().as_mutable<unsigned char>(); }
  size_t bytes_;
  Tensor memory_;
};

}  // namespace

KernelTest::KernelTest(std::string kernel, Attributes attributes) {
  step_.kernel = std::move(kernel);
  step_.attributes = std::move(attributes);
}

KernelTest::Slot KernelTest::make(DType dtype, const Dims& dims, std::vector<size_t> order) const {
  Slot slot;
  slot.present = true;
  slot.memory = Tensor(dtype, dims);
  Dims strides(dims.size(), 1);
  if (order.empty()) {
    order.resize(dims.size());
    std::iota(order.begin(), order.end(), 0);
  }
  int64_t stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= dims[order[i]];
  }
  slot.view = TensorView(slot.memory.view().data, dtype, dims, strides);
  return slot;
}

void KernelTest::fill_normal(Slot& slot) {
  const Tensor values(DType::F32, slot.view.dims);
  auto* const out = values.mutable_view().as_mutable<float>();
  for (int64_t i = 0; i < values.view().count(); ++i) {
    const double radius = std::sqrt(-2 * std::log(uniform(seed_) + 1e-12));
    out[i] = static_cast<float>(radius * std::cos(6.283185307179586 * uniform(seed_)));
  }
  copy(values.view(), MutableTensorView(const_cast<void*>(slot.view.data), slot.view.dtype,
                                        slot.view.dims, slot.view.strides));
}

KernelTest& KernelTest::input(DType dtype, Dims dims, std::vector<size_t> order) {
  inputs_.push_back(make(dtype, dims, std::move(order)));
  fill_normal(inputs_.back());
  return *this;
}

KernelTest& KernelTest::scaled(double factor) {
  const Slot& slot = inputs_.back();
  visit(slot.view.dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (!kIsComplex<T>) {
      T* const values = slot.memory.mutable_view().as_mutable<T>();
      for (int64_t i = 0; i < slot.view.count(); ++i) {
        values[i] = convert<T>(convert<double>(values[i]) * factor);
      }
    }
  });
  return *this;
}

KernelTest& KernelTest::integers(DType dtype, Dims dims, int64_t low, int64_t high) {
  inputs_.push_back(make(dtype, dims, {}));
  const Tensor values(DType::I64, dims);
  for (int64_t i = 0; i < values.view().count(); ++i) {
    values.mutable_view().as_mutable<int64_t>()[i] =
        low + static_cast<int64_t>(next(seed_) % static_cast<uint64_t>(high - low));
  }
  copy(values.view(), inputs_.back().memory.mutable_view());
  return *this;
}

KernelTest& KernelTest::constant(DType dtype, Dims dims, std::vector<size_t> order) {
  input(dtype, std::move(dims), std::move(order));
  inputs_.back().is_constant = true;
  return *this;
}

KernelTest& KernelTest::absent() {
  inputs_.emplace_back();
  return *this;
}

KernelTest& KernelTest::output(DType dtype, Dims dims, std::vector<size_t> order) {
  outputs_.push_back(make(dtype, dims, std::move(order)));
  return *this;
}

backends::KernelRequest KernelTest::request() const {
  backends::KernelRequest request{step_, step_.attributes.resolved({}), {},
                                  {},    &backends::host_device(),      false};
  for (const Slot& slot : inputs_) {
    backends::Operand operand = slot.present ? operand_of(slot.view) : backends::Operand{};
    operand.is_constant = slot.is_constant;
    request.inputs.push_back(std::move(operand));
  }
  for (const Slot& slot : outputs_)
    request.outputs.push_back(operand_of(slot.view));
  return request;
}

std::string KernelTest::check(std::string_view body, double tolerance) {
  const backends::RunBackend& backend = backends::run_backend(step_.kernel);
  backends::KernelRequest request = this->request();
  std::vector<std::unique_ptr<Guarded>> packed;
  std::vector<const void*> inputs;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    inputs.push_back(inputs_[i].view.data);
    if (!inputs_[i].is_constant) continue;
    backends::Operand& operand = request.inputs[i];
    operand.packing = backend.choose_packing(request, i);
    backends::Operand from = operand;
    from.is_constant = false;
    operand.strides = contiguous_strides(operand.dims);
    const auto packer =
        backend.prepare_packing(backends::host_device(), from, operand.dtype, operand.packing);
    packed.push_back(std::make_unique<Guarded>(operand.packing.bytes));
    const void* const source = inputs_[i].view.data;
    void* const target = packed.back()->data();
    packer->run({{&source, 1}, {&target, 1}, nullptr});
    EXPECT_TRUE(packed.back()->intact()) << operand.packing.id;
    inputs[i] = target;
  }
  const auto kernel = backend.prepare(request);
  Guarded workspace(kernel->workspace_bytes());
  std::vector<std::unique_ptr<Guarded>> first, second;
  for (auto* run : {&first, &second}) {
    std::vector<void*> outputs;
    for (const Slot& slot : outputs_) {
      run->push_back(std::make_unique<Guarded>(slot.view.bytes()));
      outputs.push_back(run->back()->data());
    }
    kernel->run({inputs, outputs, workspace.data()});
    for (const auto& memory : *run)
      EXPECT_TRUE(memory->intact()) << step_.kernel;
  }
  EXPECT_TRUE(workspace.intact()) << step_.kernel;

  std::string text = "graph(";
  std::vector<TensorView> values;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!inputs_[i].present) continue;
    if (!values.empty()) text += ", ";
    text += base::cat("%a", i, ": ", inputs_[i].view.spec());
    values.push_back(inputs_[i].view);
  }
  text += base::cat(") {\n", body, "\n}");
  const std::vector<Tensor> wanted = evaluate(*ir::parse(text), values, {});
  EXPECT_EQ(wanted.size(), outputs_.size());
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Slot& slot = outputs_[i];
    const TensorView have(first[i]->data(), slot.view.dtype, slot.view.dims, slot.view.strides);
    const TensorView again(second[i]->data(), slot.view.dtype, slot.view.dims, slot.view.strides);
    std::map<std::string, double> allowed;
    if (tolerance > 0) allowed[std::string(name(have.dtype))] = tolerance;
    EXPECT_EQ(mismatch(wanted[i].view(), have, allowed), "")
        << step_.kernel << ": output " << i << ", tactic " << kernel->tactic() << "\n"
        << text;
    EXPECT_EQ(bit_mismatch(have, again), "") << step_.kernel;
  }
  return kernel->tactic();
}

}  // namespace regraft::test
