// What every kernel begins with: types, conversions, the arguments of a launch.
typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef int i32;
typedef short i16;
typedef signed char i8;
typedef unsigned char u8;
struct f16 {
  unsigned short bits;
};
struct bf16 {
  unsigned short bits;
};
// Elements that are only moved.
struct alignas(1) raw1 {
  u8 bits;
};
struct alignas(2) raw2 {
  unsigned short bits;
};
struct alignas(4) raw4 {
  u32 bits;
};
struct alignas(8) raw8 {
  u64 bits;
};
struct alignas(16) raw16 {
  u64 bits[2];
};

__device__ inline float widen(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ inline float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ inline f16 narrow_f16(float x) {
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
__device__ inline f16 narrow_f16(double x) {
  f16 y;
  asm("cvt.rn.f16.f64 %0, %1;" : "=h"(y.bits) : "d"(x));
  return y;
}
__device__ inline bf16 narrow_bf16(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
// Through a float rounded to odd: the second rounding then is the only one.
__device__ inline bf16 narrow_bf16(double x) {
  float y = __double2float_rz(x);
  if (x == x && (double)y != x) y = __uint_as_float(__float_as_uint(y) | 1u);
  return narrow_bf16(y);
}

// How an element of T is calculated with.
template <typename T>
struct ComputeOf {
  typedef i64 type;
};
template <>
struct ComputeOf<f16> {
  typedef float type;
};
template <>
struct ComputeOf<bf16> {
  typedef float type;
};
template <>
struct ComputeOf<float> {
  typedef float type;
};
template <>
struct ComputeOf<double> {
  typedef double type;
};

template <typename C, typename T>
struct Convert {
  __device__ static C of(T x) { return (C)x; }
};
template <typename C>
struct Convert<C, f16> {
  __device__ static C of(f16 x) { return Convert<C, float>::of(widen(x)); }
};
template <typename C>
struct Convert<C, bf16> {
  __device__ static C of(bf16 x) { return Convert<C, float>::of(widen(x)); }
};
template <>
struct Convert<f16, float> {
  __device__ static f16 of(float x) { return narrow_f16(x); }
};
template <>
struct Convert<f16, double> {
  __device__ static f16 of(double x) { return narrow_f16(x); }
};
template <>
struct Convert<f16, i64> {
  __device__ static f16 of(i64 x) { return narrow_f16((double)x); }
};
template <>
struct Convert<bf16, float> {
  __device__ static bf16 of(float x) { return narrow_bf16(x); }
};
template <>
struct Convert<bf16, double> {
  __device__ static bf16 of(double x) { return narrow_bf16(x); }
};
template <>
struct Convert<bf16, i64> {
  __device__ static bf16 of(i64 x) {
    double y = (double)x;  // Numbers that a double does not hold are no ties of bf16.
    return narrow_bf16(y);
  }
};
template <>
struct Convert<f16, bool> {
  __device__ static f16 of(bool x) { return narrow_f16(x ? 1.f : 0.f); }
};
template <>
struct Convert<bf16, bool> {
  __device__ static bf16 of(bool x) { return narrow_bf16(x ? 1.f : 0.f); }
};
template <>
struct Convert<f16, f16> {
  __device__ static f16 of(f16 x) { return x; }
};
template <>
struct Convert<bf16, bf16> {
  __device__ static bf16 of(bf16 x) { return x; }
};
template <>
struct Convert<f16, bf16> {
  __device__ static f16 of(bf16 x) { return narrow_f16(widen(x)); }
};
template <>
struct Convert<bf16, f16> {
  __device__ static bf16 of(f16 x) { return narrow_bf16(widen(x)); }
};
// Floats to small integers go through 64 bits and wrap around.
#define REGRAFT_NARROW(T)                                  \
  template <>                                              \
  struct Convert<T, float> {                               \
    __device__ static T of(float x) { return (T)(i64)x; }  \
  };                                                       \
  template <>                                              \
  struct Convert<T, double> {                              \
    __device__ static T of(double x) { return (T)(i64)x; } \
  };
REGRAFT_NARROW(u8)
REGRAFT_NARROW(i8)
REGRAFT_NARROW(i16)
REGRAFT_NARROW(i32)
#undef REGRAFT_NARROW

template <typename C, typename T>
__device__ inline C to(T x) {
  return Convert<C, T>::of(x);
}

#define REGRAFT_INF __int_as_float(0x7f800000)
#define REGRAFT_MAX_RANK 8

struct View {
  char* data;
  i64 rank;
  i64 dims[REGRAFT_MAX_RANK];
  i64 strides[REGRAFT_MAX_RANK];
};

template <typename T>
__device__ inline T& at(const View& v, i64 offset) {
  return ((T*)v.data)[offset];
}
template <typename C, typename T>
__device__ inline C load(const View& v, i64 offset) {
  return to<C, T>(((const T*)v.data)[offset]);
}
template <typename T, typename C>
__device__ inline void store(const View& v, i64 offset, C x) {
  ((T*)v.data)[offset] = to<T, C>(x);
}

// The position of row-major element `i` of a tensor of the view's dims.
__device__ inline void unravel(i64 i, const View& v, i64* position) {
  for (int d = (int)v.rank - 1; d >= 0; --d) {
    position[d] = i % v.dims[d];
    i /= v.dims[d];
  }
}
__device__ inline i64 offset_at(const View& v, const i64* position) {
  i64 offset = 0;
  for (int d = 0; d < (int)v.rank; ++d)
    offset += position[d] * v.strides[d];
  return offset;
}
// The offset of row-major element `i`.
__device__ inline i64 offset_of(i64 i, const View& v) {
  i64 offset = 0;
  for (int d = (int)v.rank - 1; d >= 0; --d) {
    offset += i % v.dims[d] * v.strides[d];
    i /= v.dims[d];
  }
  return offset;
}
