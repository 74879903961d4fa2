// A launch over pieces of work of different sizes (run/work_table.h).
struct Table {
  const u32* entries;  // First block and first word of each piece.
  const u64* words;
  u64 count;
};
// What a block of threads has to do: its number among those of the piece.
struct Work {
  const u64* words;
  u32 block, blocks;
};

__device__ inline Work work_of(const Table& t) {
  u32 low = 0, high = (u32)t.count;
  while (high - low > 1) {
    const u32 middle = (low + high) / 2;
    if (t.entries[2 * middle] <= blockIdx.x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const u32 first = t.entries[2 * low];
  const u32 end = low + 1 < (u32)t.count ? t.entries[2 * (low + 1)] : gridDim.x;
  return {t.words + t.entries[2 * low + 1], blockIdx.x - first, end - first};
}
