#include <algorithm>

#include "backends/cuda/run/attention.h"
#include "backends/cuda/run/compiler.h"

namespace regraft::cuda {
namespace {

// Elements of 16 bytes: what a thread brings to shared memory at once.
constexpr int64_t kVector = 8;

bool is_readable(const LaunchOperand& operand) {
  const size_t rank = operand.dims.size();
  if (operand.alignment % 16 != 0) return false;
  if (operand.dims[rank - 1] > 1 && operand.strides[rank - 1] != 1) return false;
  for (size_t d = 0; d + 1 < rank; ++d) {
    if (operand.dims[d] > 1 && operand.strides[d] % kVector != 0) return false;
  }
  return true;
}

// Neighbours along the keys can be read two at a time.
bool is_in_pairs(const LaunchOperand& mask) {
  const size_t rank = mask.dims.size();
  if (mask.strides[rank - 1] != 1 || mask.dims[rank - 1] % 2 != 0) return false;
  return std::all_of(mask.strides.begin(), mask.strides.end() - 1,
                     [](int64_t stride) { return stride % 2 == 0; }) &&
         mask.alignment % 2 == 0;
}

// How a block divides its work: `groups` of `warps` share the tiles of keys.
struct Shape {
  int64_t warps = 4, groups = 1, tile = 64;

  size_t shared_bytes(int64_t width) const {
    return static_cast<size_t>((warps * 16 + 4 * tile * groups) * (width + 8) * 2);
  }
};

Shape shape_of(const AttentionProblem& problem, int64_t matrices, int64_t width,
               int64_t multiprocessors) {
  constexpr int64_t kWide = 128;
  // What every GPU from 8.0 on has.
  constexpr size_t kMostShared = size_t{96} << 10;
  Shape shape;
  if (width > kWide) shape.tile = 32;
  if (matrices * ((problem.queries + 63) / 64) >= multiprocessors) return shape;
  // Few queries: smaller blocks, so that more of the chip has one, and more warps in each.
  shape.warps = 2;
  Shape split{2, 4, 32};
  while (split.groups > 1 && (split.shared_bytes(width) > kMostShared ||
                              split.groups * split.tile >= problem.keys + split.tile)) {
    split.groups /= 2;
  }
  return split.groups > 1 ? split : shape;
}

int64_t row_of(const LaunchOperand& operand) { return operand.strides[operand.dims.size() - 2]; }

}  // namespace

std::optional<Launch> try_make_flash(CudaDevice& device, const AttentionProblem& problem) {
  const DType dtype = problem.out.dtype;
  const int64_t features = problem.features;
  constexpr int64_t kMostFeatures = 256;
  if ((dtype != DType::F16 && dtype != DType::BF16) || features % kVector != 0 ||
      features > kMostFeatures || problem.out.dims.back() != features ||
      problem.batch.size() > kMaxRank) {
    return std::nullopt;
  }
  for (const LaunchOperand* operand :
       {&problem.query, &problem.key, &problem.value, &problem.out}) {
    if (!is_readable(*operand)) return std::nullopt;
  }
  const int64_t matrices = numel(problem.batch);
  const int64_t width = (features + 15) / 16 * 16;
  const Shape shape = shape_of(problem, matrices, width, device.multiprocessors());
  const int64_t warps = shape.warps, tile = shape.tile, rows = warps * 16;
  const int64_t tiles = (problem.queries + rows - 1) / rows;
  const DType mask_type = problem.mask ? problem.mask->dtype : DType::Bool;
  std::string source(kernel_source("prelude"));
  source += base::cat(
      "typedef ", type_name(dtype), " E;\ntypedef ", type_name(mask_type),
      " MASK;\n#define IS_BF16 ", dtype == DType::BF16 ? 1 : 0, "\n#define WARPS ", warps,
      "\n#define GROUPS ", shape.groups, "\n#define TILE ", tile, "\n#define FEATURES ", features,
      "\n#define WIDTH ", width, "\n#define CAUSAL ", problem.causal ? 1 : 0, "\n#define HAS_MASK ",
      problem.mask ? 1 : 0, "\n#define MASK_IS_BOOL ", mask_type == DType::Bool ? 1 : 0,
      "\n#define MASK_IN_PAIRS ", problem.mask && is_in_pairs(*problem.mask) ? 1 : 0, "\n");
  source += kernel_source("flash_attention");

  const LaunchOperand& mask = problem.mask ? *problem.mask : problem.query;
  const LaunchOperand* operands[] = {&problem.query, &problem.key, &problem.value, &problem.out,
                                     &mask};
  Launch::Words words;
  for (const LaunchOperand* operand : operands)
    words.add(operand->place);
  words.add(problem.queries);
  words.add(problem.keys);
  words.add(tiles);
  for (const LaunchOperand* operand : operands)
    words.add(row_of(*operand));
  words.add(mask.strides.back());
  const size_t rank = problem.batch.size();
  words.add(static_cast<int64_t>(rank));
  for (size_t d = 0; d < kMaxRank; ++d)
    words.add(d < rank ? problem.batch[d] : int64_t{1});
  for (const LaunchOperand* operand : operands) {
    for (size_t d = 0; d < kMaxRank; ++d)
      words.add(d < rank ? operand->strides[d] : int64_t{0});
  }
  words.add(problem.scale);
  const auto shared = static_cast<unsigned>(shape.shared_bytes(width));
  const CUfunction function = device.function(source);
  device.allow_shared(function, shared);
  return Launch(function, std::move(words), static_cast<unsigned>(matrices * tiles),
                static_cast<unsigned>(warps * shape.groups * 32), shared);
}

}  // namespace regraft::cuda
