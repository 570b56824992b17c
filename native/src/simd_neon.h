// 4 floats in a NEON register of a 64-bit ARM processor; every one of them has these.
#pragma once
#include <arm_neon.h>

#include "table.h"

namespace unveil::UNVEIL_ISA {

struct Vec {
  static constexpr int lanes = 4;
  float32x4_t v;
};

inline void prefetch(const char* p) { __builtin_prefetch(p); }
inline Vec splat(float x) { return {vdupq_n_f32(x)}; }
inline Vec load(const float* p) { return {vld1q_f32(p)}; }
inline Vec load_partial(const float* p, int count) {
  float held[4] = {};
  for (int i = 0; i < count; ++i) held[i] = p[i];
  return load(held);
}
inline void store(float* p, Vec a) { vst1q_f32(p, a.v); }
inline void store_past(float* p, Vec a) { store(p, a); }
inline void end_stores_past() {}
inline void store_partial(float* p, Vec a, int count) {
  float held[4];
  store(held, a);
  for (int i = 0; i < count; ++i) p[i] = held[i];
}
inline Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {vdivq_f32(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline Vec abs(Vec a) { return {vabsq_f32(a.v)}; }
// A NaN in either is returned.
inline Vec max(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {vminq_f32(a.v, b.v)}; }

struct Split {
  Vec fraction, integer;
};

// Nearest integer and the rest, of x held to [-150, 128] where 2^x leaves the range of a float.
inline Split split_integer(Vec x) {
  const Vec held = min(splat(128.0f), max(splat(-150.0f), x));
  const Vec integer = {vrndnq_f32(held.v)};
  return {held - integer, integer};
}
// p 2^integer by adding to the exponent; below the normal range the result is 0.
inline Vec scale_by_power(Vec p, Vec integer) {
  const int32x4_t shift = vshlq_n_s32(vcvtq_s32_f32(integer.v), 23);
  const uint32x4_t scaled = vreinterpretq_u32_s32(vaddq_s32(vreinterpretq_s32_f32(p.v), shift));
  const uint32x4_t tiny = vcltq_f32(integer.v, vdupq_n_f32(-125.0f));
  const uint32x4_t number = vceqq_f32(p.v, p.v);
  return {vbslq_f32(number, vreinterpretq_f32_u32(vbicq_u32(scaled, tiny)), p.v)};
}

inline float sum(Vec a) { return vaddvq_f32(a.v); }

inline Vec load_bf16(const uint16_t* p) {
  return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))};
}
inline Vec load_fp16(const uint16_t* p) {
  return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))};
}
// Round to nearest even; NaN stays NaN.
inline void store_bf16(uint16_t* p, Vec a) {
  const uint32x4_t bits = vreinterpretq_u32_f32(a.v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t number = vceqq_f32(a.v, a.v);
  vst1_u16(p, vshrn_n_u32(vbslq_u32(number, rounded, vdupq_n_u32(0x7fc00000)), 16));
}
inline void store_fp16(uint16_t* p, Vec a) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a.v)));
}

// Lane j of row i becomes lane i of row j.
inline void transpose(Vec (&row)[4]) {
  const float64x2_t even01 = vreinterpretq_f64_f32(vtrn1q_f32(row[0].v, row[1].v));
  const float64x2_t odd01 = vreinterpretq_f64_f32(vtrn2q_f32(row[0].v, row[1].v));
  const float64x2_t even23 = vreinterpretq_f64_f32(vtrn1q_f32(row[2].v, row[3].v));
  const float64x2_t odd23 = vreinterpretq_f64_f32(vtrn2q_f32(row[2].v, row[3].v));
  row[0].v = vreinterpretq_f32_f64(vtrn1q_f64(even01, even23));
  row[1].v = vreinterpretq_f32_f64(vtrn1q_f64(odd01, odd23));
  row[2].v = vreinterpretq_f32_f64(vtrn2q_f64(even01, even23));
  row[3].v = vreinterpretq_f32_f64(vtrn2q_f64(odd01, odd23));
}

// Adds the sums over lanes of v[0..4) to b and of v[4..8) to c.
inline void add_lane_sums(const Vec (&v)[8], float* b, float* c) {
  for (int half = 0; half < 2; ++half) {
    const Vec* from = v + 4 * half;
    float* to = half == 0 ? b : c;
    const float32x4_t pairs01 = vpaddq_f32(from[0].v, from[1].v);
    const float32x4_t pairs23 = vpaddq_f32(from[2].v, from[3].v);
    vst1q_f32(to, vaddq_f32(vld1q_f32(to), vpaddq_f32(pairs01, pairs23)));
  }
}

}  // namespace unveil::UNVEIL_ISA
