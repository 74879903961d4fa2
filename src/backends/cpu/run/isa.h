#pragma once

#include <cstdint>

namespace regraft::cpu {

// Instruction sets that kernels are compiled for beside plain x86-64.
enum class Isa : uint8_t { Baseline, Avx2, Avx512 };

// The best one of this machine, or the limit set below where that is lower. Thread-safe.
Isa isa();
// For tests: every code path runs on one machine. Takes effect for kernels prepared afterwards.
void limit_isa(Isa limit);

// AVX512_BF16 (dot products of bf16 pairs) and AMX with bf16 tiles, within the limit.
bool has_bf16_dot();
bool has_amx_bf16();

// Kernel bodies are plain loops in always-inlined functions; the functions below compile them once
// per instruction set, so that the compiler's vectoriser does the rest.
#define REGRAFT_INLINE [[gnu::always_inline]] inline
#define REGRAFT_TARGET_AVX2 gnu::target("avx2,fma,f16c,bmi,bmi2")
// GCC halves vectors of 512 bits where it is not told otherwise; clang has no such attribute.
#ifdef __clang__
#define REGRAFT_VECTOR_WIDTH
#else
#define REGRAFT_VECTOR_WIDTH ",prefer-vector-width=512"
#endif
#define REGRAFT_TARGET_AVX512 \
  gnu::target(                \
      "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi,bmi2" REGRAFT_VECTOR_WIDTH)
#define REGRAFT_TARGET_BF16 \
  gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512bf16,avx2,fma,f16c,bmi,bmi2")

template <typename Body, typename... Args>
[[REGRAFT_TARGET_AVX512, gnu::flatten, gnu::noinline]] void run_avx512(Args... args) {
  Body::run(args...);
}
template <typename Body, typename... Args>
[[REGRAFT_TARGET_AVX2, gnu::flatten, gnu::noinline]] void run_avx2(Args... args) {
  Body::run(args...);
}
template <typename Body, typename... Args>
[[gnu::flatten, gnu::noinline]] void run_baseline(Args... args) {
  Body::run(args...);
}

// The version of Body::run(Args...) for `isa`. Body::run must be REGRAFT_INLINE and static.
template <typename Body, typename... Args>
auto select(Isa isa) -> void (*)(Args...) {
  switch (isa) {
    case Isa::Avx512:
      return &run_avx512<Body, Args...>;
    case Isa::Avx2:
      return &run_avx2<Body, Args...>;
    case Isa::Baseline:
      break;
  }
  return &run_baseline<Body, Args...>;
}

}  // namespace regraft::cpu
