// Device memory: an address that comes from a table does not say so itself. CUDA 13.0's compiler
// breaks on what is assumed of structures of a single byte.
template <typename T>
__device__ inline T* global(T* address) {
  if constexpr (sizeof(T) > 1) __builtin_assume(__isGlobal((const void*)address));
  return address;
}

// Neighbouring elements that are loaded and stored at once.
template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T items[N];
};
template <int N, typename T>
__device__ inline Pack<T, N> load_pack(const T* from) {
  return *(const Pack<T, N>*)from;
}
// Pairs of 2 bytes too.
template <typename T, int N>
__device__ inline void store_pack(T* to, Pack<T, N> pack) {
  if constexpr (sizeof(pack) == 4) {
    *(u32*)to = __builtin_bit_cast(u32, pack);
  } else {
    *(Pack<T, N>*)to = pack;
  }
}
