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

// Of tables that are launched one after the other. The next may begin: it finds its work, and
// waits.
__device__ inline void let_next_table_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}
// Until all that the table before writes is there.
__device__ inline void wait_for_table() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Every warp finds the last piece whose first block is not behind this one, 32 steps at a time.
__device__ inline Work work_of(const Table& t) {
  const u32 count = (u32)t.count, lane = threadIdx.x % 32;
  u32 low = 0, size = count;  // The piece is one of [low, low + size).
  while (size > 1) {
    const u32 step = (size + 31) / 32, at = low + lane * step;
    const bool is_behind = lane * step >= size || t.entries[2 * at] > blockIdx.x;
    const u32 behind = __ballot_sync(0xffffffffu, is_behind);
    const u32 part = (behind == 0 ? 32 : __ffs(behind) - 1) - 1;
    size = min(step, size - part * step);
    low += part * step;
  }
  const u32 first = t.entries[2 * low];
  const u32 end = low + 1 < count ? t.entries[2 * (low + 1)] : gridDim.x;
  return {t.words + t.entries[2 * low + 1], blockIdx.x - first, end - first};
}
