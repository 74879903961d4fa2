#include <algorithm>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {
namespace {

// x[indices]: inputs from `first` on are the indices, one for each axis of x, some absent.
class Selection {
 public:
  Selection(const KernelRequest& request, size_t first) : request_(request), first_(first) {
    const Dims& x = request.inputs[0].dims;
    size_t begin = x.size(), runs = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (!has(i)) continue;
      begin = std::min(begin, i);
      if (i == 0 || !has(i - 1)) ++runs;
      const Dims& index = request.inputs[first + i].dims;
      if (index.size() > positions.size()) {
        positions.insert(positions.begin(), index.size() - positions.size(), 1);
      }
      for (size_t k = 0; k < index.size(); ++k) {
        int64_t& size = positions[positions.size() - 1 - k];
        if (size == 1) size = index[index.size() - 1 - k];
      }
    }
    // Where the indexed axes are neighbours, the result has the positions in their place.
    at = runs == 1 ? begin : 0;
    size_t kept = 0;
    int64_t operand = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (has(i)) {
        axes.push_back(operand++);
        continue;
      }
      const size_t d = kept < at ? kept : kept + positions.size();
      axes.push_back(-1 - static_cast<int64_t>(d));
      dims.push_back(x[i]);
      ++kept;
    }
    dims.insert(dims.begin() + static_cast<std::ptrdiff_t>(at), positions.begin(), positions.end());
  }

  // The index operands with strides over the result's dims.
  std::vector<LaunchOperand> operands() const {
    std::vector<LaunchOperand> out;
    for (size_t i = 0; i < axes.size(); ++i) {
      if (!has(i)) continue;
      LaunchOperand operand = input_of(request_, first_ + i);
      const Dims inside = broadcast_strides(request_.inputs[first_ + i], positions);
      operand.dims = dims;
      operand.strides.assign(dims.size(), 0);
      std::copy(inside.begin(), inside.end(),
                operand.strides.begin() + static_cast<std::ptrdiff_t>(at));
      out.push_back(std::move(operand));
    }
    return out;
  }

  Dims positions, dims, axes;
  size_t at = 0;

 private:
  bool has(size_t i) const { return is_present(request_.inputs, first_ + i); }
  const KernelRequest& request_;
  size_t first_;
};

std::unique_ptr<Kernel> prepare(CudaDevice& device, const KernelRequest& request) {
  const bool puts = op_name(request) == "index_put";
  const Selection selection(request, puts ? 2 : 1);
  ElementSpec spec;
  spec.source = "index";
  spec.defines = base::cat("#define OP_", op_name(request), "\n");
  spec.inputs = {input_of(request, 0)};
  spec.outputs = {output_of(request, 0)};
  spec.ints = selection.axes;
  if (puts) {
    if (is_complex(request.outputs[0].dtype)) unsupported(request, "complex numbers");
    LaunchOperand values = input_of(request, 1);
    values.strides = broadcast_strides(request.inputs[1], selection.dims);
    values.dims = selection.dims;
    spec.inputs.push_back(std::move(values));
    spec.ints.resize(11, 0);
    spec.ints[8] = static_cast<int64_t>(selection.at);
    spec.ints[9] = static_cast<int64_t>(selection.positions.size());
    spec.ints[10] = request.attributes.flag("accumulate") ? 1 : 0;
  } else {
    spec.moves = true;
    // The output may have fewer dims spelled out than the result of the indices.
    spec.outputs[0].dims = selection.dims;
    Operand out = request.outputs[0];
    spec.outputs[0].strides = broadcast_strides(out, selection.dims);
  }
  const std::vector<LaunchOperand> indices = selection.operands();
  if (indices.empty()) unsupported(request, "no index");
  spec.defines +=
      "__device__ inline i64 index_at(i64 operand, const View& v, i64 offset) {\n"
      "  switch (operand) {\n";
  for (size_t i = 0; i < indices.size(); ++i) {
    spec.defines += base::cat("    case ", i, ": return load<i64, ", type_name(indices[i].dtype),
                              ">(v, offset);\n");
  }
  spec.defines += "  }\n  return 0;\n}\n";
  spec.inputs.insert(spec.inputs.end(), indices.begin(), indices.end());
  return make_kernel(make_element(device, spec), spec.source);
}

constexpr KernelDef kKernels[] = {{"index", prepare}, {"index_put", prepare}};

}  // namespace

extern const KernelFile k_kernels_index;
const KernelFile k_kernels_index = kKernels;

}  // namespace regraft::cuda
