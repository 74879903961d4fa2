#include "backends/cuda/run/pointwise_space.h"

#include <gtest/gtest.h>

namespace regraft::cuda {
namespace {

LaunchOperand operand(DType dtype, const Dims& dims, const Dims& strides, size_t alignment = 16) {
  return {Place::input(0), dtype, dims, strides, alignment};
}

Space space(const LaunchOperand& out, const std::vector<LaunchOperand>& inputs) {
  std::vector<const LaunchOperand*> operands = {&out};
  for (const LaunchOperand& input : inputs)
    operands.push_back(&input);
  return space_of(operands);
}

TEST(Space, MergesWhatIsWalkedEvenly) {
  const Dims dims = {2, 1, 3, 8}, row_major = {24, 24, 8, 1};
  const Space s =
      space(operand(DType::F32, dims, row_major), {operand(DType::F32, dims, row_major)});
  EXPECT_EQ(s.dims, Dims{48});
  EXPECT_EQ(s.vector, 4);
  EXPECT_EQ(s.items(), 12);
  EXPECT_FALSE(s.is_tiled());
}

TEST(Space, VectorsFitEveryOperand) {
  const Dims dims = {4, 6};
  const LaunchOperand out = operand(DType::F32, dims, {6, 1});
  EXPECT_EQ(space(out, {operand(DType::F32, dims, {0, 1})}).vector, 2) << "6 is no multiple of 4";
  EXPECT_EQ(space(out, {operand(DType::F32, dims, {7, 1})}).vector, 1) << "rows begin anywhere";
  EXPECT_EQ(space(out, {operand(DType::F32, dims, {6, 1}, 4)}).vector, 1) << "misaligned";
  EXPECT_EQ(space(out, {operand(DType::F32, dims, {1, 0})}).vector, 2) << "one number for each row";
}

TEST(Space, TurnsFiltersOverInTiles) {
  // Output channels, rows, columns, input channels <- output channels, input channels, ...
  const Dims dims = {64, 70, 3, 3};
  const Space s =
      space(operand(DType::BF16, dims, {630, 1, 210, 70}),
            {operand(DType::F32, dims, {1, 0, 0, 0}), operand(DType::F32, dims, {630, 9, 3, 1})});
  EXPECT_EQ(s.dims, (Dims{64, 9, 70}));
  EXPECT_EQ(s.tiled, 2);
  EXPECT_EQ(s.tile_axis, 1u);
  EXPECT_EQ(s.tile_rows, 128);
  EXPECT_EQ(s.tile_columns, 9);
  EXPECT_EQ(s.items(), 64);
  EXPECT_EQ(s.tile_vector, 2) << "a filter has 630 elements, one after the other";
  EXPECT_EQ(s.tile_stored, 2) << "4 bytes";
}

// Of the transposition of a [9, rows].
int64_t tile_stored(DType dtype, int64_t rows, int64_t pitch, size_t alignment = 16) {
  return space(operand(dtype, {9, rows}, {pitch, 1}, alignment),
               {operand(dtype, {9, rows}, {1, 9})})
      .tile_stored;
}

TEST(Space, TilesAreStoredInWords) {
  EXPECT_EQ(tile_stored(DType::F32, 64, 64), 1);
  EXPECT_EQ(tile_stored(DType::F16, 64, 64), 2);
  EXPECT_EQ(tile_stored(DType::U8, 64, 64), 4);
  EXPECT_EQ(tile_stored(DType::U8, 66, 66), 2) << "66 is no multiple of 4";
  EXPECT_EQ(tile_stored(DType::F16, 63, 64), 1) << "an odd number of rows";
  EXPECT_EQ(tile_stored(DType::F16, 64, 65), 1) << "columns begin anywhere";
  EXPECT_EQ(tile_stored(DType::F16, 64, 64, 2), 1) << "misaligned";
}

// Of a [4, rows, columns] whose last two axes change places, with some space behind the columns.
int64_t tile_vector(int64_t rows, int64_t columns, int64_t space_behind, size_t alignment = 16) {
  const Dims dims = {4, columns, rows};
  const int64_t pitch = columns + space_behind;
  return space(operand(DType::F32, dims, {rows * columns, rows, 1}),
               {operand(DType::F32, dims, {rows * pitch, 1, pitch}, alignment)})
      .tile_vector;
}

TEST(Space, TilesAreLoadedInVectors) {
  EXPECT_EQ(tile_vector(64, 9, 0), 4) << "across rows";
  EXPECT_EQ(tile_vector(64, 9, 1), 1) << "rows have gaps";
  EXPECT_EQ(tile_vector(63, 9, 0), 1) << "an odd number of elements";
  EXPECT_EQ(tile_vector(64, 9, 0, 8), 2) << "aligned to 8 bytes";
  EXPECT_EQ(tile_vector(63, 48, 16), 4) << "within rows";
  EXPECT_EQ(tile_vector(64, 49, 0), 1) << "more than a tile's columns";
}

TEST(Space, TilesFitIntoSharedMemory) {
  for (const DType dtype : {DType::U8, DType::BF16, DType::F32, DType::F64, DType::C128}) {
    for (const Dims& dims : {Dims{1000, 2}, Dims{2, 1000}, Dims{33, 65}, Dims{4096, 4096}}) {
      const Space s =
          space(operand(dtype, dims, {dims[1], 1}), {operand(dtype, dims, {1, dims[0]})});
      ASSERT_TRUE(s.is_tiled());
      EXPECT_LE(static_cast<size_t>(s.tile_rows *
                                    (s.tile_columns + (s.tile_is_dense ? 0 : s.tile_vector))) *
                    item_size(dtype),
                kTileBytes);
      EXPECT_EQ(s.tile_rows & (s.tile_rows - 1), 0);
      EXPECT_GE(s.items() * s.tile_rows * s.tile_columns, dims[0] * dims[1]);
    }
  }
}

}  // namespace
}  // namespace regraft::cuda
