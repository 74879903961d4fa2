#include <algorithm>
#include <limits>

#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/vector_math.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kBlock = 64;
constexpr int64_t kLanes = 16;

struct Sum {
  static constexpr float kStart = 0.0F;
  REGRAFT_INLINE static float at(float a, float b) { return a + b; }
};
// NaN wins.
struct Most {
  static constexpr float kStart = -std::numeric_limits<float>::infinity();
  REGRAFT_INLINE static float at(float a, float b) { return ((a > b) | (a != a)) ? a : b; }
};
struct Least {
  static constexpr float kStart = std::numeric_limits<float>::infinity();
  REGRAFT_INLINE static float at(float a, float b) { return ((a < b) | (a != a)) ? a : b; }
};

// Elements x[r * row + c * lane] for r < rows, c < lanes are added to results[c].
struct Piece {
  const void* x;
  int64_t rows, row, lanes, lane;
  float* results;
};

// Results are neighbours in memory: one accumulator each.
template <typename Op, typename T>
struct Columns {
  REGRAFT_INLINE static void run(const Piece* piece) {
    float* const results = piece->results;
    for (int64_t r = 0; r < piece->rows; ++r) {
      const T* const x = static_cast<const T*>(piece->x) + r * piece->row;
      if (piece->lane == 1) {
        for (int64_t c = 0; c < piece->lanes; ++c) {
          results[c] = Op::at(results[c], load_float(x[c]));
        }
      } else {
        for (int64_t c = 0; c < piece->lanes; ++c) {
          results[c] = Op::at(results[c], load_float(x[c * piece->lane]));
        }
      }
    }
  }
};

// The elements of one result are neighbours in memory: sixteen accumulators.
template <typename Op, typename T>
struct Row {
  REGRAFT_INLINE static void run(const Piece* piece) {
    const T* const x = static_cast<const T*>(piece->x);
    float lanes[kLanes];
    for (int64_t l = 0; l < kLanes; ++l)
      lanes[l] = Op::kStart;
    int64_t r = 0;
    for (; r + kLanes <= piece->rows; r += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l)
        lanes[l] = Op::at(lanes[l], load_float(x[r + l]));
    }
    for (int64_t l = 0; r + l < piece->rows; ++l)
      lanes[l] = Op::at(lanes[l], load_float(x[r + l]));
    float result = piece->results[0];
    for (int64_t l = 0; l < kLanes; ++l)
      result = Op::at(result, lanes[l]);
    piece->results[0] = result;
  }
};

struct Loop {
  int64_t size, x, out;  // Strides in elements.
};

// Dimensions of one kind, outermost first; neighbours that step evenly are one.
void add_loop(std::vector<Loop>& loops, const Loop& loop) {
  if (loop.size == 1) return;
  if (!loops.empty() && loops.back().x == loop.x * loop.size &&
      loops.back().out == loop.out * loop.size) {
    loops.back() = {loops.back().size * loop.size, loop.x, loop.out};
  } else {
    loops.push_back(loop);
  }
}

int64_t product(const std::vector<Loop>& loops) {
  int64_t count = 1;
  for (const Loop& loop : loops)
    count *= loop.size;
  return count;
}

using PieceFunction = void (*)(const Piece*);

template <typename Op>
PieceFunction choose(DType type, bool by_row) {
  if (type == DType::F32) {
    return by_row ? select<Row<Op, float>, const Piece*>(isa())
                  : select<Columns<Op, float>, const Piece*>(isa());
  }
  return by_row ? select<Row<Op, BFloat16>, const Piece*>(isa())
                : select<Columns<Op, BFloat16>, const Piece*>(isa());
}

enum class Kind { Sum, Mean, Most, Least };

class ReduceKernel final : public Kernel {
 public:
  ReduceKernel(const KernelRequest& request, Kind kind, const std::vector<bool>& reduced)
      : from_(request.inputs[0].dtype),
        to_(request.outputs[0].dtype),
        x_item_(static_cast<int64_t>(item_size(from_))),
        out_item_(static_cast<int64_t>(item_size(to_))) {
    const Operand& x = request.inputs[0];
    const Operand& out = request.outputs[0];
    const bool keepdim = request.attributes.flag("keepdim");
    size_t o = 0;
    int64_t count = 1;
    std::vector<Loop> kept;
    for (size_t d = 0; d < x.dims.size(); ++d) {
      if (reduced[d]) {
        count *= x.dims[d];
        add_loop(reduced_, {x.dims[d], x.strides[d], 0});
        o += keepdim ? 1 : 0;
      } else {
        kept.push_back({x.dims[d], x.strides[d], out.strides[o++]});
      }
    }
    // Kept dimensions in the order of memory, so that channels-last tensors have a dense inner one.
    std::stable_sort(kept.begin(), kept.end(),
                     [](const Loop& a, const Loop& b) { return a.x > b.x; });
    for (const Loop& loop : kept)
      add_loop(kept_, loop);
    std::stable_sort(reduced_.begin(), reduced_.end(),
                     [](const Loop& a, const Loop& b) { return a.x > b.x; });
    by_row_ = !reduced_.empty() && reduced_.back().x == 1;
    if (!by_row_ && !kept_.empty()) {
      lanes_ = kept_.back();
      kept_.pop_back();
    }
    if (!reduced_.empty()) {
      rows_ = reduced_.back();
      reduced_.pop_back();
    }
    factor_ = kind == Kind::Mean ? 1.0F / static_cast<float>(count) : 1.0F;
    start_ = kind == Kind::Most ? Most::kStart : kind == Kind::Least ? Least::kStart : 0.0F;
    function_ = kind == Kind::Most    ? choose<Most>(from_, by_row_)
                : kind == Kind::Least ? choose<Least>(from_, by_row_)
                                      : choose<Sum>(from_, by_row_);
  }

  void run(const KernelArguments& arguments) const override {
    const int64_t blocks = (lanes_.size + kBlock - 1) / kBlock;
    const int64_t work = rows_.size * product(reduced_) * std::min(lanes_.size, kBlock);
    constexpr int64_t kGrain = 32768;  // Elements that are worth a thread.
    base::parallel_for(product(kept_) * blocks, kGrain / (work + 1) + 1,
                       [&](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; ++i) {
                           run_block(arguments, i / blocks, i % blocks * kBlock);
                         }
                       });
  }
  std::string tactic() const override { return by_row_ ? "rows" : "columns"; }

 private:
  void run_block(const KernelArguments& arguments, int64_t position, int64_t first) const {
    int64_t x = first * lanes_.x, out = first * lanes_.out;
    for (size_t i = kept_.size(); i-- > 0;) {
      const int64_t at = position % kept_[i].size;
      position /= kept_[i].size;
      x += at * kept_[i].x;
      out += at * kept_[i].out;
    }
    float results[kBlock];
    Piece piece;
    piece.rows = rows_.size;
    piece.row = rows_.x;
    piece.lanes = std::min(kBlock, lanes_.size - first);
    piece.lane = lanes_.x;
    piece.results = results;
    for (int64_t c = 0; c < piece.lanes; ++c)
      results[c] = start_;
    const int64_t outer = product(reduced_);
    for (int64_t r = 0; r < outer; ++r) {
      int64_t rest = r, offset = x;
      for (size_t i = reduced_.size(); i-- > 0;) {
        offset += rest % reduced_[i].size * reduced_[i].x;
        rest /= reduced_[i].size;
      }
      piece.x = static_cast<const char*>(arguments.inputs[0]) + offset * x_item_;
      function_(&piece);
    }
    for (int64_t c = 0; c < piece.lanes; ++c) {
      char* const to =
          static_cast<char*>(arguments.outputs[0]) + (out + c * lanes_.out) * out_item_;
      const float value = results[c] * factor_;
      if (to_ == DType::F32) {
        store_float(reinterpret_cast<float*>(to), value);
      } else {
        store_float(reinterpret_cast<BFloat16*>(to), value);
      }
    }
  }

  DType from_, to_;
  int64_t x_item_, out_item_;
  std::vector<Loop> kept_, reduced_;  // But for the innermost, below.
  Loop lanes_{1, 0, 0}, rows_{1, 0, 0};
  bool by_row_ = false;
  float factor_ = 1, start_ = 0;
  PieceFunction function_ = nullptr;
};

std::unique_ptr<Kernel> prepare(const KernelRequest& request, Kind kind) {
  const Operand& x = request.inputs[0];
  for (const DType dtype : {x.dtype, request.outputs[0].dtype}) {
    if (dtype != DType::F32 && dtype != DType::BF16) unsupported(request, "of ", name(dtype));
  }
  if (x.dims.empty() || numel(x.dims) == 0) unsupported(request, "0-d or empty");
  const bool all = request.attributes.is_none("dims") || request.attributes.sizes("dims").empty();
  std::vector<bool> reduced(x.dims.size(), all);
  if (!all) {
    for (const int64_t d : request.attributes.integers("dims")) {
      reduced[static_cast<size_t>(d < 0 ? d + static_cast<int64_t>(x.dims.size()) : d)] = true;
    }
  }
  return std::make_unique<ReduceKernel>(request, kind, reduced);
}
template <Kind kKind>
std::unique_ptr<Kernel> prepare_kind(const KernelRequest& request) {
  return prepare(request, kKind);
}

constexpr KernelDef kKernels[] = {{"sum", &prepare_kind<Kind::Sum>},
                                  {"mean", &prepare_kind<Kind::Mean>},
                                  {"amax", &prepare_kind<Kind::Most>},
                                  {"amin", &prepare_kind<Kind::Least>}};

}  // namespace

extern const KernelFile k_kernels_reduce;
const KernelFile k_kernels_reduce = kKernels;

}  // namespace regraft::cpu
