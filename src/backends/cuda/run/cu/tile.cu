// Tiles of a tensor on their way through shared memory, loaded while the one before is stored.

// Neighbouring elements, in the background; of less than 4 bytes, at once.
template <typename T, int N>
__device__ inline void fetch(T* to, const T* from) {
  constexpr int bytes = sizeof(T) * N;
  if constexpr (bytes == 16) {
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"((u32)__cvta_generic_to_shared(to)),
        "l"(from)
        : "memory");
  } else if constexpr (bytes == 4 || bytes == 8) {
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], %2;\n" ::"r"((u32)__cvta_generic_to_shared(to)),
        "l"(from), "n"(bytes)
        : "memory");
  } else {
    *(Pack<T, N>*)to = *(const Pack<T, N>*)from;
  }
}
// Ends a tile's loads.
__device__ inline void end_tile() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Until all tiles but the last have been loaded, by all threads.
__device__ inline void wait_for_tile() {
  asm volatile("cp.async.wait_group 1;\n" ::: "memory");
  __syncthreads();
}
