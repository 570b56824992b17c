// `Vec`: one SIMD register of floats, the same operations on every instruction set.
#pragma once
#include "table.h"

#if defined(UNVEIL_ISA_AVX512)
#include "simd_avx512.h"
#elif defined(UNVEIL_ISA_AVX2)
#include "simd_avx2.h"
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

// log(1 + y) for y in [0, 1], accurate relative to y: 2 atanh(y / (2 + y)).
inline Vec log1p_unit(Vec y) {
  const Vec s = y / (y + splat(2.0f));
  const Vec s2 = s * s;
  Vec p = fma(s2, splat(1.0f / 15), splat(1.0f / 13));
  p = fma(s2, p, splat(1.0f / 11));
  p = fma(s2, p, splat(1.0f / 9));
  p = fma(s2, p, splat(1.0f / 7));
  p = fma(s2, p, splat(1.0f / 5));
  p = fma(s2, p, splat(1.0f / 3));
  return fma(s2 * (s + s), p, s + s);
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
