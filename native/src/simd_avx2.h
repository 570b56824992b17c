// 8 floats in an AVX2 register.
#pragma once
#include <immintrin.h>

#include "table.h"

namespace unveil::UNVEIL_ISA {

struct Vec {
  static constexpr int lanes = 8;
  __m256 v;
};

inline __m256i first(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }
inline Vec splat(float x) { return {_mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec load_partial(const float* p, int count) {
  return {_mm256_maskload_ps(p, first(count))};
}
inline void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
// Past the caches, for what is read much later; `p` is aligned to the register.
inline void store_past(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
inline void end_stores_past() { _mm_sfence(); }
inline void store_partial(float* p, Vec a, int count) {
  _mm256_maskstore_ps(p, first(count), a.v);
}
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
// A NaN in `b` is returned.
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }

struct Split {
  Vec fraction, integer;
};

// Nearest integer and the rest, of x held to [-150, 128] where 2^x leaves the range of a float.
inline Split split_integer(Vec x) {
  const Vec held = min(splat(128.0f), max(splat(-150.0f), x));
  const Vec integer = {_mm256_round_ps(held.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  return {held - integer, integer};
}
// p 2^integer by adding to the exponent; below the normal range the result is 0.
inline Vec scale_by_power(Vec p, Vec integer) {
  const __m256i shift = _mm256_slli_epi32(_mm256_cvtps_epi32(integer.v), 23);
  const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p.v), shift));
  const __m256 tiny = _mm256_cmp_ps(integer.v, _mm256_set1_ps(-125.0f), _CMP_LT_OQ);
  const __m256 nan = _mm256_cmp_ps(p.v, p.v, _CMP_UNORD_Q);
  return {_mm256_blendv_ps(_mm256_andnot_ps(tiny, scaled), p.v, nan)};
}

inline float sum(Vec a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

inline Vec load_bf16(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
inline Vec load_fp16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p))};
}
// Round to nearest even; NaN stays NaN.
inline void store_bf16(uint16_t* p, Vec a) {
  const __m256i bits = _mm256_castps_si256(a.v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q));
  const __m256i kept = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), nan);
  const __m256i high = _mm256_srli_epi32(kept, 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(packed));
}
inline void store_fp16(uint16_t* p, Vec a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

// Lane j of row i becomes lane i of row j.
inline void transpose(Vec (&row)[8]) {
  __m256 t[8], s[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(row[i].v, row[i + 1].v);
    t[i + 1] = _mm256_unpackhi_ps(row[i].v, row[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    s[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    s[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    s[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    s[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    row[i].v = _mm256_permute2f128_ps(s[i], s[i + 4], 0x20);
    row[i + 4].v = _mm256_permute2f128_ps(s[i], s[i + 4], 0x31);
  }
}

// Adds the sums over lanes of v[0..4) to b and of v[4..8) to c.
inline void add_lane_sums(const Vec (&v)[8], float* b, float* c) {
  float* const to[2] = {b, c};
  for (int i = 0; i < 2; ++i) {
    const Vec* four = v + 4 * i;
    const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(four[0].v, four[1].v),
                                       _mm256_hadd_ps(four[2].v, four[3].v));
    const __m128 total = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
    _mm_storeu_ps(to[i], _mm_add_ps(_mm_loadu_ps(to[i]), total));
  }
}

}  // namespace unveil::UNVEIL_ISA
