#pragma once

#include <optional>
#include <span>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// Kernels for images [N, C, H, W] that lie as [N, H, W, C]. Nothing where they do not, or where the
// channels are no whole vectors.

struct PoolWindow {
  Dims kernel, stride, padding, dilation;
  bool is_max = true;
  int64_t divisor = 0;  // Of averages; 0: the number of elements.
  bool counts_padding = false;
};
std::optional<Launch> try_make_pool(CudaDevice& device, const LaunchOperand& x,
                                    const LaunchOperand& out, const PoolWindow& window);

// A convolution of each channel by itself, with its epilogue. The weight's channels are neighbours
// in memory: order 2,3,1,0.
std::optional<Launch> try_make_depthwise(CudaDevice& device, const KernelRequest& request,
                                         const LaunchOperand& weight);

// A tensor with its channels filled up to 8 with zeros: a copy of `from` as `to`.
inline constexpr int64_t kPaddedChannels = 8;
struct ChannelPadding {
  LaunchOperand from;
  Place to;
};
// One or two of them, of one dtype.
Launch make_pad_channels(CudaDevice& device, std::span<const ChannelPadding> paddings);

}  // namespace regraft::cuda
