// Neighbouring elements that are loaded and stored at once.
template <typename T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T items[N];
};
template <int N, typename T>
__device__ inline Pack<T, N> load_pack(const T* from) {
  return *(const Pack<T, N>*)from;
}
