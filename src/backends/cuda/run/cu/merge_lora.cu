// Pieces: kind of the weight, base, result, rows, columns, number of terms, then for each term:
// left, right, strides of left (rows, rank), strides of right (rank, columns), rank, scale, kinds
// of left and right. A block of threads makes tiles of 64 x 64 elements below each other, a thread
// 4 x 4 elements of each. Products and sums are rounded apart and in order: the bits are those of
// refit/lora.h on the host.
constexpr int kTile = 64, kTilesOfBlock = 4, kRanks = 16, kWordsOfTerm = 9;

struct Tiles {
  float left[kRanks][kTile + 4];
  float right[kRanks][kTile];
};

template <typename T>
__device__ inline T plus(T base, float change) {
  return to<T>(__fadd_rn(to<float>(base), change));
}
__device__ inline double plus(double base, float change) { return base + (double)change; }

struct Term {
  u64 left, right;
  i64 left_row, left_rank, right_rank, right_column, rank;
  float scale;
  u64 left_kind, right_kind;
  __device__ explicit Term(const u64* words)
      : left(words[0]),
        right(words[1]),
        left_row((i64)words[2]),
        left_rank((i64)words[3]),
        right_rank((i64)words[4]),
        right_column((i64)words[5]),
        rank((i64)words[6]),
        scale(__uint_as_float((u32)words[7])),
        left_kind(words[8] & 3),
        right_kind(words[8] >> 2) {}
};

// The parts of the factors that begin at `rank`; zeros outside of them.
template <typename F>
__device__ inline void load_left(const Term& term, i64 first_row, i64 rows, i64 rank,
                                 Tiles& tiles) {
  const int r = threadIdx.x % kRanks, row = threadIdx.x / kRanks;
  const F* const from =
      global((const F*)term.left) + (first_row + row) * term.left_row + (rank + r) * term.left_rank;
#pragma unroll
  for (int i = 0; i < kTile; i += 256 / kRanks) {
    const bool is_inside = rank + r < term.rank && first_row + row + i < rows;
    tiles.left[r][row + i] = is_inside ? to<float>(from[i * term.left_row]) : 0.f;
  }
}

template <typename F>
__device__ inline void load_right(const Term& term, i64 first_column, i64 columns, i64 rank,
                                  Tiles& tiles) {
  const int r = threadIdx.x / kTile, column = threadIdx.x % kTile;
  const F* const from = global((const F*)term.right) + (rank + r) * term.right_rank +
                        (first_column + column) * term.right_column;
#pragma unroll
  for (int i = 0; i < kRanks; i += 256 / kTile) {
    const bool is_inside = rank + r + i < term.rank && first_column + column < columns;
    tiles.right[r + i][column] = is_inside ? to<float>(from[i * term.right_rank]) : 0.f;
  }
}

// Kinds: f16, bf16, f32, f64.
#define REGRAFT_OF_KIND(kind, load, ...) \
  switch (kind) {                        \
    case 0:                              \
      load<f16>(__VA_ARGS__);            \
      break;                             \
    case 1:                              \
      load<bf16>(__VA_ARGS__);           \
      break;                             \
    case 2:                              \
      load<float>(__VA_ARGS__);          \
      break;                             \
    default:                             \
      load<double>(__VA_ARGS__);         \
  }

__device__ inline void add_rank(const Tiles& tiles, int r, int row, int column, float (&sums)[16]) {
  const Pack<float, 4> left = load_pack<4>(&tiles.left[r][row]);
  const Pack<float, 4> right = load_pack<4>(&tiles.right[r][column]);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      sums[4 * i + j] = __fadd_rn(sums[4 * i + j], __fmul_rn(left.items[i], right.items[j]));
  }
}

// One term needs no total beside its sums.
template <typename T, bool kIsOne>
__device__ inline void merge(const Work& work, Tiles& tiles) {
  const T* const base = global((const T*)work.words[0]);
  T* const result = global((T*)work.words[1]);
  const i64 rows = (i64)work.words[2], columns = (i64)work.words[3];
  const u64 terms = work.words[4];
  const u32 across = (u32)((columns + kTile - 1) / kTile);
  const i64 first_column = (i64)(work.block % across) * kTile;
  const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
  const bool is_vector = columns % 4 == 0 && ((work.words[0] | work.words[1]) & 15) == 0;
  bool has_right = false;  // It is there from the tile before.
  for (int tile = 0; tile < kTilesOfBlock; ++tile) {
    const i64 first_row = ((i64)(work.block / across) * kTilesOfBlock + tile) * kTile;
    if (first_row >= rows) return;
    // How many rows and columns of the thread's there are.
    const i64 at = (first_row + row) * columns + first_column + column;
    const int height = (int)min(rows - first_row - row, (i64)4);
    const int width = (int)min(columns - first_column - column, (i64)4);
    // What the sums are added to is on its way while they are made.
    Pack<T, 4> items[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i >= height || width <= 0) continue;
      if (is_vector) {
        items[i] = load_pack<4>(base + at + i * columns);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (j < width) items[i].items[j] = base[at + i * columns + j];
        }
      }
    }
    float sums[16], total[kIsOne ? 1 : 16] = {};
    for (u64 t = 0; t < (kIsOne ? 1 : terms); ++t) {
      const Term term(work.words + 5 + t * kWordsOfTerm);
#pragma unroll
      for (int i = 0; i < 16; ++i)
        sums[i] = 0;
      for (i64 rank = 0; rank < term.rank; rank += kRanks) {
        __syncthreads();
        REGRAFT_OF_KIND(term.left_kind, load_left, term, first_row, rows, rank, tiles)
        if (!has_right) {
          REGRAFT_OF_KIND(term.right_kind, load_right, term, first_column, columns, rank, tiles)
        }
        has_right = kIsOne && term.rank <= kRanks;
        __syncthreads();
        if (term.rank - rank >= kRanks) {
#pragma unroll 4
          for (int r = 0; r < kRanks; ++r)
            add_rank(tiles, r, row, column, sums);
        } else {
          for (int r = 0; r < (int)(term.rank - rank); ++r)
            add_rank(tiles, r, row, column, sums);
        }
      }
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const float scaled = __fmul_rn(term.scale, sums[i]);
        if (kIsOne) {
          sums[i] = __fadd_rn(0.f, scaled);
        } else {
          total[kIsOne ? 0 : i] = __fadd_rn(total[kIsOne ? 0 : i], scaled);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i >= height || width <= 0) continue;
#pragma unroll
      for (int j = 0; j < 4; ++j)
        items[i].items[j] =
            plus(items[i].items[j], kIsOne ? sums[4 * i + j] : total[kIsOne ? 0 : 4 * i + j]);
      if (is_vector) {
        *(Pack<T, 4>*)(result + at + i * columns) = items[i];
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (j < width) result[at + i * columns + j] = items[i].items[j];
        }
      }
    }
  }
}

template <typename T>
__device__ inline void merge(const Work& work, Tiles& tiles) {
  return work.words[4] == 1 ? merge<T, true>(work, tiles) : merge<T, false>(work, tiles);
}

extern "C" __global__ void __launch_bounds__(256, 3) run(const __grid_constant__ Table t) {
  __shared__ Tiles tiles;
  const Work work = work_of(t);
  const Work rest = {work.words + 1, work.block, work.blocks};
  switch (work.words[0]) {
    case 0:
      return merge<f16>(rest, tiles);
    case 1:
      return merge<bf16>(rest, tiles);
    case 2:
      return merge<float>(rest, tiles);
    default:
      return merge<double>(rest, tiles);
  }
}
