#include <algorithm>

#include "backends/cuda/run/pointwise.h"

namespace regraft::cuda {
namespace {

int64_t bound(int64_t at, int64_t size) {
  return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
}

// `from` may be a view that begins `offset` elements into its input: such copies cannot rely on its
// alignment.
std::unique_ptr<Kernel> copy_of(CudaDevice& device, const KernelRequest& request,
                                LaunchOperand from, int64_t offset = 0) {
  if (offset != 0) {
    from.place.offset = static_cast<size_t>(offset) * item_size(from.dtype);
    from.alignment = item_size(from.dtype);
  }
  return make_pointwise_kernel(device, request, copy_spec(from, output_of(request, 0)), "copy");
}

std::unique_ptr<Kernel> prepare_permute(CudaDevice& device, const KernelRequest& request) {
  LaunchOperand from = input_of(request, 0);
  const Operand& x = request.inputs[0];
  from.dims.clear();
  from.strides.clear();
  for (const int64_t dim : request.attributes.integers("dims")) {
    const size_t axis = axis_of(dim, x.dims.size());
    from.dims.push_back(x.dims[axis]);
    from.strides.push_back(x.strides[axis]);
  }
  return copy_of(device, request, from);
}

std::unique_ptr<Kernel> prepare_slice(CudaDevice& device, const KernelRequest& request) {
  LaunchOperand from = input_of(request, 0);
  const size_t axis = axis_of(request.attributes.integer("dim"), from.dims.size());
  const int64_t start = bound(request.attributes.integer("start"), from.dims[axis]);
  const int64_t offset = start * from.strides[axis];
  from.strides[axis] *= request.attributes.integer("step");
  from.dims = request.outputs[0].dims;
  return copy_of(device, request, std::move(from), offset);
}

std::unique_ptr<Kernel> prepare_diagonal(CudaDevice& device, const KernelRequest& request) {
  const Operand& x = request.inputs[0];
  const size_t rows = axis_of(request.attributes.integer("dim1"), x.dims.size());
  const size_t columns = axis_of(request.attributes.integer("dim2"), x.dims.size());
  const int64_t offset = request.attributes.integer("offset");
  const int64_t row = std::max<int64_t>(-offset, 0), column = std::max<int64_t>(offset, 0);
  LaunchOperand from = input_of(request, 0);
  from.dims = request.outputs[0].dims;
  from.strides.clear();
  for (size_t i = 0; i < x.dims.size(); ++i) {
    if (i != rows && i != columns) from.strides.push_back(x.strides[i]);
  }
  from.strides.push_back(x.strides[rows] + x.strides[columns]);
  return copy_of(device, request, std::move(from),
                 row * x.strides[rows] + column * x.strides[columns]);
}

ElementSpec remap(const KernelRequest& request, std::string_view op) {
  ElementSpec spec;
  spec.source = "remap";
  spec.defines = base::cat("#define OP_", op, "\n");
  spec.inputs = {input_of(request, 0)};
  spec.outputs = {output_of(request, 0)};
  spec.moves = true;
  return spec;
}

std::unique_ptr<Kernel> finish(CudaDevice& device, const ElementSpec& spec) {
  return make_kernel(make_element(device, spec), spec.source);
}

// ints of OP_flat: offset, roll, strides of the output's dims in row-major elements of x.
std::unique_ptr<Kernel> flat(CudaDevice& device, const KernelRequest& request, int64_t offset,
                             int64_t roll, const Dims& strides) {
  ElementSpec spec = remap(request, "flat");
  spec.ints = {offset, roll};
  spec.ints.insert(spec.ints.end(), strides.begin(), strides.end());
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_reshape(CudaDevice& device, const KernelRequest& request) {
  const Operand& out = request.outputs[0];
  if (out.strides == contiguous_strides(out.dims)) {
    LaunchOperand to = output_of(request, 0);
    to.dims = request.inputs[0].dims;
    to.strides = contiguous_strides(to.dims);
    return make_pointwise_kernel(device, request, copy_spec(input_of(request, 0), to), "copy");
  }
  return flat(device, request, 0, -1, contiguous_strides(request.outputs[0].dims));
}

std::unique_ptr<Kernel> prepare_as_strided(CudaDevice& device, const KernelRequest& request) {
  return flat(device, request, request.attributes.integer("offset"), -1,
              request.attributes.integers("strides"));
}

std::unique_ptr<Kernel> prepare_roll(CudaDevice& device, const KernelRequest& request) {
  const Dims shifts = request.attributes.integers("shifts");
  const Dims dims = request.attributes.integers("dims");
  const Dims& sizes = request.outputs[0].dims;
  const int64_t count = numel(sizes);
  if (dims.empty()) {
    const int64_t shift = count == 0 ? 0 : (shifts[0] % count + count) % count;
    return flat(device, request, 0, shift, contiguous_strides(sizes));
  }
  ElementSpec spec = remap(request, "roll");
  spec.ints.assign(kMaxRank, 0);
  for (size_t i = 0; i < dims.size() && !sizes.empty(); ++i)
    spec.ints[axis_of(dims[i], sizes.size())] += shifts[i];
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_flip(CudaDevice& device, const KernelRequest& request) {
  ElementSpec spec = remap(request, "flip");
  spec.ints.assign(kMaxRank, 0);
  for (const int64_t dim : request.attributes.integers("dims")) {
    if (!request.outputs[0].dims.empty()) {
      spec.ints[axis_of(dim, request.outputs[0].dims.size())] = 1;
    }
  }
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_pad(CudaDevice& device, const KernelRequest& request) {
  const std::string& mode = request.attributes.text("mode");
  ElementSpec spec = remap(request, "pad");
  // The fill is a number of the element's type.
  spec.moves = is_complex(request.outputs[0].dtype);
  constexpr std::string_view kModes[] = {"constant", "reflect", "replicate", "circular"};
  const Dims padding = request.attributes.integers("padding");
  const size_t rank = request.inputs[0].dims.size();
  spec.ints.assign(11, 0);
  spec.ints[0] = std::find(std::begin(kModes), std::end(kModes), mode) - kModes;
  for (size_t d = 0; d < rank; ++d) {
    const size_t pair = 2 * (rank - 1 - d);
    spec.ints[1 + d] = pair < padding.size() ? padding[pair] : 0;
  }
  const Attribute& value = *request.attributes.find("value");
  if (const auto* flag = std::get_if<bool>(&value)) {
    spec.ints[9] = 1;
    spec.ints[10] = *flag ? 1 : 0;
  } else if (const auto* size = std::get_if<SymInt>(&value)) {
    spec.ints[9] = 1;
    spec.ints[10] = size->value();
  } else {
    spec.numbers = {std::get<double>(value)};
  }
  if (spec.moves) unsupported(request, "complex numbers");
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_repeat(CudaDevice& device, const KernelRequest& request) {
  ElementSpec spec = remap(request, "repeat");
  LaunchOperand& x = spec.inputs[0];
  while (x.dims.size() < request.outputs[0].dims.size()) {
    x.dims.insert(x.dims.begin(), 1);
    x.strides.insert(x.strides.begin(), 0);
  }
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_repeat_interleave(CudaDevice& device,
                                                  const KernelRequest& request) {
  ElementSpec spec = remap(request, "repeat_interleave");
  const bool flatten = request.attributes.is_none("dim");
  const size_t rank = request.inputs[0].dims.size();
  spec.ints = {
      flatten ? -1 : static_cast<int64_t>(axis_of(request.attributes.integer("dim"), rank)),
      request.attributes.integer("repeats")};
  if (!flatten && rank == 0) spec.ints[0] = -1;
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_slice_scatter(CudaDevice& device, const KernelRequest& request) {
  ElementSpec spec = remap(request, "slice_scatter");
  spec.inputs.push_back(input_of(request, 1));
  const Dims& dims = request.outputs[0].dims;
  const size_t axis = axis_of(request.attributes.integer("dim"), dims.size());
  spec.ints = {static_cast<int64_t>(axis), bound(request.attributes.integer("start"), dims[axis]),
               request.attributes.integer("step"), request.inputs[1].dims[axis]};
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_triangle(CudaDevice& device, const KernelRequest& request) {
  ElementSpec spec = remap(request, "triangle");
  spec.ints = {request.attributes.integer("diagonal"), op_name(request) == "triu" ? 1 : 0};
  return finish(device, spec);
}

// Each operand copied to its part of the output.
std::unique_ptr<Kernel> prepare_cat(CudaDevice& device, const KernelRequest& request) {
  const Operand& out = request.outputs[0];
  const size_t axis = axis_of(request.attributes.integer("dim"), out.dims.size());
  std::vector<PointwiseSpec> parts;
  int64_t at = 0;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const Operand& x = request.inputs[i];
    if (x.dims == Dims{0}) continue;
    LaunchOperand to = output_of(request, 0);
    to.dims[axis] = x.dims[axis];
    to.place.offset = static_cast<size_t>(at * out.strides[axis]) * item_size(out.dtype);
    while (to.place.offset % to.alignment != 0)
      to.alignment /= 2;
    parts.push_back(copy_spec(input_of(request, i), to));
    at += x.dims[axis];
  }
  return std::make_unique<PointwiseKernel>(device, std::move(parts), "copy", request.may_wait);
}

constexpr KernelDef kKernels[] = {
    {"permute", prepare_permute},
    {"slice", prepare_slice},
    {"diagonal", prepare_diagonal},
    {"reshape", prepare_reshape},
    {"as_strided", prepare_as_strided},
    {"roll", prepare_roll},
    {"flip", prepare_flip},
    {"pad", prepare_pad},
    {"repeat", prepare_repeat},
    {"repeat_interleave", prepare_repeat_interleave},
    {"slice_scatter", prepare_slice_scatter},
    {"triu", prepare_triangle},
    {"tril", prepare_triangle},
    {"cat", prepare_cat},
};

}  // namespace

extern const KernelFile k_kernels_moves;
const KernelFile k_kernels_moves = kKernels;

}  // namespace regraft::cuda
