#include "backends/cpu/run/isa.h"

#include <algorithm>
#include <atomic>

namespace regraft::cpu {
namespace {

Isa detect() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512cd");
  return avx512 && avx2 ? Isa::Avx512 : avx2 ? Isa::Avx2 : Isa::Baseline;
}

// CPUID leaf 7: sub-leaf 1 EAX bit 5 is AVX512_BF16, sub-leaf 0 EDX bit 22 is AMX-BF16.
bool cpuid_bit(unsigned subleaf, bool in_edx, int bit) {
  unsigned eax = 7, ebx = 0, ecx = subleaf, edx = 0;
  __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (((in_edx ? edx : eax) >> bit) & 1u) != 0;
}

std::atomic<Isa>& limit() {
  static std::atomic<Isa> value{Isa::Avx512};
  return value;
}

}  // namespace

Isa isa() {
  static const Isa detected = detect();
  return std::min(detected, limit().load(std::memory_order_relaxed));
}

void limit_isa(Isa value) { limit() = value; }

bool has_bf16_dot() {
  static const bool detected = detect() == Isa::Avx512 && cpuid_bit(1, false, 5);
  return detected && isa() == Isa::Avx512;
}

bool has_amx_bf16() {
  static const bool detected = detect() == Isa::Avx512 && cpuid_bit(0, true, 22);
  return detected && isa() == Isa::Avx512;
}

}  // namespace regraft::cpu
