#include <span>
#include <string>
#include <utility>

#include "lowering/aten/aten.h"

// Ops that change the extent of images: padding, upsampling, unfolding, shuffles.
namespace regraft::lowering::aten {
namespace {

// Takes off what negative amounts of padding take off, and makes them 0.
ir::Value* cropped(Call& call, ir::Value* x, SymDims& padding) {
  const size_t rank = x->dims().size();
  if (padding.size() / 2 > rank) return x;
  const auto taken = [](SymInt& amount) {
    if (!amount.is_constant() || amount.value() >= 0) return SymInt(0);
    return SymInt(0) - std::exchange(amount, SymInt(0));
  };
  for (size_t i = 0; i + 1 < padding.size(); i += 2) {
    const size_t dim = rank - 1 - i / 2;
    const SymInt start = taken(padding[i]), end = x->dims()[dim] - taken(padding[i + 1]);
    if (start == SymInt(0) && end == x->dims()[dim]) continue;
    const SymInt axis(static_cast<int64_t>(dim));
    x = call.emit("slice", {x}, {{"dim", axis}, {"start", start}, {"end", end}});
  }
  return x;
}

void pad_by(Call& call, SymDims padding, const std::string& mode, const Attribute& value) {
  ir::Value* x = call.tensor("self");
  // What is taken off does not come back at the other end.
  if (mode == "circular") x = cropped(call, x, padding);
  Attributes attributes{{"padding", std::move(padding)}, {"mode", mode}};
  if (mode == "constant") attributes.set("value", value);
  call.result(call.emit("pad", {x}, attributes));
}

void pad(Call& call) {
  const Attribute value = call.is_none("value") ? Attribute(0.0) : call.scalar("value");
  pad_by(call, call.sizes("pad"), call.text("mode"), value);
}
void constant_pad(Call& call) { pad_by(call, call.sizes("pad"), "constant", call.scalar("value")); }
void reflect_pad(Call& call) { pad_by(call, call.sizes("padding"), "reflect", {}); }
void replicate_pad(Call& call) { pad_by(call, call.sizes("padding"), "replicate", {}); }
void circular_pad(Call& call) { pad_by(call, call.sizes("pad"), "circular", {}); }

// The factors given by name; where one is None, none apply.
std::vector<double> named_scales(Call& call, std::initializer_list<const char*> names) {
  std::vector<double> out;
  for (const char* name : names) {
    if (call.is_none(name)) return {};
    out.push_back(call.number(name));
  }
  return out;
}

// Either output_size or scale_factors; the latter decide the sampling positions too.
void resize(Call& call, std::string_view op, size_t spatial, std::vector<double> scales,
            Attributes attributes) {
  // Overload vec calls its tensor `input`.
  ir::Value* x = call.tensor(call.is_none("self") ? "input" : "self");
  if (x->dims().size() != spatial + 2) call.unsupported("of rank ", x->dims().size());
  if (scales.empty() && call.has("scale_factors") && !call.is_none("scale_factors")) {
    const Attribute factors = call.attribute("scale_factors");
    scales = Attributes{{"x", factors}}.numbers("x");
  }
  SymDims dims;
  if (!call.is_none("output_size")) {
    dims = call.sizes("output_size", spatial);
  } else {
    if (scales.size() != spatial) call.unsupported("neither an output size nor scale factors");
    for (size_t i = 0; i < spatial; ++i) {
      const Symbolic scaled = apply_symbolic(
          "math.floor",
          {apply_symbolic("_operator.mul", {x->dims()[2 + i], SymFloat{scales[i], 1, 1}})});
      const auto* size = std::get_if<SymInt>(&scaled);
      if (size == nullptr) call.unsupported("a scale of ", scales[i], " for a dynamic size");
      dims.push_back(*size);
    }
  }
  attributes.set("dims", dims);
  if (!scales.empty()) attributes.set("scales", scales);
  call.result(call.emit(op, {x}, attributes));
}

template <size_t Spatial>
std::vector<double> given_scales(Call& call) {
  if constexpr (Spatial == 1) return named_scales(call, {"scales"});
  if constexpr (Spatial == 2) return named_scales(call, {"scales_h", "scales_w"});
  return named_scales(call, {"scales_d", "scales_h", "scales_w"});
}

template <size_t Spatial, bool Exact>
void nearest(Call& call) {
  resize(call, "upsample_nearest", Spatial, given_scales<Spatial>(call), {{"exact", Exact}});
}
template <size_t Spatial>
void linear(Call& call) {
  resize(call, "upsample_bilinear", Spatial, given_scales<Spatial>(call),
         {{"align_corners", call.flag("align_corners")}});
}
void bicubic(Call& call) {
  resize(call, "upsample_bicubic", 2, given_scales<2>(call),
         {{"align_corners", call.flag("align_corners")}});
}

// PyTorch numbers the modes.
std::string word(Call& call, std::string_view name, std::span<const char* const> words) {
  const int64_t number = call.integer(name);
  if (number < 0 || number >= static_cast<int64_t>(words.size())) {
    call.unsupported(name, " ", number);
  }
  return words[static_cast<size_t>(number)];
}

void grid_sampler(Call& call) {
  static constexpr const char* kModes[] = {"bilinear", "nearest", "bicubic"};
  static constexpr const char* kPaddings[] = {"zeros", "border", "reflection"};
  call.result(call.emit("grid_sampler", {call.tensor("input"), call.tensor("grid")},
                        {{"mode", word(call, "interpolation_mode", kModes)},
                         {"padding", word(call, "padding_mode", kPaddings)},
                         {"align_corners", call.flag("align_corners")}}));
}

void im2col(Call& call) {
  call.result(call.emit("im2col", {call.tensor("self")},
                        {{"kernel", call.sizes("kernel_size", 2)},
                         {"dilation", call.sizes("dilation", 2)},
                         {"padding", call.sizes("padding", 2)},
                         {"stride", call.sizes("stride", 2)}}));
}

void col2im(Call& call) {
  call.result(call.emit("col2im", {call.tensor("self")},
                        {{"dims", call.sizes("output_size", 2)},
                         {"kernel", call.sizes("kernel_size", 2)},
                         {"dilation", call.sizes("dilation", 2)},
                         {"padding", call.sizes("padding", 2)},
                         {"stride", call.sizes("stride", 2)}}));
}

struct Image {
  SymDims batch;
  SymInt channels, height, width;
};

Image image(Call& call) {
  const SymDims& dims = call.tensor("self")->dims();
  if (dims.size() < 3) call.unsupported("of rank ", dims.size());
  const size_t n = dims.size();
  return {SymDims(dims.begin(), dims.end() - 3), dims[n - 3], dims[n - 2], dims[n - 1]};
}

// Splits into `split`, reorders those dimensions (behind the batch), and merges into `merged`.
void shuffle(Call& call, const Image& of, const SymDims& split, const Dims& order,
             const SymDims& merged) {
  SymDims dims = of.batch, axes, out = of.batch;
  for (size_t i = 0; i < of.batch.size(); ++i)
    axes.push_back(static_cast<int64_t>(i));
  dims.insert(dims.end(), split.begin(), split.end());
  for (const int64_t axis : order)
    axes.push_back(axis + static_cast<int64_t>(of.batch.size()));
  out.insert(out.end(), merged.begin(), merged.end());
  ir::Value* x = call.reshape(call.tensor("self"), dims);
  call.result(call.reshape(call.emit("permute", {x}, {{"dims", axes}}), out));
}

void pixel_shuffle(Call& call) {
  const Image x = image(call);
  const SymInt r = call.size("upscale_factor");
  const SymInt channels = floordiv(x.channels, r * r);
  shuffle(call, x, {channels, r, r, x.height, x.width}, {0, 3, 1, 4, 2},
          {channels, x.height * r, x.width * r});
}

void pixel_unshuffle(Call& call) {
  const Image x = image(call);
  const SymInt r = call.size("downscale_factor");
  const SymInt height = floordiv(x.height, r), width = floordiv(x.width, r);
  shuffle(call, x, {x.channels, height, r, width, r}, {0, 2, 4, 1, 3},
          {x.channels * r * r, height, width});
}

void channel_shuffle(Call& call) {
  const Image x = image(call);
  const SymInt groups = call.size("groups");
  shuffle(call, x, {groups, floordiv(x.channels, groups), x.height, x.width}, {1, 0, 2, 3},
          {x.channels, x.height, x.width});
}

constexpr AtenOp kOps[] = {
    {"pad(self, pad, mode=\"constant\", value=None)", pad},
    {"constant_pad_nd(self, pad, value=0)", constant_pad},
    {"reflection_pad1d(self, padding)", reflect_pad},
    {"reflection_pad2d(self, padding)", reflect_pad},
    {"reflection_pad3d(self, padding)", reflect_pad},
    {"replication_pad1d(self, padding)", replicate_pad},
    {"replication_pad2d(self, padding)", replicate_pad},
    {"replication_pad3d(self, padding)", replicate_pad},
    {"_pad_circular(self, pad)", circular_pad},
    {"upsample_nearest1d.default,vec(self=None, input=None, output_size=None, scale_factors=None, "
     "scales=None)",
     nearest<1, false>},
    {"upsample_nearest2d.default,vec(self=None, input=None, output_size=None, scale_factors=None, "
     "scales_h=None, "
     "scales_w=None)",
     nearest<2, false>},
    {"upsample_nearest3d.default,vec(self=None, input=None, output_size=None, scale_factors=None, "
     "scales_d=None, "
     "scales_h=None, scales_w=None)",
     nearest<3, false>},
    {"_upsample_nearest_exact1d.default,vec(self=None, input=None, output_size=None, "
     "scale_factors=None, "
     "scales=None)",
     nearest<1, true>},
    {"_upsample_nearest_exact2d.default,vec(self=None, input=None, output_size=None, "
     "scale_factors=None, "
     "scales_h=None, scales_w=None)",
     nearest<2, true>},
    {"_upsample_nearest_exact3d.default,vec(self=None, input=None, output_size=None, "
     "scale_factors=None, "
     "scales_d=None, scales_h=None, scales_w=None)",
     nearest<3, true>},
    {"upsample_linear1d.default,vec(self=None, input=None, output_size=None, align_corners=False, "
     "scale_factors=None, scales=None)",
     linear<1>},
    {"upsample_bilinear2d.default,vec(self=None, input=None, output_size=None, "
     "align_corners=False, "
     "scale_factors=None, scales_h=None, scales_w=None)",
     linear<2>},
    {"upsample_trilinear3d.default,vec(self=None, input=None, output_size=None, "
     "align_corners=False, "
     "scale_factors=None, scales_d=None, scales_h=None, scales_w=None)",
     linear<3>},
    {"upsample_bicubic2d.default,vec(self=None, input=None, output_size=None, align_corners=False, "
     "scale_factors=None, scales_h=None, scales_w=None)",
     bicubic},
    {"grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)", grid_sampler},
    {"grid_sampler_2d(input, grid, interpolation_mode, padding_mode, align_corners)", grid_sampler},
    {"grid_sampler_3d(input, grid, interpolation_mode, padding_mode, align_corners)", grid_sampler},
    {"im2col(self, kernel_size, dilation, padding, stride)", im2col},
    {"col2im(self, output_size, kernel_size, dilation, padding, stride)", col2im},
    {"pixel_shuffle(self, upscale_factor)", pixel_shuffle},
    {"pixel_unshuffle(self, downscale_factor)", pixel_unshuffle},
    {"channel_shuffle(self, groups)", channel_shuffle},
    {"native_channel_shuffle(self, groups)", channel_shuffle},
};

}  // namespace

extern const AtenTable k_resize;
const AtenTable k_resize = kOps;

}  // namespace regraft::lowering::aten
