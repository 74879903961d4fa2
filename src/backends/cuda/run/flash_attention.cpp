#include <algorithm>

#include "backends/cuda/run/attention.h"
#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/tuner.h"

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
  // Places within a tile are ints.
  constexpr int64_t kLongestRow = int64_t{1} << 23;
  return std::abs(operand.strides[rank - 2]) < kLongestRow;
}

// Neighbours along the keys can be read two at a time.
bool is_in_pairs(const LaunchOperand& mask) {
  const size_t rank = mask.dims.size();
  if (mask.strides[rank - 1] != 1 || mask.dims[rank - 1] % 2 != 0) return false;
  return std::all_of(mask.strides.begin(), mask.strides.end() - 1,
                     [](int64_t stride) { return stride % 2 == 0; }) &&
         mask.alignment % 2 == 0;
}

// How a block divides its work: `groups` of `warps`, each with `fragments` times 16 queries, share
// the tiles of keys.
struct Shape {
  int64_t warps = 4, fragments = 1, groups = 1, tile = 64;

  int64_t rows() const { return warps * 16 * fragments; }
  size_t shared_bytes(int64_t width) const {
    return static_cast<size_t>((rows() + 4 * tile * groups) * (width + 8) * 2);
  }
  std::string id() const {
    return base::cat("flash:", warps, ".", fragments, ".", groups, ".", tile);
  }
};

int64_t width_of(const AttentionProblem& problem) { return (problem.features + 15) / 16 * 16; }

// The first is the best guess.
std::vector<Shape> shapes_of(const AttentionProblem& problem, int64_t multiprocessors) {
  constexpr int64_t kWide = 128, kSmall = int64_t{1} << 16, kMostInOneTile = 96;
  // What every GPU from 8.0 on has.
  constexpr size_t kMostShared = size_t{96} << 10;
  const int64_t width = width_of(problem), matrices = numel(problem.batch);
  const bool has_bits = problem.mask && problem.mask->dtype == DType::Bool;
  const int64_t tile = width > kWide ? 32 : 64;
  std::vector<Shape> shapes;
  if (matrices * ((problem.queries + 63) / 64) < multiprocessors) {
    // Few queries: smaller blocks, so that more of the chip has one, and more warps in each.
    Shape split{2, 1, 4, 32};
    while (split.groups > 1 && (split.shared_bytes(width) > kMostShared ||
                                split.groups * split.tile >= problem.keys + split.tile)) {
      split.groups /= 2;
    }
    if (split.groups > 1) {
      shapes.push_back(split);
      if (split.groups > 2) shapes.push_back({2, 1, 2, 32});
      shapes.push_back({1, 1, split.groups, 32});
    }
  }
  shapes.push_back({4, 1, 1, tile});
  // Of work that takes no time, the first.
  const bool is_small = matrices * problem.queries * problem.keys < kSmall;
  if (is_small) shapes.resize(1);
  if (is_small || shapes.size() > 1) return shapes;
  const int64_t all_keys = (problem.keys + 15) / 16 * 16;
  // Twice the queries of a warp, where registers hold their sums; a mask takes some, too.
  constexpr int64_t kMostInPairs = 80, kMostWithBits = 64;
  if (problem.mask ? has_bits && width <= kMostWithBits : width <= kMostInPairs) {
    shapes.push_back({4, 2, 1, 64});
    shapes.push_back({4, 2, 1, 32});
  }
  shapes.push_back({8, 1, 1, tile});
  // More queries read each key once, and more keys meet at once.
  constexpr int64_t kLong = 512;
  if (width <= kMostInPairs && problem.queries >= 2 * kLong && !problem.mask)
    shapes.push_back({8, 2, 1, 64});
  if (width <= kMostInPairs && problem.keys >= kLong && !has_bits) shapes.push_back({8, 1, 1, 128});
  if (all_keys <= (has_bits ? 64 : kMostInOneTile) && all_keys != tile && width <= kWide)
    shapes.push_back({4, 1, 1, all_keys});
  std::erase_if(shapes, [&](const Shape& s) { return s.shared_bytes(width) > kMostShared; });
  return shapes;
}

int64_t row_of(const LaunchOperand& operand) { return operand.strides[operand.dims.size() - 2]; }

std::string source_of(const AttentionProblem& problem, const Shape& shape, bool folds_scale) {
  const DType dtype = problem.out.dtype;
  const DType mask_type = problem.mask ? problem.mask->dtype : DType::Bool;
  std::string source(kernel_source("prelude"));
  source += base::cat("typedef ", type_name(dtype), " E;\ntypedef ", type_name(mask_type),
                      " MASK;\n#define IS_BF16 ", dtype == DType::BF16 ? 1 : 0, "\n#define WARPS ",
                      shape.warps, "\n#define FRAGMENTS ", shape.fragments, "\n#define GROUPS ",
                      shape.groups, "\n#define TILE ", shape.tile, "\n#define FEATURES ",
                      problem.features, "\n#define WIDTH ", width_of(problem), "\n#define CAUSAL ",
                      problem.causal ? 1 : 0, "\n#define FOLDS_SCALE ", folds_scale ? 1 : 0,
                      "\n#define HAS_MASK ", problem.mask ? 1 : 0, "\n#define MASK_IS_BOOL ",
                      mask_type == DType::Bool ? 1 : 0, "\n#define MASK_IN_PAIRS ",
                      problem.mask && is_in_pairs(*problem.mask) ? 1 : 0, "\n");
  source += kernel_source("flash_attention");
  return source;
}

Launch make_flash(CudaDevice& device, const AttentionProblem& problem, const Shape& shape) {
  const int64_t matrices = numel(problem.batch), width = width_of(problem);
  const int64_t tiles = (problem.queries + shape.rows() - 1) / shape.rows();
  // Not where numbers of a mask are added to the scaled scores.
  const bool adds_mask = problem.mask && problem.mask->dtype != DType::Bool;
  const bool folds_scale = problem.scale > 0 && !adds_mask;
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
  const CUfunction function = device.function(source_of(problem, shape, folds_scale));
  device.allow_shared(function, shared);
  return Launch(function, std::move(words), static_cast<unsigned>(matrices * tiles),
                static_cast<unsigned>(shape.warps * shape.groups * 32), shared);
}

bool is_flash(const AttentionProblem& problem) {
  constexpr int64_t kMostFeatures = 256;
  const DType dtype = problem.out.dtype;
  const int64_t features = problem.features;
  if ((dtype != DType::F16 && dtype != DType::BF16) || features % kVector != 0 ||
      features > kMostFeatures || problem.out.dims.back() != features ||
      problem.batch.size() > kMaxRank) {
    return false;
  }
  return is_readable(problem.query) && is_readable(problem.key) && is_readable(problem.value) &&
         is_readable(problem.out);
}

// All that the speed of a shape depends on.
std::string problem_of(const AttentionProblem& problem) {
  std::string text =
      base::cat("flash ", name(problem.out.dtype), " ", numel(problem.batch), "x", problem.queries,
                "x", problem.keys, "x", problem.features, " causal ", problem.causal ? 1 : 0,
                " mask ", problem.mask ? name(problem.mask->dtype) : "none", " rows");
  for (const LaunchOperand* operand :
       {&problem.query, &problem.key, &problem.value, &problem.out}) {
    text += base::cat(" ", row_of(*operand));
  }
  return text;
}

}  // namespace

std::unique_ptr<Kernel> try_make_flash(CudaDevice& device, const KernelRequest& request,
                                       const AttentionProblem& problem) {
  if (!is_flash(problem)) return nullptr;
  std::vector<Shape> shapes = shapes_of(problem, device.multiprocessors());
  Tuner& tuner = tuner_of(device);
  const std::string text = problem_of(problem);
  const auto known = tuner.known(request, text, "flash:");
  const auto chosen = std::find_if(shapes.begin(), shapes.end(), [&](const Shape& shape) {
    return known && shape.id() == *known;
  });
  if (chosen != shapes.end()) {
    shapes = {*chosen};
  } else if (!Tuner::may_time(request)) {
    shapes.resize(1);
  }
  std::vector<Launch> launches;
  for (const Shape& shape : shapes)
    launches.push_back(make_flash(device, problem, shape));
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < shapes.size(); ++i) {
    candidates.push_back(
        {shapes[i].id(), 0, [&launches, i](const KernelArguments& a) { launches[i].run(a); }});
  }
  const bool times = shapes.size() > 1 && !device.only_compiles();
  const size_t taken = times ? tuner.fastest(request, text, candidates) : 0;
  return make_kernel(std::move(launches[taken]), shapes[taken].id());
}

}  // namespace regraft::cuda
