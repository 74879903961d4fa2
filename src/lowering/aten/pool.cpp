#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

// The stride is the kernel's size unless given; an empty list stands for that too.
SymDims strides(Call& call, const SymDims& kernel) {
  if (call.is_none("stride") || call.sizes("stride").empty()) return kernel;
  return call.sizes("stride", kernel.size());
}

template <size_t Spatial>
std::vector<ir::Value*> max_pooled(Call& call) {
  const SymDims kernel = call.sizes("kernel_size", Spatial);
  return call.emit_all("max_pool", {call.tensor("self")},
                       {{"kernel", kernel},
                        {"stride", strides(call, kernel)},
                        {"padding", call.sizes("padding", Spatial)},
                        {"dilation", call.sizes("dilation", Spatial)},
                        {"ceil_mode", call.flag("ceil_mode")}});
}
template <size_t Spatial>
void max_pool(Call& call) {
  call.result(max_pooled<Spatial>(call)[0]);
}
template <size_t Spatial>
void max_pool_with_indices(Call& call) {
  for (ir::Value* value : max_pooled<Spatial>(call))
    call.result(value);
}

template <size_t Spatial>
void avg_pool(Call& call) {
  const SymDims kernel = call.sizes("kernel_size", Spatial);
  Attributes attributes{{"kernel", kernel},
                        {"stride", strides(call, kernel)},
                        {"padding", call.sizes("padding", Spatial)},
                        {"ceil_mode", call.flag("ceil_mode")},
                        {"count_include_pad", call.flag("count_include_pad")}};
  if (!call.is_none("divisor_override")) attributes.set("divisor", call.size("divisor_override"));
  call.result(call.emit("avg_pool", {call.tensor("self")}, attributes));
}

// To one element, adaptive pooling is a mean; PyTorch computes it as one.
template <size_t Spatial>
void adaptive_avg_pool(Call& call) {
  ir::Value* x = call.tensor("self");
  const SymDims dims = call.sizes("output_size", Spatial);
  if (!(dims == SymDims(Spatial, 1)) || x->dims().size() <= Spatial) {
    return call.result(call.emit("adaptive_avg_pool", {x}, {{"dims", dims}}));
  }
  SymDims axes;
  for (size_t i = x->dims().size() - Spatial; i < x->dims().size(); ++i) {
    axes.push_back(static_cast<int64_t>(i));
  }
  call.result(call.emit("mean", {x}, {{"dims", axes}, {"keepdim", true}}));
}

template <size_t Spatial>
void adaptive_max_pool(Call& call) {
  for (ir::Value* value : call.emit_all("adaptive_max_pool", {call.tensor("self")},
                                        {{"dims", call.sizes("output_size", Spatial)}})) {
    call.result(value);
  }
}

constexpr AtenOp kOps[] = {
    {"max_pool1d(self, kernel_size, stride=[], padding=0, dilation=1, ceil_mode=False)",
     max_pool<1>},
    {"max_pool2d(self, kernel_size, stride=[], padding=0, dilation=1, ceil_mode=False)",
     max_pool<2>},
    {"max_pool3d(self, kernel_size, stride=[], padding=0, dilation=1, ceil_mode=False)",
     max_pool<3>},
    {"max_pool1d_with_indices(self, kernel_size, stride=[], padding=0, dilation=1, "
     "ceil_mode=False)",
     max_pool_with_indices<1>},
    {"max_pool2d_with_indices(self, kernel_size, stride=[], padding=0, dilation=1, "
     "ceil_mode=False)",
     max_pool_with_indices<2>},
    {"max_pool3d_with_indices(self, kernel_size, stride=[], padding=0, dilation=1, "
     "ceil_mode=False)",
     max_pool_with_indices<3>},
    {"avg_pool1d(self, kernel_size, stride=[], padding=0, ceil_mode=False, "
     "count_include_pad=True, divisor_override=None)",
     avg_pool<1>},
    {"avg_pool2d(self, kernel_size, stride=[], padding=0, ceil_mode=False, "
     "count_include_pad=True, divisor_override=None)",
     avg_pool<2>},
    {"avg_pool3d(self, kernel_size, stride=[], padding=0, ceil_mode=False, "
     "count_include_pad=True, divisor_override=None)",
     avg_pool<3>},
    {"adaptive_avg_pool1d(self, output_size)", adaptive_avg_pool<1>},
    {"adaptive_avg_pool2d(self, output_size)", adaptive_avg_pool<2>},
    {"adaptive_avg_pool3d(self, output_size)", adaptive_avg_pool<3>},
    {"_adaptive_avg_pool2d(self, output_size)", adaptive_avg_pool<2>},
    {"_adaptive_avg_pool3d(self, output_size)", adaptive_avg_pool<3>},
    {"adaptive_max_pool1d(self, output_size)", adaptive_max_pool<1>},
    {"adaptive_max_pool2d(self, output_size)", adaptive_max_pool<2>},
    {"adaptive_max_pool3d(self, output_size)", adaptive_max_pool<3>},
};

}  // namespace

extern const AtenTable k_pool;
const AtenTable k_pool = kOps;

}  // namespace regraft::lowering::aten
