#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

struct Window {
  SymDims stride, padding, dilation, output_padding;
};

ir::Value* convolve(Call& call, ir::Value* x, const Window& window, bool transposed) {
  ir::Value* bias = call.optional_tensor("bias");
  return call.emit("convolution", {x, call.tensor("weight"), bias},
                   {{"stride", window.stride},
                    {"padding", window.padding},
                    {"dilation", window.dilation},
                    {"transposed", transposed},
                    {"output_padding", window.output_padding},
                    {"groups", call.size("groups")}});
}

size_t spatial_dims(Call& call) {
  const size_t rank = call.tensor("weight")->dims().size();
  if (rank < 3 || rank > 5) call.unsupported("a weight of rank ", rank);
  return rank - 2;
}

// The input with a batch dimension; PyTorch lets it be absent.
ir::Value* batched(Call& call, size_t spatial) {
  ir::Value* x = call.tensor("input");
  if (x->dims().size() != spatial + 1) return x;
  SymDims dims = x->dims();
  dims.insert(dims.begin(), 1);
  return call.reshape(x, dims);
}

void finish(Call& call, ir::Value* y, size_t spatial) {
  if (call.tensor("input")->dims().size() == spatial + 1) {
    y = call.reshape(y, SymDims(y->dims().begin() + 1, y->dims().end()));
  }
  call.result(y);
}

void convolution(Call& call) {
  const size_t spatial = spatial_dims(call);
  const bool transposed = call.flag("transposed");
  const Window window{call.sizes("stride", spatial), call.sizes("padding", spatial),
                      call.sizes("dilation", spatial), call.sizes("output_padding", spatial)};
  finish(call, convolve(call, batched(call, spatial), window, transposed), spatial);
}

// "same" keeps the size; where the padding is odd, the end gets the larger half.
void convolution_same(Call& call) {
  const size_t spatial = spatial_dims(call);
  const std::string mode = call.text("padding");
  Window window{call.sizes("stride", spatial), SymDims(spatial, 0), call.sizes("dilation", spatial),
                SymDims(spatial, 0)};
  ir::Value* x = batched(call, spatial);
  if (mode == "same") {
    const SymDims& weight = call.tensor("weight")->dims();
    SymDims extra;
    bool is_odd = false;
    for (size_t i = 0; i < spatial; ++i) {
      const SymInt total = window.dilation[i] * (weight[2 + i] - 1);
      window.padding[i] = floordiv(total, 2);
      const SymInt rest = total - window.padding[i] * 2;
      is_odd = is_odd || !(rest == SymInt(0));
      extra.insert(extra.begin(), {SymInt(0), rest});
    }
    if (is_odd) x = call.emit("pad", {x}, {{"padding", extra}});
  } else if (mode != "valid") {
    call.unsupported("padding \"", mode, "\"");
  }
  finish(call, convolve(call, x, window, false), spatial);
}

constexpr AtenOp kOps[] = {
    {"conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, "
     "transposed=False, output_padding=0)",
     convolution},
    {"conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, "
     "transposed=False, output_padding=0)",
     convolution},
    {"conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, "
     "transposed=False, output_padding=0)",
     convolution},
    {"conv1d.padding(input, weight, bias=None, stride=1, padding=\"valid\", dilation=1, groups=1)",
     convolution_same},
    {"conv2d.padding(input, weight, bias=None, stride=1, padding=\"valid\", dilation=1, groups=1)",
     convolution_same},
    {"conv3d.padding(input, weight, bias=None, stride=1, padding=\"valid\", dilation=1, groups=1)",
     convolution_same},
    {"conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, "
     "dilation=1, transposed=True)",
     convolution},
    {"conv_transpose2d.input(input, weight, bias=None, stride=1, padding=0, output_padding=0, "
     "groups=1, dilation=1, transposed=True)",
     convolution},
    {"conv_transpose3d.input(input, weight, bias=None, stride=1, padding=0, output_padding=0, "
     "groups=1, dilation=1, transposed=True)",
     convolution},
    {"convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, "
     "groups)",
     convolution},
    {"_convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, "
     "groups, benchmark=False, deterministic=False, cudnn_enabled=True, allow_tf32=True)",
     convolution},
};

}  // namespace

extern const AtenTable k_convolution;
const AtenTable k_convolution = kOps;

}  // namespace regraft::lowering::aten
