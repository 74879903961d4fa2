#include "backends/cuda/run/packing.h"

#include <gtest/gtest.h>

#include "backends/cuda/run/backend.h"
#include "backends/cuda/run/channels_last.h"
#include "backends/cuda/run/kernel_group.h"
#include "backends/cuda/run/pointwise.h"
#include "regraft/error.h"

namespace regraft::cuda {
namespace {

const Dims kFilters = {64, 3, 7, 5};

backends::Operand filters(DType dtype = DType::F16) {
  backends::Operand operand;
  operand.present = operand.is_constant = true;
  operand.dtype = dtype;
  operand.dims = kFilters;
  operand.strides = contiguous_strides(kFilters);
  return operand;
}

ErrorCode code_of(const backends::Packing& packing) {
  try {
    packed_strides(packing, kFilters, DType::F16);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::Internal;
}

TEST(Packing, OrdersAndChannels) {
  const backends::Packing last = packing_of(filters(), channels_last(4));
  EXPECT_EQ(last.id, "order:0,2,3,1");
  EXPECT_EQ(packed_dims(last, kFilters), kFilters);
  EXPECT_EQ(packed_strides(last, kFilters, DType::F16), (Dims{105, 1, 15, 3}));
  const backends::Packing padded = packing_of(filters(), channels_last(4), 8);
  EXPECT_EQ(padded.id, "channels:8 order:0,2,3,1");
  EXPECT_EQ(padded.bytes, size_t{64} * 8 * 7 * 5 * 2);
  EXPECT_EQ(packed_dims(padded, kFilters), (Dims{64, 8, 7, 5}));
  EXPECT_EQ(packed_strides(padded, kFilters, DType::F16), (Dims{280, 1, 40, 8}));
  EXPECT_TRUE(packing_of(filters(), {0, 1, 2, 3}).is_plain());
}

TEST(Packing, OfAFileIsChecked) {
  const size_t dense = size_t{64} * 3 * 7 * 5 * 2, padded = dense / 3 * 8;
  EXPECT_EQ(code_of({"order:0,2,3,1", dense + 2}), ErrorCode::Corrupt);
  EXPECT_EQ(code_of({"channels:8 order:0,2,3,1", dense}), ErrorCode::Corrupt);
  for (const char* id :
       {"order:0,2,3", "order:0,2,3,3", "order:0,2,3,4", "order:0;2,3,1", "blocked"}) {
    EXPECT_EQ(code_of({id, dense}), ErrorCode::Unsupported) << id;
  }
  for (const char* id : {"channels:8", "channels:8order:0,2,3,1", "channels:3 order:0,2,3,1",
                         "channels:-8 order:0,2,3,1", "channels:999999999999 order:0,2,3,1"}) {
    EXPECT_EQ(code_of({id, padded}), ErrorCode::Unsupported) << id;
  }
}

// Zeros are written by the weight program, in the launch that writes the filters.
TEST(Packing, OfPaddedChannelsIsOneKernelOfTwoParts) {
  CudaDevice device("sm_90");
  const backends::Packing packing = packing_of(filters(), channels_last(4), 8);
  const auto kernel =
      run_backend().prepare_packing(device, filters(DType::F32), DType::F16, packing);
  const auto* pointwise = dynamic_cast<const PointwiseKernel*>(kernel.get());
  ASSERT_NE(pointwise, nullptr);
  ASSERT_EQ(pointwise->parts().size(), 2u);
  const LaunchOperand& zeros = pointwise->parts()[1].output;
  EXPECT_EQ(zeros.dims, (Dims{64, 5, 7, 5}));
  EXPECT_EQ(zeros.strides, (Dims{280, 1, 40, 8}));
  EXPECT_EQ(zeros.place.offset, 6u);
  const Kernel* const kernels[] = {kernel.get()};
  const PointwiseGroup group(device, kernels);  // Compiles.
  EXPECT_TRUE(group.takes(0));
  EXPECT_EQ(group.passes(0, 0), numel(kFilters));
}

TEST(Channels, ArePaddedByOneKernel) {
  CudaDevice device("sm_80");
  const LaunchOperand image{Place::input(0), DType::BF16, {2, 3, 9, 8}, {216, 72, 8, 1}, 16};
  const ChannelPadding paddings[] = {{image, Place::workspace(0)}, {image, Place::workspace(4096)}};
  EXPECT_NO_THROW(make_pad_channels(device, std::span(paddings).first(1)));
  EXPECT_NO_THROW(make_pad_channels(device, paddings));
}

}  // namespace
}  // namespace regraft::cuda
