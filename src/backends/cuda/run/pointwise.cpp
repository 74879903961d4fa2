#include "backends/cuda/run/pointwise.h"

#include <algorithm>

#include "backends/cuda/run/pointwise_source.h"

namespace regraft::cuda {
namespace {

Space space_of(const PointwiseSpec& spec) {
  std::vector<const LaunchOperand*> operands = {&spec.output};
  for (const LaunchOperand& input : spec.inputs)
    operands.push_back(&input);
  return space_of(operands);
}

Launch::Words words_of(const PointwiseSpec& spec, const Space& space) {
  Launch::Words words;
  words.add(spec.output.place);
  for (const LaunchOperand& input : spec.inputs)
    words.add(input.place);
  for (const int64_t word : pointwise_layout(space))
    words.add(word);
  return words;
}

std::string source_of(const PointwiseSpec& spec, const Space& space) {
  return base::cat(pointwise_prelude(), pointwise_body(spec, space, {}),
                   "struct Args {\n  Operands p;\n  Layout a;\n};\n"
                   "extern \"C\" __global__ void run(const __grid_constant__ Args x) {\n",
                   space.is_tiled()
                       ? base::cat("  __shared__ alignas(16) char tile[", 2 * kTileBytes, "];\n")
                       : "  char* const tile = nullptr;\n",
                   "  body(x.p, x.a, blockIdx.x, gridDim.x, tile);\n}\n");
}

}  // namespace

std::string pointwise_source(const PointwiseSpec& spec) { return source_of(spec, space_of(spec)); }

Launch make_pointwise(CudaDevice& device, const PointwiseSpec& spec) {
  if (numel(spec.output.dims) == 0) return {};
  const Space space = space_of(spec);
  const int64_t at_once = space.items_at_once();
  const int64_t most = int64_t{device.multiprocessors()} * 16;
  const auto blocks = std::clamp<int64_t>((space.items() + at_once - 1) / at_once, 1, most);
  return {device.function(source_of(spec, space)), words_of(spec, space),
          static_cast<unsigned>(blocks), kPointwiseThreads};
}

PointwiseKernel::PointwiseKernel(CudaDevice& device, std::vector<PointwiseSpec> parts,
                                 std::string tactic, bool waits)
    : device_(device), parts_(std::move(parts)), tactic_(std::move(tactic)) {
  if (!waits) std::call_once(compiled_, [this] { compile(); });
  for (const PointwiseSpec& part : parts_)
    Launch(nullptr, words_of(part, space_of(part)), 0, 0);  // Throws what compile() would.
}

void PointwiseKernel::compile() const {
  for (const PointwiseSpec& part : parts_)
    launches_.push_back(make_pointwise(device_, part));
}

void PointwiseKernel::run(const KernelArguments& arguments) const {
  std::call_once(compiled_, [this] { compile(); });
  for (const Launch& launch : launches_)
    launch.run(arguments);
}

std::unique_ptr<Kernel> make_pointwise_kernel(CudaDevice& device, const KernelRequest& request,
                                              PointwiseSpec spec, std::string tactic) {
  std::vector<PointwiseSpec> parts;
  parts.push_back(std::move(spec));
  return std::make_unique<PointwiseKernel>(device, std::move(parts), std::move(tactic),
                                           request.may_wait);
}

PointwiseSpec copy_spec(const LaunchOperand& from, const LaunchOperand& to) {
  if (from.dtype != to.dtype && (is_complex(from.dtype) || is_complex(to.dtype))) {
    base::fail("backends", ErrorCode::Unsupported, "cuda: no conversion from ", name(from.dtype),
               " to ", name(to.dtype));
  }
  return {"-> i0", {from}, to, from.dtype == to.dtype};
}

Launch make_copy(CudaDevice& device, const LaunchOperand& from, const LaunchOperand& to) {
  return make_pointwise(device, copy_spec(from, to));
}

LaunchOperand broadcast_input(const KernelRequest& request, size_t i) {
  LaunchOperand operand = input_of(request, i);
  const Dims& dims = request.outputs[0].dims;
  operand.strides = broadcast_strides(request.inputs[i], dims);
  operand.dims = dims;
  return operand;
}

}  // namespace regraft::cuda
