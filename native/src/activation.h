// Activations inside the fused passes: value, and value with slope for the backward pass.
#pragma once
#include "simd.h"

namespace unveil::UNVEIL_ISA {

#if defined(UNVEIL_ISA_AVX512)
inline Vec where_positive(Vec x, Vec yes, Vec no) {
  return {_mm512_mask_mov_ps(no.v, _mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_GT_OQ), yes.v)};
}
// One Newton step on the 14-bit estimate: a unit in the last place, a third of a division's time.
// Infinity gives NaN.
inline Vec reciprocal(Vec x) {
  const Vec guess = {_mm512_rcp14_ps(x.v)};
  return guess * (splat(2.0f) - x * guess);
}
#elif defined(UNVEIL_ISA_AVX2)
inline Vec where_positive(Vec x, Vec yes, Vec no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_GT_OQ))};
}
inline Vec reciprocal(Vec x) { return splat(1.0f) / x; }
#elif defined(UNVEIL_ISA_NEON)
inline Vec where_positive(Vec x, Vec yes, Vec no) {
  return {vbslq_f32(vcgtzq_f32(x.v), yes.v, no.v)};
}
inline Vec reciprocal(Vec x) { return splat(1.0f) / x; }
#else
inline Vec where_positive(Vec x, Vec yes, Vec no) {
  return each([=](int i) { return x.v[i] > 0.0f ? yes.v[i] : no.v[i]; });
}
inline Vec reciprocal(Vec x) { return splat(1.0f) / x; }
#endif

struct Tangent {
  Vec value, slope;
};

struct Identity {
  Vec value(Vec x) const { return x; }
  Tangent tangent(Vec x) const { return {x, splat(1.0f)}; }
};

struct LeakyRelu {
  float negative_slope;
  Vec value(Vec x) const { return where_positive(x, x, x * splat(negative_slope)); }
  Tangent tangent(Vec x) const {
    return {value(x), where_positive(x, splat(1.0f), splat(negative_slope))};
  }
};

struct Silu {
  // Held to -88, where the exponential is still finite.
  static Vec logistic(Vec x) {
    return reciprocal(splat(1.0f) + exp(splat(0.0f) - max(splat(-88.0f), x)));
  }
  Vec value(Vec x) const { return x * logistic(x); }
  Tangent tangent(Vec x) const {
    const Vec s = logistic(x), y = x * s;
    return {y, fma(y, splat(1.0f) - s, s)};
  }
};

// x Phi(x) with the normal distribution function Phi. With t = 1 / (1 + 0.35 |x|) its tail is
// Phi(-|x|) = exp(-x^2/2) t P(t); P was fitted on |x| <= 13.5 with relative error 3.2e-8.
struct Gelu {
  Vec value(Vec x) const { return tangent(x).value; }
  Tangent tangent(Vec x) const {
    const Vec size = splat(0.0f) - max(splat(-1e18f), splat(0.0f) - abs(x));
    const Vec t = reciprocal(fma(size, splat(0.35f), splat(1.0f)));
    Vec p = fma(t, splat(-2.912587674e-02f), splat(1.438722895e-01f));
    p = fma(t, p, splat(-2.555046733e-01f));
    p = fma(t, p, splat(1.589294114e-01f));
    p = fma(t, p, splat(-2.293721877e-02f));
    p = fma(t, p, splat(1.054329696e-01f));
    p = fma(t, p, splat(1.198524293e-01f));
    p = fma(t, p, splat(1.398590833e-01f));
    p = fma(t, p, splat(1.396215698e-01f));
    const Vec bell = exp(size * size * splat(-0.5f)), tail = bell * t * p;
    const Vec phi = where_positive(x, splat(1.0f) - tail, tail);
    return {x * phi, fma(size * bell, where_positive(x, splat(0.39894228f), splat(-0.39894228f)), phi)};
  }
};

// Calls `body` with the activation of this code (see DepthwiseArgs).
template <class Body>
void with_activation(int32_t code, float negative_slope, const Body& body) {
  switch (code) {
    case 1: return body(Silu{});
    case 2: return body(Gelu{});
    case 3: return body(LeakyRelu{negative_slope});
    default: return body(Identity{});
  }
}

}  // namespace unveil::UNVEIL_ISA
