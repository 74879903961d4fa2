// Attention without a matrix of scores in memory: a block keeps ROWS queries, walks over the keys
// in tiles of TILE, and rescales its sums where the greatest score grows (Dao, "FlashAttention-2",
// arXiv 2307.08691). A warp has FRAGMENTS times 16 queries, which share what it reads of a tile.
// Where there are few queries, GROUPS of warps take turns with the tiles and put their sums
// together in the end, always in the same order. E is f16 or bf16. Rows in shared memory have room
// for WIDTH numbers (a multiple of 16), of which FEATURES (of 8) are there and calculated with.
// Sums and softmax are in float. Where FOLDS_SCALE, scores are scaled as part of the exponent; the
// scale is then positive.
#define ROWS (WARPS * 16 * FRAGMENTS)
#define THREADS (WARPS * 32)  // Of a group.
#define PITCH (WIDTH + 8)     // Rows of shared memory are shifted by one bank group.
#define VECTORS (FEATURES / 8)
#define FETCHES ((TILE * VECTORS + THREADS - 1) / THREADS)

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
__device__ inline void fetch(u32 to, const E* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes));
}
__device__ inline void commit() { asm volatile("cp.async.commit_group;\n"); }
__device__ inline void wait() { asm volatile("cp.async.wait_group 0;\n"); }

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
// The same for half as many features.
__device__ inline void multiply_half(float* c, const u32* a, u32 b) {
#if IS_BF16
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};\n"
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};\n"
#endif
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(b));
}
// Two numbers as one register, the first in the low half.
__device__ inline u32 pack(float x, float y) {
  u32 both;
#if IS_BF16
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
#else
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
#endif
  return both;
}
// The hardware's: numbers that are no normal floats are 0.
__device__ inline float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Rows [0, count) of a tile that starts at `from`, of which those from `inside` on are zeros.
__device__ inline void fetch_rows(E* to, const E* from, const E* anywhere, int row_stride,
                                  int count, i64 inside, int me, int threads) {
#pragma unroll 1
  for (int i = me; i < count * VECTORS; i += threads) {
    const int row = i / VECTORS, column = i % VECTORS * 8;
    const bool is_inside = row < inside;
    fetch(shared_address(to + row * PITCH + column),
          is_inside ? from + row * row_stride + column : anywhere, is_inside ? 16 : 0);
  }
}

// Where the vectors of a tile that a thread brings lie.
struct Places {
  int from[FETCHES];
  __device__ Places(int row_stride, int me) {
#pragma unroll
    for (int i = 0; i < FETCHES; ++i) {
      const int at = me + i * THREADS;
      from[i] = at / VECTORS * row_stride + at % VECTORS * 8;
    }
  }
};

// A tile, all rows of which there are.
__device__ inline void fetch_tile(u32 tile, const E* from, const Places& places, int me) {
#pragma unroll
  for (int i = 0; i < FETCHES; ++i) {
    const int at = me + i * THREADS;
    if ((i + 1) * THREADS > TILE * VECTORS && at >= TILE * VECTORS) continue;
    fetch(tile + (u32)(at / VECTORS * PITCH + at % VECTORS * 8) * 2, from + places.from[i], 16);
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
  // Of the numbers of blocks, which are 32 bits.
  const u32 tiles = (u32)a.tiles, tile = blockIdx.x % tiles;
  u32 rest = blockIdx.x / tiles;
#if CAUSAL
  // Those with the most keys first.
  const i64 first = (i64)(tiles - 1 - tile) * ROWS;
#else
  const i64 first = (i64)tile * ROWS;
#endif
  for (int d = (int)a.rank - 1; d >= 0; --d) {
    const u32 size = (u32)a.dims[d];
    const i64 p = rest % size;
    rest /= size;
    for (int k = 0; k < 5; ++k)
      offsets[k] += p * a.strides[k][d];
  }
  const E* key = a.key + offsets[1];
  const E* value = a.value + offsets[2];
  const int key_row = (int)a.key_row, value_row = (int)a.value_row;
#if CAUSAL
  const i64 last = first + ROWS < a.keys ? first + ROWS : a.keys;  // Keys behind are not seen.
#else
  const i64 last = a.keys;
#endif
  const int steps = (int)((last + TILE * GROUPS - 1) / (TILE * GROUPS));
  const i64 own = (i64)group * TILE;
  const Places key_places(key_row, me), value_places(value_row, me);
  const auto fetch_step = [&](int step) {
    const i64 begin = (i64)step * TILE * GROUPS + own;
    E* k_tile = keys + step % 2 * TILE * PITCH;
    E* v_tile = values + step % 2 * TILE * PITCH;
    if (begin + TILE <= a.keys) {
      fetch_tile(shared_address(k_tile), key + begin * a.key_row, key_places, me);
      fetch_tile(shared_address(v_tile), value + begin * a.value_row, value_places, me);
    } else {
      const i64 inside = a.keys - begin;
      fetch_rows(k_tile, key + begin * a.key_row, key, key_row, TILE, inside, me, THREADS);
      fetch_rows(v_tile, value + begin * a.value_row, value, value_row, TILE, inside, me, THREADS);
    }
    commit();
  };
  const E* query = a.query + offsets[0];
  fetch_rows(queries, query + first * a.query_row, query, (int)a.query_row, ROWS, a.queries - first,
             threadIdx.x, THREADS * GROUPS);
  fetch_step(0);

  u32 q[FRAGMENTS][WIDTH / 16][4];
  float sums[FRAGMENTS][WIDTH / 8][4];
  float most[FRAGMENTS][2], total[FRAGMENTS][2];
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[f][half] = -REGRAFT_INF;
      total[f][half] = 0.f;
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 8; ++i)
      sums[f][i][0] = sums[f][i][1] = sums[f][i][2] = sums[f][i][3] = 0.f;
  }
  // exp(x) = exp2(x log2 e)
  const float scale = (float)(a.scale * 1.4426950408889634);
#if FOLDS_SCALE
  const float exponent = scale;
#else
  const float exponent = 1.f;
#endif
  const int warp_row = warp * 16 * FRAGMENTS;
  const i64 row = first + warp_row + lane / 4;
#if HAS_MASK
  // Of the thread's rows; those behind the last query are calculated and not stored.
  const MASK* masks[FRAGMENTS][2];
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const i64 r = row + f * 16 + half * 8;
      masks[f][half] = a.mask + offsets[4] + (r < a.queries ? r : 0) * a.mask_row;
    }
  }
#endif

  for (int step = 0; step < steps; ++step) {
    const E* k_tile = keys + step % 2 * TILE * PITCH;
    const E* v_tile = values + step % 2 * TILE * PITCH;
    const i64 begin = (i64)step * TILE * GROUPS + own;
#if HAS_MASK && MASK_IS_BOOL
    // One bit for each score; the loads wait together with those of the tiles.
    u32 allowed[FRAGMENTS];
#pragma unroll
    for (int f = 0; f < FRAGMENTS; ++f) {
      allowed[f] = 0;
#pragma unroll
      for (int n = 0; n < TILE / 8; ++n) {
        const i64 k = begin + n * 8 + lane % 4 * 2;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#if MASK_IN_PAIRS
          const u32 two = k < a.keys ? *(const unsigned short*)(masks[f][half] + k) : 0u;
          allowed[f] |= (two & 1u) << (n * 4 + half * 2) | (two >> 8 & 1u)
                                                               << (n * 4 + half * 2 + 1);
#else
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            const bool seen = k + c < a.keys && masks[f][half][(k + c) * a.mask_column];
            allowed[f] |= (seen ? 1u : 0u) << (n * 4 + half * 2 + c);
          }
#endif
        }
      }
    }
#endif
    wait();
    // Everybody has this tile, and nobody reads the last one any more.
    __syncthreads();
    if (step + 1 < steps) fetch_step(step + 1);
    if (step == 0) {
#pragma unroll
      for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
        for (int i = 0; i < WIDTH / 16; ++i)
          load_matrices(q[f][i],
                        queries + (warp_row + f * 16 + lane % 16) * PITCH + i * 16 + lane / 16 * 8);
      }
    }
#if HAS_MASK && MASK_IS_BOOL
    // Tiles in which no query of the warp sees a key, as behind the diagonal of a causal mask.
    u32 any = 0;
#pragma unroll
    for (int f = 0; f < FRAGMENTS; ++f)
      any |= allowed[f];
    if (!__any_sync(0xffffffffu, any != 0)) continue;
#endif
    float scores[FRAGMENTS][TILE / 8][4];
#pragma unroll
    for (int n = 0; n < TILE / 16; ++n) {
#pragma unroll
      for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
        for (int c = 0; c < 4; ++c)
          scores[f][2 * n][c] = scores[f][2 * n + 1][c] = 0.f;
      }
#pragma unroll
      for (int i = 0; i < WIDTH / 16; ++i) {
        u32 b[4];
        load_matrices(
            b, k_tile + (n * 16 + lane % 8 + lane / 16 * 8) * PITCH + i * 16 + lane / 8 % 2 * 8);
#pragma unroll
        for (int f = 0; f < FRAGMENTS; ++f) {
          if (i * 16 + 8 < FEATURES) {
            multiply(scores[f][2 * n], q[f][i], b[0], b[1]);
            multiply(scores[f][2 * n + 1], q[f][i], b[2], b[3]);
          } else {
            multiply_half(scores[f][2 * n], q[f][i], b[0]);
            multiply_half(scores[f][2 * n + 1], q[f][i], b[2]);
          }
        }
      }
    }
#if !FOLDS_SCALE || HAS_MASK
#pragma unroll
    for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
      for (int n = 0; n < TILE / 8; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          float x = scores[f][n][c];
#if !FOLDS_SCALE
          x *= scale;
#endif
#if HAS_MASK
#if MASK_IS_BOOL
          if (!(allowed[f] >> (n * 4 + c) & 1u)) x = -REGRAFT_INF;
#else
          const i64 k = begin + n * 8 + lane % 4 * 2 + c % 2;
          if (k < a.keys)
            x += to<float, MASK>(masks[f][c / 2][k * a.mask_column]) * 1.4426950408889634f;
#endif
#endif
          scores[f][n][c] = x;
        }
      }
    }
#endif
    // Of this tile: keys that there are, and those that the warp's first row sees.
    const int inside = begin + TILE <= a.keys ? TILE : (int)(a.keys - begin);
#if CAUSAL
    const int seen = (int)(row - begin) + 1;
    const bool is_edge = inside < TILE || first + warp_row < begin + TILE - 1;
#else
    const bool is_edge = inside < TILE;
#endif
    if (is_edge) {
#pragma unroll
      for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
        for (int n = 0; n < TILE / 8; ++n) {
#pragma unroll
          for (int c = 0; c < 4; ++c) {
            const int k = n * 8 + lane % 4 * 2 + c % 2;
            if (k >= inside) scores[f][n][c] = -REGRAFT_INF;
#if CAUSAL
            if (k >= seen + f * 16 + c / 2 * 8) scores[f][n][c] = -REGRAFT_INF;
#endif
          }
        }
      }
    }
#pragma unroll
    for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float greatest = most[f][half];
#pragma unroll
        for (int n = 0; n < TILE / 8; ++n)
          greatest = fmaxf(greatest, fmaxf(scores[f][n][2 * half], scores[f][n][2 * half + 1]));
        greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
        greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
        // A row that has seen no key yet.
        const float base = greatest == -REGRAFT_INF ? 0.f : greatest * exponent;
        const float factor = power_of_two(fmaf(most[f][half], exponent, -base));
        most[f][half] = greatest;
        float sum = 0.f;
#pragma unroll
        for (int n = 0; n < TILE / 8; ++n) {
#pragma unroll
          for (int c = 2 * half; c < 2 * half + 2; ++c) {
            scores[f][n][c] = power_of_two(fmaf(scores[f][n][c], exponent, -base));
            sum += scores[f][n][c];
          }
        }
        total[f][half] = total[f][half] * factor + sum;
#pragma unroll
        for (int i = 0; i < WIDTH / 8; ++i) {
          sums[f][i][2 * half] *= factor;
          sums[f][i][2 * half + 1] *= factor;
        }
      }
    }
#pragma unroll
    for (int n = 0; n < TILE / 16; ++n) {
      u32 weights[FRAGMENTS][4];
#pragma unroll
      for (int f = 0; f < FRAGMENTS; ++f) {
        const float *x = scores[f][2 * n], *y = scores[f][2 * n + 1];
        weights[f][0] = pack(x[0], x[1]);
        weights[f][1] = pack(x[2], x[3]);
        weights[f][2] = pack(y[0], y[1]);
        weights[f][3] = pack(y[2], y[3]);
      }
#pragma unroll
      for (int i = 0; i < WIDTH / 16; ++i) {
        u32 b[4];
        load_transposed(b, v_tile + (n * 16 + lane % 16) * PITCH + i * 16 + lane / 16 * 8);
#pragma unroll
        for (int f = 0; f < FRAGMENTS; ++f) {
          multiply(sums[f][2 * i], weights[f], b[0], b[1]);
          if (i * 16 + 8 < FEATURES) multiply(sums[f][2 * i + 1], weights[f], b[2], b[3]);
        }
      }
    }
  }
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      total[f][half] += __shfl_xor_sync(0xffffffffu, total[f][half], 1);
      total[f][half] += __shfl_xor_sync(0xffffffffu, total[f][half], 2);
    }
  }
#if GROUPS > 1
  // The tiles are not needed any more.
  __syncthreads();
  constexpr int kNumbers = WIDTH / 2 + 4;
  float* parts = (float*)memory;
  if (group > 0) {
    float* mine = parts + (group - 1) * kNumbers * THREADS + me;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      mine[half * THREADS] = most[0][half];
      mine[(2 + half) * THREADS] = total[0][half];
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 8; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c)
        mine[(4 + i * 4 + c) * THREADS] = sums[0][i][c];
    }
  }
  __syncthreads();
  if (group > 0) return;
  for (int g = 0; g < GROUPS - 1; ++g) {
    const float* theirs = parts + g * kNumbers * THREADS + me;
    float own_factor[2], their_factor[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float greatest = fmaxf(most[0][half], theirs[half * THREADS]);
      const float base = greatest == -REGRAFT_INF ? 0.f : greatest * exponent;
      own_factor[half] = power_of_two(fmaf(most[0][half], exponent, -base));
      their_factor[half] = power_of_two(fmaf(theirs[half * THREADS], exponent, -base));
      most[0][half] = greatest;
      total[0][half] =
          total[0][half] * own_factor[half] + theirs[(2 + half) * THREADS] * their_factor[half];
    }
#pragma unroll
    for (int i = 0; i < WIDTH / 8; ++i) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        sums[0][i][c] = sums[0][i][c] * own_factor[c / 2] +
                        theirs[(4 + i * 4 + c) * THREADS] * their_factor[c / 2];
      }
    }
  }
#endif
#pragma unroll
  for (int f = 0; f < FRAGMENTS; ++f) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = total[f][half] == 0.f ? 0.f : 1.f / total[f][half];
      const i64 r = row + f * 16 + half * 8;
      if (r >= a.queries) continue;
      E* out = a.out + offsets[3] + r * a.out_row;
#pragma unroll
      for (int i = 0; i < WIDTH / 8; ++i) {
        const int column = i * 8 + lane % 4 * 2;
        if (column >= FEATURES) continue;
        *(u32*)(out + column) =
            pack(sums[f][i][2 * half] * factor, sums[f][i][2 * half + 1] * factor);
      }
    }
  }
}
