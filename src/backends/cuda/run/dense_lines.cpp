#include "backends/cuda/run/dense_lines.h"

#include <algorithm>
#include <bit>

#include "backends/cuda/run/compiler.h"

namespace regraft::cuda {
namespace {

constexpr int64_t kVectorBytes = 16;

// Elements that all operands of these widths move in at most 16 bytes.
int64_t width_of(const LaunchOperand& x, const LaunchOperand& out) {
  return kVectorBytes / static_cast<int64_t>(std::max(item_size(x.dtype), item_size(out.dtype)));
}

bool is_aligned(const LaunchOperand& operand) { return operand.alignment % kVectorBytes == 0; }

std::string typedefs(const LineSpec& spec) {
  return base::cat("typedef ", type_name(spec.operands[0].dtype), " T0;\ntypedef ",
                   type_name(spec.operands[1].dtype), " T1;\n", spec.defines);
}

// Threads of a row: many for few rows, so that more of the chip works.
struct RowShape {
  int64_t warps = 1, rows = 4, vectors = 1;
};

std::optional<RowShape> row_shape(int64_t vectors, int64_t rows, int64_t multiprocessors) {
  constexpr int64_t kMostVectors = 4, kMostWarps = 16, kWarp = 32;
  RowShape shape;
  const int64_t all = (vectors + kWarp - 1) / kWarp;
  const bool few = rows < multiprocessors * 16;
  shape.warps = few ? all : (all + kMostVectors - 1) / kMostVectors;
  shape.warps = std::min(shape.warps, kMostWarps);
  shape.vectors = (all + shape.warps - 1) / shape.warps;
  if (shape.vectors > 2 * kMostVectors) return std::nullopt;
  if (shape.warps > 1) shape.rows = 1;
  return shape;
}

}  // namespace

std::optional<Launch> try_make_row_norm(CudaDevice& device, const LineSpec& spec) {
  const std::vector<LaunchOperand> kept = line_axes(spec, false), line = line_axes(spec, true);
  const LaunchOperand &x = spec.operands[0], &out = spec.operands[1];
  if (!is_narrow_float(x.dtype) || !is_narrow_float(out.dtype)) return std::nullopt;
  if (kept[0].dims.size() > 1 || line[0].dims.size() > 1) return std::nullopt;
  const int64_t width = width_of(x, out), length = line[0].dims[0];
  const int64_t rows = numel(kept[0].dims);
  if (length % width != 0 || length < width || rows == 0) return std::nullopt;
  for (size_t k = 0; k < line.size(); ++k) {
    const int64_t row = kept[k].strides.empty() ? 0 : kept[k].strides[0];
    const bool dense = line[k].strides[0] == 1 && is_aligned(line[k]);
    if (!dense || (k < 2 ? row % width != 0 : row != 0)) return std::nullopt;
    if (k >= 2 && !is_narrow_float(line[k].dtype)) return std::nullopt;
  }
  const auto shape = row_shape(length / width, rows, device.multiprocessors());
  if (!shape) return std::nullopt;
  const std::string source = base::cat(
      kernel_source("prelude"), kernel_source("vectors"), typedefs(spec), "#define LENGTH ", length,
      "\n#define WIDTH ", width, "\n#define WARPS ", shape->warps, "\n#define ROWS ", shape->rows,
      "\n#define VECTORS ", shape->vectors, "\n", kernel_source("row_norm"));
  Launch::Words words;
  for (const LaunchOperand& operand : spec.operands)
    words.add(operand.place);
  words.add(rows);
  for (size_t k = 0; k < 2; ++k)
    words.add(kept[k].strides.empty() ? int64_t{0} : kept[k].strides[0]);
  words.add(spec.numbers[0]);
  const auto blocks = static_cast<unsigned>((rows + shape->rows - 1) / shape->rows);
  return Launch(device.function(source), std::move(words), blocks,
                static_cast<unsigned>(shape->warps * shape->rows * 32));
}

std::optional<Launch> try_make_column_reduce(CudaDevice& device, const LineSpec& spec,
                                             std::string_view op) {
  const std::vector<LaunchOperand> kept = line_axes(spec, false), line = line_axes(spec, true);
  const LaunchOperand &x = spec.operands[0], &out = spec.operands[1];
  const size_t rank = kept[0].dims.size();
  if ((op != "mean" && op != "sum") || !is_narrow_float(x.dtype) || x.dtype != out.dtype ||
      rank == 0 || rank > 2 || line[0].dims.size() != 1) {
    return std::nullopt;
  }
  const int64_t width = width_of(x, out), columns = kept[0].dims[rank - 1];
  const int64_t matrices = rank == 2 ? kept[0].dims[0] : 1, length = line[0].dims[0];
  const int64_t step = line[0].strides[0];
  if (columns % width != 0 || columns == 0 || matrices == 0 || step % width != 0) {
    return std::nullopt;
  }
  for (size_t k = 0; k < 2; ++k) {
    const bool steps = rank == 1 || kept[k].strides[0] % width == 0;
    if (kept[k].strides[rank - 1] != 1 || !steps || !is_aligned(kept[k])) return std::nullopt;
  }
  constexpr int64_t kMostColumns = 8, kThreads = 256, kLong = 1024;
  const int64_t vectors = columns / width;
  const auto wide = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(vectors)));
  const int64_t across = std::min(kMostColumns, wide);
  const int64_t rows = (length > kLong ? 2 : 1) * kThreads / across;
  const int64_t tiles = (vectors + across - 1) / across;
  const std::string source =
      base::cat(kernel_source("prelude"), kernel_source("vectors"), typedefs(spec),
                "#define COLUMNS ", across, "\n#define ROWS ", rows, "\n#define WIDTH ", width,
                "\n", kernel_source("column_reduce"));
  Launch::Words words;
  for (const LaunchOperand& operand : spec.operands)
    words.add(operand.place);
  for (const int64_t word : {length, step, rank == 2 ? kept[0].strides[0] : int64_t{0},
                             rank == 2 ? kept[1].strides[0] : int64_t{0}, vectors, tiles}) {
    words.add(word);
  }
  return Launch(device.function(source), std::move(words), static_cast<unsigned>(matrices * tiles),
                static_cast<unsigned>(across * rows));
}

}  // namespace regraft::cuda
