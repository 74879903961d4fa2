#include "backends/cuda/run/channels_last.h"

#include <algorithm>
#include <limits>

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/epilogue.h"
#include "backends/cuda/run/pointwise_source.h"

namespace regraft::cuda {
namespace {

constexpr unsigned kThreads = 128;
// Threads and offsets in an image have 32 bits.
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

int64_t vector_of(DType dtype) { return 16 / static_cast<int64_t>(item_size(dtype)); }

// Channels lie next to each other, all else in multiples of a vector.
bool is_channels_last(const LaunchOperand& image) {
  const int64_t width = vector_of(image.dtype);
  const Dims& s = image.strides;
  return image.dims.size() == 4 && is_narrow_float(image.dtype) && image.alignment % 16 == 0 &&
         s[1] == 1 && image.dims[1] % width == 0 && s[0] % width == 0 && s[2] % width == 0 &&
         s[3] % width == 0 && numel(image.dims) <= kMost;
}

void add_steps(Launch::Words& words, const LaunchOperand& image) {
  for (const size_t axis : {0, 2, 3})
    words.add(image.strides[axis]);
}

std::string window_defines(const Dims& kernel, const Dims& stride, const Dims& padding,
                           const Dims& dilation) {
  std::string text;
  const auto add = [&](std::string_view name, const Dims& values) {
    text +=
        base::cat("#define ", name, "_H ", values[0], "\n#define ", name, "_W ", values[1], "\n");
  };
  add("KERNEL", kernel);
  add("STRIDE", stride);
  add("PADDING", padding);
  add("DILATION", dilation);
  return text;
}

unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

// Channels and places of a row that one thread has: fewer where there is little work.
struct Share {
  int64_t width = 1, tile = 1;
};

Share share_of(const LaunchOperand& out, int64_t stride, int64_t multiprocessors) {
  const int64_t enough = multiprocessors * 512;
  Share share{vector_of(out.dtype), stride == 1 ? 4 : 2};
  const auto threads = [&] {
    return numel(out.dims) / out.dims[3] / share.width *
           ((out.dims[3] + share.tile - 1) / share.tile);
  };
  while (share.tile > 1 && threads() < enough)
    share.tile /= 2;
  while (share.width > 2 && threads() < enough)
    share.width /= 2;
  return share;
}

}  // namespace

std::optional<Launch> try_make_pool(CudaDevice& device, const LaunchOperand& x,
                                    const LaunchOperand& out, const PoolWindow& window) {
  constexpr int64_t kMostTaps = 64;
  if (!is_channels_last(x) || !is_channels_last(out) || x.dtype != out.dtype ||
      window.kernel.size() != 2 || numel(window.kernel) > kMostTaps || numel(out.dims) == 0) {
    return std::nullopt;
  }
  const int64_t width = vector_of(x.dtype);
  const std::string source =
      base::cat(kernel_source("prelude"), kernel_source("vectors"), "typedef ", type_name(x.dtype),
                " T0;\n#define WIDTH ", width, "\n#define IS_MAX ", window.is_max ? 1 : 0, "\n",
                window_defines(window.kernel, window.stride, window.padding, window.dilation),
                kernel_source("pool"));
  const int64_t count = numel(out.dims) / width;
  Launch::Words words;
  words.add(x.place);
  words.add(out.place);
  for (const int64_t word :
       {count, x.dims[1] / width, x.dims[2], x.dims[3], out.dims[2], out.dims[3]}) {
    words.add(word);
  }
  add_steps(words, x);
  add_steps(words, out);
  words.add(window.divisor);
  words.add(int64_t{window.counts_padding ? 1 : 0});
  return Launch(device.function(source), std::move(words), blocks_for(count), kThreads);
}

std::optional<Launch> try_make_depthwise(CudaDevice& device, const KernelRequest& request,
                                         const LaunchOperand& weight) {
  const Attributes& attributes = request.attributes;
  const LaunchOperand x = input_of(request, 0), out = output_of(request, 0);
  const bool has_bias = is_present(request.inputs, 2);
  const Epilogue items = epilogue_of(request);
  const int64_t channels = out.dims[1];
  if (!is_channels_last(x) || !is_channels_last(out) || x.dims[1] != channels ||
      attributes.integer("groups") != channels || weight.dims[1] != 1 || x.dtype != out.dtype ||
      weight.dtype != x.dtype || weight.strides[0] != 1 || weight.alignment % 16 != 0 ||
      numel(out.dims) == 0) {
    return std::nullopt;
  }
  if (weight.strides[3] != channels || weight.strides[2] != channels * weight.dims[3]) {
    return std::nullopt;
  }
  if (has_bias) {
    const Operand& bias = request.inputs[2];
    if (bias.dtype != x.dtype || bias.strides[0] != 1 || bias.alignment % 16 != 0) {
      return std::nullopt;
    }
  }
  const auto needs_operand = [](const EpilogueItem& item) { return item.is_binary(); };
  if (std::any_of(items.begin(), items.end(), needs_operand)) return std::nullopt;
  const Dims kernel(weight.dims.begin() + 2, weight.dims.end());
  constexpr int64_t kMostTaps = 64, kMostSpan = 16;
  const Dims stride = attributes.integers("stride"), dilation = attributes.integers("dilation");
  const Share share = share_of(out, stride[1], device.multiprocessors());
  const int64_t span = (share.tile - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1;
  if (numel(kernel) > kMostTaps || span > kMostSpan) return std::nullopt;
  const std::string source = base::cat(
      pointwise_prelude(), "typedef ", type_name(x.dtype),
      " T;\ntypedef float real;\n#define WIDTH ", share.width, "\n#define TILE ", share.tile,
      "\n#define HAS_BIAS ", has_bias ? 1 : 0, "\n",
      window_defines(kernel, stride, attributes.integers("padding"), dilation),
      "__device__ inline T finish(float x0) {\n", pointwise_statements(epilogue_program(items)),
      "      return to<T>(result);\n}\n", kernel_source("depthwise"));
  const int64_t tiles = (out.dims[3] + share.tile - 1) / share.tile;
  const int64_t vectors = channels / share.width;
  const int64_t count = vectors * tiles * out.dims[2] * out.dims[0];
  Launch::Words words;
  for (const Place place :
       {x.place, weight.place, has_bias ? Place::input(2) : x.place, out.place}) {
    words.add(place);
  }
  for (const int64_t word :
       {count, vectors, x.dims[2], x.dims[3], out.dims[2], out.dims[3], tiles}) {
    words.add(word);
  }
  add_steps(words, x);
  add_steps(words, out);
  return Launch(device.function(source), std::move(words), blocks_for(count), kThreads);
}

Launch make_pad_channels(CudaDevice& device, std::span<const ChannelPadding> paddings) {
  const std::string source =
      base::cat(kernel_source("prelude"), kernel_source("vectors"), "typedef ",
                type_name(paddings[0].from.dtype), " T;\n#define PARTS ", paddings.size(), "\n",
                kernel_source("pad_channels"));
  Launch::Words words;
  int64_t rows = 0;
  for (const auto& [from, to] : paddings) {
    words.add(from.place);
    words.add(to);
    const int64_t count = numel(from.dims) / from.dims[1];
    rows += count;
    words.add(count);
    for (const size_t axis : {0, 2, 3})
      words.add(from.dims[axis]);
    add_steps(words, from);
    words.add(from.strides[1]);
    words.add(from.dims[1]);
  }
  constexpr unsigned kPadThreads = 256;
  const int64_t most = int64_t{device.multiprocessors()} * 32;
  const int64_t blocks = std::min((rows + kPadThreads - 1) / kPadThreads, most);
  return {device.function(source), std::move(words), static_cast<unsigned>(blocks), kPadThreads};
}

}  // namespace regraft::cuda
