#include "backends/cpu/run/gemv.h"

#include <algorithm>

#include "backends/cpu/run/row_epilogue.h"
#include "backends/cpu/run/simd512.h"
#include "backends/cpu/run/vector_math.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kLanes = 16;
// Columns of the result that one call computes; their sums go to a buffer on the stack.
constexpr int64_t kBlock = 64;

struct GemvTile {
  const float* x;      // [rows][depth], dense.
  const void* weight;  // First of `columns` rows.
  int64_t weight_row, depth, columns, rows;
  float* sums;  // [rows][kBlock]
};

template <typename T>
struct PlainGemv {
  REGRAFT_INLINE static void run(const GemvTile* tile) {
    for (int64_t n = 0; n < tile->columns; ++n) {
      const T* const weight = static_cast<const T*>(tile->weight) + n * tile->weight_row;
      for (int64_t m = 0; m < tile->rows; ++m) {
        const float* const x = tile->x + m * tile->depth;
        float lanes[kLanes] = {};
        int64_t k = 0;
        for (; k + kLanes <= tile->depth; k += kLanes) {
          for (int64_t l = 0; l < kLanes; ++l)
            lanes[l] += x[k + l] * load_float(weight[k + l]);
        }
        for (int64_t l = 0; k + l < tile->depth; ++l) {
          lanes[l] += x[k + l] * load_float(weight[k + l]);
        }
        float sum = 0;
        for (int64_t l = 0; l < kLanes; ++l)
          sum += lanes[l];
        tile->sums[m * kBlock + n] = sum;
      }
    }
  }
};

// Four columns at a time: four streams of memory, and four uses of every load of x.
template <typename T, int kRows, int kColumns>
REGRAFT_V512 void dot_block(const GemvTile& tile, int64_t n) {
  const T* const weight = static_cast<const T*>(tile.weight) + n * tile.weight_row;
  __m512 sums[kRows][kColumns];
  for (int m = 0; m < kRows; ++m) {
    for (int c = 0; c < kColumns; ++c)
      sums[m][c] = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < tile.depth; k += kLanes) {
    const __mmask16 mask = lane_mask(std::min(kLanes, tile.depth - k));
    __m512 x[kRows];
    for (int m = 0; m < kRows; ++m)
      x[m] = load16(tile.x + m * tile.depth + k, mask);
    for (int c = 0; c < kColumns; ++c) {
      const __m512 w = load16(weight + c * tile.weight_row + k, mask);
      for (int m = 0; m < kRows; ++m)
        sums[m][c] = _mm512_fmadd_ps(x[m], w, sums[m][c]);
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int c = 0; c < kColumns; ++c) {
      tile.sums[m * kBlock + n + c] = _mm512_reduce_add_ps(sums[m][c]);
    }
  }
}

template <typename T, int kRows>
[[REGRAFT_TARGET_AVX512]] void gemv_avx512(const GemvTile* tile) {
  int64_t n = 0;
  for (; n + 4 <= tile->columns; n += 4)
    dot_block<T, kRows, 4>(*tile, n);
  for (; n < tile->columns; ++n)
    dot_block<T, kRows, 1>(*tile, n);
}

using TileFunction = void (*)(const GemvTile*);

template <typename T>
TileFunction choose(int64_t rows) {
  if (isa() != Isa::Avx512) return select<PlainGemv<T>, const GemvTile*>(isa());
  switch (rows) {
    case 1:
      return &gemv_avx512<T, 1>;
    case 2:
      return &gemv_avx512<T, 2>;
    case 3:
      return &gemv_avx512<T, 3>;
    default:
      return &gemv_avx512<T, 4>;
  }
}

class GemvKernel final : public Kernel {
 public:
  GemvKernel(const GemmProblem& problem, const GemmInputs& inputs)
      : inputs_(inputs),
        rows_(problem.rows()),
        depth_(problem.depth()),
        columns_(problem.columns()),
        weight_row_(problem.weight.view.strides[1]),
        out_row_(problem.out.view.strides[0]),
        weight_size_(static_cast<int64_t>(item_size(problem.weight.operand->dtype))),
        out_size_(static_cast<int64_t>(item_size(problem.out.operand->dtype))),
        store_(store_row_function(problem.out.operand->dtype)) {
    const Operand& x = *problem.x.operand;
    x_ = Conversion::of_source(x, DType::F32, contiguous_strides(x.dims), workspace_);
    std::vector<DType> types;
    for (const GemmProblem::Side& side : problem.operands) {
      types.push_back(side.operand->dtype);
      operand_rows_.push_back(side.view.dims[0] == 1 ? 0 : side.view.strides[0]);
      operand_sizes_.push_back(static_cast<int64_t>(item_size(side.operand->dtype)));
    }
    epilogue_ = RowEpilogue(problem.epilogue, types);
    if (problem.bias != nullptr) {
      const DType type = problem.bias->dtype;
      bias_size_ = static_cast<int64_t>(item_size(type));
      add_bias_ = RowEpilogue({{"add", {}}}, std::span(&type, 1));
    }
    tile_ = problem.weight.operand->dtype == DType::F32 ? choose<float>(rows_)
                                                        : choose<BFloat16>(rows_);
  }

  void run(const KernelArguments& arguments) const override {
    const auto* const x =
        static_cast<const float*>(x_.source(arguments.inputs[inputs_.x], arguments.workspace));
    const int64_t blocks = (columns_ + kBlock - 1) / kBlock;
    constexpr int64_t kGrain = 1 << 16;  // Products that are worth a thread.
    base::parallel_for(blocks, kGrain / (depth_ * kBlock) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block)
        run_block(arguments, x, block * kBlock);
    });
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return isa() == Isa::Avx512 ? "gemv:avx512" : "gemv"; }

 private:
  void run_block(const KernelArguments& arguments, const float* x, int64_t first) const {
    alignas(64) float sums[kGemvRows * kBlock];
    const auto at = [](const void* base, int64_t offset) {
      return static_cast<const char*>(base) + offset;
    };
    GemvTile tile;
    tile.x = x;
    tile.weight = at(arguments.inputs[inputs_.weight], first * weight_row_ * weight_size_);
    tile.weight_row = weight_row_;
    tile.depth = depth_;
    tile.columns = std::min(kBlock, columns_ - first);
    tile.rows = rows_;
    tile.sums = sums;
    tile_(&tile);
    for (int64_t m = 0; m < rows_; ++m) {
      float* const row = sums + m * kBlock;
      if (bias_size_ != 0) {
        add_bias_.apply(row, tile.columns,
                        {at(arguments.inputs[*inputs_.bias], first * bias_size_)});
      }
      RowEpilogue::Operands operands{};
      for (size_t i = 0; i < operand_rows_.size(); ++i) {
        operands[i] = at(arguments.inputs[inputs_.first_operand + i],
                         (m * operand_rows_[i] + first) * operand_sizes_[i]);
      }
      epilogue_.apply(row, tile.columns, operands);
      store_(row, static_cast<char*>(arguments.outputs[0]) + (m * out_row_ + first) * out_size_,
             tile.columns);
    }
  }

  GemmInputs inputs_;
  int64_t rows_, depth_, columns_, weight_row_, out_row_, weight_size_, out_size_;
  int64_t bias_size_ = 0;
  StoreRow store_;
  TileFunction tile_ = nullptr;
  Workspace workspace_;
  Conversion x_;
  RowEpilogue add_bias_, epilogue_;
  std::vector<int64_t> operand_rows_, operand_sizes_;
};

}  // namespace

std::unique_ptr<Kernel> make_gemv(const GemmProblem& problem, const GemmInputs& inputs) {
  const auto is_known = [](DType type) { return type == DType::F32 || type == DType::BF16; };
  const auto is_native = [&](const GemmProblem::Side& side) {
    return is_known(side.operand->dtype) && side.lies == side.operand->strides;
  };
  const Operand& weight = *problem.weight.operand;
  const bool fits = problem.out.view.dims.size() == 2 && problem.rows() <= kGemvRows &&
                    problem.rows() > 0 && problem.depth() > 0 && weight.packing.is_plain() &&
                    is_known(weight.dtype) && problem.weight.view.strides[0] == 1 &&
                    is_known(problem.x.operand->dtype) && is_native(problem.out) &&
                    problem.operands.size() <= std::tuple_size_v<RowEpilogue::Operands> &&
                    std::all_of(problem.operands.begin(), problem.operands.end(), is_native) &&
                    (problem.bias == nullptr || is_known(problem.bias->dtype));
  if (!fits) return nullptr;
  return std::make_unique<GemvKernel>(problem, inputs);
}

}  // namespace regraft::cpu
