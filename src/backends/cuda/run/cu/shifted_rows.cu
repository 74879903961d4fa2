// Rows of whole vectors to rows that begin anywhere: every store fills a vector, whose elements
// come from two neighbouring ones.
struct Args {
  const T* from;
  T* to;
  i64 rows, columns, from_row, to_row;
};

union Words {
  uint4 vector;
  u32 items[4];
};

// 16 bytes, `bytes` behind the first, of two vectors.
__device__ inline uint4 shifted(const Words& first, const Words& second, u32 bytes) {
  u32 w[8];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    w[i] = first.items[i];
    w[i + 4] = second.items[i];
  }
  if (bytes & 8) {
#pragma unroll
    for (int i = 0; i < 6; ++i)
      w[i] = w[i + 2];
  }
  if (bytes & 4) {
#pragma unroll
    for (int i = 0; i < 5; ++i)
      w[i] = w[i + 1];
  }
  Words out;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    out.items[i] = __funnelshift_r(w[i], w[i + 1], (bytes & 3) * 8);
  return out.vector;
}

extern "C" __global__ void __launch_bounds__(256) run(const __grid_constant__ Args a) {
  constexpr u32 vector = 16 / sizeof(T);
  const u32 columns = (u32)a.columns;
  for (i64 row = blockIdx.x; row < a.rows; row += gridDim.x) {
    const T* const from = a.from + row * a.from_row;
    T* const to = a.to + row * a.to_row;
    const u32 behind = (u32)((u64)to % 16 / sizeof(T));
    const u32 head = min((vector - behind) % vector, columns);
    const u32 vectors = (columns - head) / vector;
    const auto* const source = (const uint4*)from;
    auto* const target = (uint4*)(to + head);
#pragma unroll 4
    for (u32 v = threadIdx.x; v < vectors; v += blockDim.x) {
      Words first, second;
      first.vector = source[v];
      second.vector = head == 0 ? first.vector : source[v + 1];
      target[v] = shifted(first, second, head * (u32)sizeof(T));
    }
    for (u32 i = threadIdx.x; i < columns - vectors * vector; i += blockDim.x) {
      const u32 at = i < head ? i : i + vectors * vector;
      to[at] = from[at];
    }
  }
}
