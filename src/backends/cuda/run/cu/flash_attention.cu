// Attention without a matrix of scores in memory: a block keeps WARPS * 16 queries, walks over the
// keys in tiles of TILE, and rescales its sums where the greatest score grows (Dao,
// "FlashAttention-2", arXiv 2307.08691). Where there are few queries, GROUPS of warps take turns
// with the tiles and put their sums together in the end, always in the same order. E is f16 or
// bf16; FEATURES (a multiple of 8) is padded to WIDTH (of 16) with zeros. Sums and softmax are in
// float.
#define ROWS (WARPS * 16)
#define THREADS (WARPS * 32)  // Of a group.
#define PITCH (WIDTH + 8)     // Rows of shared memory are shifted by one bank group.

struct Args {
  const E* query;
  const E* key;
  const E* value;
  E* out;
  const MASK* mask;
  i64 queries, keys, tiles;  // Tiles of queries of one matrix.
  i64 query_row, key_row, value_row, out_row, mask_row, mask_column;
  i64 rank, dims[REGRAFT_MAX_RANK], strides[5][REGRAFT_MAX_RANK];  // Of the batch.
  double scale;
};

__device__ inline u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// 16 bytes, or zeros.
__device__ inline void fetch(E* to, const E* from, bool inside) {
  const int bytes = inside ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes));
}
__device__ inline void commit() { asm volatile("cp.async.commit_group;\n"); }
template <int N>
__device__ inline void wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(N));
}

__device__ inline void load_matrices(u32* r, const E* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(p)));
}
__device__ inline void load_transposed(u32* r, const E* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(p)));
}
__device__ inline void multiply(float* c, const u32* a, u32 b0, u32 b1) {
#if IS_BF16
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
#endif
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Two numbers as one register, the first in the low half.
__device__ inline u32 pack(float x, float y) {
  return (u32)to<E, float>(x).bits | (u32)to<E, float>(y).bits << 16;
}

__device__ inline void fetch_tile(E* to, const E* from, i64 row_stride, i64 first, i64 rows,
                                  int count) {
  for (int i = threadIdx.x % THREADS; i < count * (WIDTH / 8); i += THREADS) {
    const int row = i / (WIDTH / 8), column = i % (WIDTH / 8) * 8;
    const bool inside = first + row < rows && column < FEATURES;
    fetch(to + row * PITCH + column, inside ? from + (first + row) * row_stride + column : from,
          inside);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS* GROUPS) run(const __grid_constant__ Args a) {
  extern __shared__ __align__(16) unsigned char memory[];
  E* queries = (E*)memory;
  const int group = threadIdx.x / THREADS, me = threadIdx.x % THREADS;
  const int lane = me % 32, warp = me / 32;
  E* keys = queries + (ROWS + group * 4 * TILE) * PITCH;  // Two tiles.
  E* values = keys + 2 * TILE * PITCH;                    // Two tiles.
  i64 offsets[5] = {0, 0, 0, 0, 0};
  i64 rest = blockIdx.x / a.tiles;
  const i64 first = (i64)(blockIdx.x % a.tiles) * ROWS;
  for (int d = (int)a.rank - 1; d >= 0; --d) {
    const i64 p = rest % a.dims[d];
    rest /= a.dims[d];
    for (int k = 0; k < 5; ++k)
      offsets[k] += p * a.strides[k][d];
  }
  const E* key = a.key + offsets[1];
  const E* value = a.value + offsets[2];
#if CAUSAL
  const i64 last = first + ROWS < a.keys ? first + ROWS : a.keys;  // Keys behind are not seen.
#else
  const i64 last = a.keys;
#endif
  const int steps = (int)((last + TILE * GROUPS - 1) / (TILE * GROUPS));
  const i64 own = (i64)group * TILE;
  if (group == 0) fetch_tile(queries, a.query + offsets[0], a.query_row, first, a.queries, ROWS);
  fetch_tile(keys, key, a.key_row, own, a.keys, TILE);
  fetch_tile(values, value, a.value_row, own, a.keys, TILE);
  commit();

  u32 q[WIDTH / 16][4];
  float sums[WIDTH / 8][4];
  float most[2] = {-REGRAFT_INF, -REGRAFT_INF}, total[2] = {0.f, 0.f};
#pragma unroll
  for (int i = 0; i < WIDTH / 8; ++i)
    sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0.f;
  // exp(x) = exp2(x log2 e)
  const float scale = (float)(a.scale * 1.4426950408889634);
  const i64 row = first + warp * 16 + lane / 4;
#if HAS_MASK
  // Of the thread's two rows; those behind the last query are calculated and not stored.
  const MASK* masks[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const i64 r = row + half * 8;
    masks[half] = a.mask + offsets[4] + (r < a.queries ? r : 0) * a.mask_row;
  }
#endif

  for (int step = 0; step < steps; ++step) {
    const E* k_tile = keys + step % 2 * TILE * PITCH;
    const E* v_tile = values + step % 2 * TILE * PITCH;
    if (step + 1 < steps) {
      const i64 next = (i64)(step + 1) * TILE * GROUPS + own;
      fetch_tile(keys + (step + 1) % 2 * TILE * PITCH, key, a.key_row, next, a.keys, TILE);
      fetch_tile(values + (step + 1) % 2 * TILE * PITCH, value, a.value_row, next, a.keys, TILE);
      commit();
    }
    const i64 begin = (i64)step * TILE * GROUPS + own;
#if HAS_MASK && MASK_IS_BOOL
    // One bit for each score; the loads wait together with those of the tiles.
    u32 allowed = 0;
#pragma unroll
    for (int n = 0; n < TILE / 8; ++n) {
      const i64 k = begin + n * 8 + lane % 4 * 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#if MASK_IN_PAIRS
        const u32 two = k < a.keys ? *(const unsigned short*)(masks[half] + k) : 0u;
        allowed |= (two & 1u) << (n * 4 + half * 2) | (two >> 8 & 1u) << (n * 4 + half * 2 + 1);
#else
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const bool seen = k + c < a.keys && masks[half][(k + c) * a.mask_column];
          allowed |= (seen ? 1u : 0u) << (n * 4 + half * 2 + c);
        }
#endif
      }
    }
#endif
    if (step + 1 < steps) {
      wait<1>();
    } else {
      wait<0>();
    }
    __syncthreads();
    if (step == 0) {
#pragma unroll
      for (int i = 0; i < WIDTH / 16; ++i)
        load_matrices(q[i], queries + (warp * 16 + lane % 16) * PITCH + i * 16 + lane / 16 * 8);
    }
    float scores[TILE / 8][4];
#pragma unroll
    for (int n = 0; n < TILE / 16; ++n) {
      float* low = scores[2 * n];
      float* high = scores[2 * n + 1];
      low[0] = low[1] = low[2] = low[3] = high[0] = high[1] = high[2] = high[3] = 0.f;
#pragma unroll
      for (int i = 0; i < WIDTH / 16; ++i) {
        u32 b[4];
        load_matrices(
            b, k_tile + (n * 16 + lane % 8 + lane / 16 * 8) * PITCH + i * 16 + lane / 8 % 2 * 8);
        multiply(low, q[i], b[0], b[1]);
        multiply(high, q[i], b[2], b[3]);
      }
    }
    const bool is_partial = begin + TILE > a.keys;
#pragma unroll
    for (int n = 0; n < TILE / 8; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const i64 r = row + c / 2 * 8;
        const i64 k = begin + n * 8 + lane % 4 * 2 + c % 2;
        float x = scores[n][c] * scale;
#if HAS_MASK
#if MASK_IS_BOOL
        if (!(allowed >> (n * 4 + c) & 1u)) x = -REGRAFT_INF;
#else
        if (k < a.keys) x += to<float, MASK>(masks[c / 2][k * a.mask_column]) * 1.4426950408889634f;
#endif
#endif
        if (is_partial && k >= a.keys) x = -REGRAFT_INF;
#if CAUSAL
        if (k > r) x = -REGRAFT_INF;
#endif
        scores[n][c] = x;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float greatest = most[half];
#pragma unroll
      for (int n = 0; n < TILE / 8; ++n)
        greatest = fmaxf(greatest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
      // A row that has seen no key yet.
      const float base = greatest == -REGRAFT_INF ? 0.f : greatest;
      const float factor = exp2f(most[half] - base);
      most[half] = greatest;
      float sum = 0.f;
#pragma unroll
      for (int n = 0; n < TILE / 8; ++n) {
#pragma unroll
        for (int c = 2 * half; c < 2 * half + 2; ++c) {
          scores[n][c] = exp2f(scores[n][c] - base);
          sum += scores[n][c];
        }
      }
      total[half] = total[half] * factor + sum;
#pragma unroll
      for (int i = 0; i < WIDTH / 8; ++i) {
        sums[i][2 * half] *= factor;
        sums[i][2 * half + 1] *= factor;
      }
    }
#pragma unroll
    for (int n = 0; n < TILE / 16; ++n) {
      const float *x = scores[2 * n], *y = scores[2 * n + 1];
      const u32 weights[4] = {pack(x[0], x[1]), pack(x[2], x[3]), pack(y[0], y[1]),
                              pack(y[2], y[3])};
#pragma unroll
      for (int i = 0; i < WIDTH / 16; ++i) {
        u32 b[4];
        load_transposed(b, v_tile + (n * 16 + lane % 16) * PITCH + i * 16 + lane / 16 * 8);
        multiply(sums[2 * i], weights, b[0], b[1]);
        multiply(sums[2 * i + 1], weights, b[2], b[3]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 1);
    total[half] += __shfl_xor_sync(0xffffffffu, total[half], 2);
  }
#if GROUPS > 1
  // The tiles are not needed any more.
  constexpr int kNumbers = WIDTH / 2 + 4;
  float* parts = (float*)memory;
  if (group > 0) {
    float* mine = parts + (group - 1) * kNumbers * THREADS + me;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      mine[half * THREADS] = most[half];
      mine[(2 + half) * THREADS] = total[half];
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 8; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c)
        mine[(4 + i * 4 + c) * THREADS] = sums[i][c];
    }
  }
  __syncthreads();
  if (group > 0) return;
  for (int g = 0; g < GROUPS - 1; ++g) {
    const float* theirs = parts + g * kNumbers * THREADS + me;
    float own_factor[2], their_factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float greatest = fmaxf(most[half], theirs[half * THREADS]);
      const float base = greatest == -REGRAFT_INF ? 0.f : greatest;
      own_factor[half] = exp2f(most[half] - base);
      their_factor[half] = exp2f(theirs[half * THREADS] - base);
      most[half] = greatest;
      total[half] =
          total[half] * own_factor[half] + theirs[(2 + half) * THREADS] * their_factor[half];
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 8; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        sums[i][c] = sums[i][c] * own_factor[c / 2] +
                     theirs[(4 + i * 4 + c) * THREADS] * their_factor[c / 2];
      }
    }
  }
#endif
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float factor = total[half] == 0.f ? 0.f : 1.f / total[half];
    const i64 r = row + half * 8;
    if (r >= a.queries) continue;
    E* out = a.out + offsets[3] + r * a.out_row;
#pragma unroll
    for (int i = 0; i < WIDTH / 8; ++i) {
      const int column = i * 8 + lane % 4 * 2;
      if (column >= FEATURES) continue;
      *(u32*)(out + column) = pack(sums[i][2 * half] * factor, sums[i][2 * half + 1] * factor);
    }
  }
}
