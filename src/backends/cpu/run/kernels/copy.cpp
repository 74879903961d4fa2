#include <algorithm>

#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/strided_copy.h"

namespace regraft::cpu {
namespace {

// One tensor of any strides to another of the same dims, converting the dtype.
class CopyKernel final : public Kernel {
 public:
  CopyKernel(const Operand& from, const Operand& to)
      : copy_(from.dims, from.dtype, from.strides, to.dtype, to.strides) {}
  void run(const KernelArguments& arguments) const override {
    copy_.run(arguments.inputs[0], arguments.outputs[0]);
  }
  std::string tactic() const override { return "copy"; }

 private:
  StridedCopy copy_;
};

std::unique_ptr<Kernel> prepare_copy(const KernelRequest& request) {
  if (request.inputs[0].dims != request.outputs[0].dims) unsupported(request, "dims differ");
  return std::make_unique<CopyKernel>(request.inputs[0], request.outputs[0]);
}

// A copy of the operand seen through a view op: at `offset` elements, with strides over the
// result's dims.
class ViewKernel final : public Kernel {
 public:
  ViewKernel(const KernelRequest& request, const Dims& strides, int64_t offset)
      : copy_(request.outputs[0].dims, request.inputs[0].dtype, strides, request.outputs[0].dtype,
              request.outputs[0].strides),
        offset_(offset * static_cast<int64_t>(item_size(request.inputs[0].dtype))) {}
  void run(const KernelArguments& arguments) const override {
    copy_.run(static_cast<const char*>(arguments.inputs[0]) + offset_, arguments.outputs[0]);
  }
  std::string tactic() const override { return "copy"; }

 private:
  StridedCopy copy_;
  int64_t offset_;
};

size_t axis_of(const KernelRequest& request, int64_t dim) {
  const auto rank = static_cast<int64_t>(request.inputs[0].dims.size());
  return static_cast<size_t>(dim < 0 ? dim + rank : dim);
}

std::unique_ptr<Kernel> prepare_slice(const KernelRequest& request) {
  const Operand& x = request.inputs[0];
  const size_t axis = axis_of(request, request.attributes.integer("dim"));
  int64_t start = request.attributes.integer("start");
  if (start < 0) start = std::max<int64_t>(start + x.dims[axis], 0);
  start = std::min(start, x.dims[axis]);
  Dims strides = x.strides;
  strides[axis] *= request.attributes.integer("step");
  return std::make_unique<ViewKernel>(request, strides, start * x.strides[axis]);
}

std::unique_ptr<Kernel> prepare_permute(const KernelRequest& request) {
  Dims strides;
  for (const int64_t dim : request.attributes.integers("dims")) {
    strides.push_back(request.inputs[0].strides[axis_of(request, dim)]);
  }
  return std::make_unique<ViewKernel>(request, strides, 0);
}

std::unique_ptr<Kernel> prepare_expand(const KernelRequest& request) {
  const Operand& x = request.inputs[0];
  Dims strides(request.outputs[0].dims.size(), 0);
  const size_t lead = strides.size() - x.dims.size();
  for (size_t d = 0; d < x.dims.size(); ++d) {
    if (x.dims[d] != 1) strides[lead + d] = x.strides[d];
  }
  return std::make_unique<ViewKernel>(request, strides, 0);
}

std::unique_ptr<Kernel> prepare_reshape(const KernelRequest& request) {
  const Operand& x = request.inputs[0];
  if (x.strides != contiguous_strides(x.dims)) unsupported(request, "x is not row-major");
  return std::make_unique<ViewKernel>(request, contiguous_strides(request.outputs[0].dims), 0);
}

// Any number of tensors, one behind the other along attribute `dim`.
class CatKernel final : public Kernel {
 public:
  CatKernel(const KernelRequest& request, size_t dim) {
    const Operand& out = request.outputs[0];
    int64_t begin = 0;
    for (const Operand& input : request.inputs) {
      const int64_t offset = begin * out.strides[dim] * static_cast<int64_t>(item_size(out.dtype));
      // torch.cat leaves out one-dimensional empty tensors whatever the others' rank.
      const bool is_skipped = input.dims.size() != out.dims.size();
      parts_.push_back(
          {is_skipped ? StridedCopy()
                      : StridedCopy(input.dims, input.dtype, input.strides, out.dtype, out.strides),
           offset});
      if (!is_skipped) begin += input.dims[dim];
    }
  }
  void run(const KernelArguments& arguments) const override {
    for (size_t i = 0; i < parts_.size(); ++i) {
      parts_[i].copy.run(arguments.inputs[i],
                         static_cast<char*>(arguments.outputs[0]) + parts_[i].offset);
    }
  }
  std::string tactic() const override { return "copy"; }

 private:
  struct Part {
    StridedCopy copy;
    int64_t offset;
  };
  std::vector<Part> parts_;
};

std::unique_ptr<Kernel> prepare_cat(const KernelRequest& request) {
  const auto rank = static_cast<int64_t>(request.outputs[0].dims.size());
  const int64_t dim = request.attributes.integer("dim");
  return std::make_unique<CatKernel>(request, static_cast<size_t>(dim < 0 ? dim + rank : dim));
}

constexpr KernelDef kKernels[] = {{"copy", &prepare_copy},     {"cat", &prepare_cat},
                                  {"slice", &prepare_slice},   {"permute", &prepare_permute},
                                  {"expand", &prepare_expand}, {"reshape", &prepare_reshape}};

}  // namespace

extern const KernelFile k_kernels_copy;
const KernelFile k_kernels_copy = kKernels;

}  // namespace regraft::cpu
