// `Vec`: one SIMD register of floats, the same operations on every instruction set.
#pragma once
#include "table.h"

#if defined(UNVEIL_ISA_AVX512)
#include "simd_avx512.h"
#elif defined(UNVEIL_ISA_AVX2)
#include "simd_avx2.h"
#elif defined(UNVEIL_ISA_NEON)
#include "simd_neon.h"
#else
#include "simd_portable.h"
#endif

namespace unveil::UNVEIL_ISA {

inline constexpr int kLanes = Vec::lanes;

// 2^x. Exact at 0 and accurate relative to 1 - 2^x, so that a long memory neither leaks nor grows:
// on [-1/2, 1/2] 2^f = 1 + f q(f), q fitted to (2^f - 1) / f with relative error 4.3e-7.
inline Vec exp2(Vec x) {
  const Split split = split_integer(x);
  const Vec f = split.fraction;
  Vec q = fma(f, splat(0x1.5d87dep-10f), splat(0x1.3cbe58p-7f));
  q = fma(f, q, splat(0x1.c6b26ep-5f));
  q = fma(f, q, splat(0x1.ebfa4ep-3f));
  q = fma(f, q, splat(0x1.62e42ep-1f));
  return scale_by_power(fma(f, q, splat(1.0f)), split.integer);
}

inline Vec exp(Vec x) { return exp2(x * splat(0x1.715476p+0f)); }

// log(1 + y) for y in [0, 1]: y p(y) with relative error 5e-9 before rounding, without a division.
inline Vec log1p_unit(Vec y) {
  constexpr float kFactors[] = {0x1.453f02p-6f,  -0x1.d29cbep-5f, 0x1.b2535ap-4f,
                                -0x1.397560p-3f, 0x1.92f696p-3f,  -0x1.ff0f88p-3f,
                                0x1.554c80p-2f,  -0x1.ffffbep-2f, 1.0f};
  Vec p = splat(-0x1.a93350p-9f);
  for (int i = 0; i < 9; ++i) p = fma(p, y, splat(kFactors[i]));
  return p * y;
}

inline Vec softplus(Vec x) {
  const Vec decayed = exp(splat(0.0f) - abs(x));
  return max(splat(0.0f), x) + log1p_unit(decayed);
}

inline Vec sigmoid(Vec x) {
  return splat(1.0f) / (splat(1.0f) + exp(splat(0.0f) - x));
}

// Loads the first `count` lanes, zeros in the others.
inline Vec load_first(const float* p, int count) {
  return count == kLanes ? load(p) : load_partial(p, count);
}

inline void store_first(float* p, Vec v, int count) {
  if (count == kLanes) {
    store(p, v);
  } else {
    store_partial(p, v, count);
  }
}

}  // namespace unveil::UNVEIL_ISA
