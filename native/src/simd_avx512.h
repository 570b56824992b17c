// 16 floats in an AVX-512 register.
#pragma once
#include <immintrin.h>

#include "table.h"

namespace unveil::UNVEIL_ISA {

struct Vec {
  static constexpr int lanes = 16;
  __m512 v;
};

inline __mmask16 first(int count) { return __mmask16((1u << count) - 1u); }

inline void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T0); }
inline Vec splat(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec load_partial(const float* p, int count) {
  return {_mm512_maskz_loadu_ps(first(count), p)};
}
inline void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
// Past the caches, for what is read much later; `p` is aligned to the register.
inline void store_past(float* p, Vec a) { _mm512_stream_ps(p, a.v); }
inline void end_stores_past() { _mm_sfence(); }
inline void store_partial(float* p, Vec a, int count) {
  _mm512_mask_storeu_ps(p, first(count), a.v);
}
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
// A NaN in `b` is returned.
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }

struct Split {
  Vec fraction, integer;
};

// Nearest integer and the rest; infinities give a rest of 0.
inline Split split_integer(Vec x) {
  const Vec fraction = {_mm512_reduce_ps(x.v, 0x08)};
  return {fraction, x - fraction};
}
inline Vec scale_by_power(Vec p, Vec integer) { return {_mm512_scalef_ps(p.v, integer.v)}; }

inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }

inline Vec load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
inline Vec load_fp16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))};
}
// Round to nearest even; NaN stays NaN.
inline void store_bf16(uint16_t* p, Vec a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
}
inline void store_fp16(uint16_t* p, Vec a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

// Lane j of row i becomes lane i of row j.
inline void transpose(Vec (&row)[16]) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(row[i].v, row[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(row[i].v, row[i + 1].v);
  }
  __m512 s[16];
  for (int i = 0; i < 16; i += 4) {
    s[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    s[i + 1] =
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    s[i + 2] =
        _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    s[i + 3] =
        _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
  }
  for (int i = 0; i < 4; ++i) {
    const __m512 low = _mm512_shuffle_f32x4(s[i], s[i + 4], 0x88);
    const __m512 low2 = _mm512_shuffle_f32x4(s[i + 8], s[i + 12], 0x88);
    const __m512 high = _mm512_shuffle_f32x4(s[i], s[i + 4], 0xdd);
    const __m512 high2 = _mm512_shuffle_f32x4(s[i + 8], s[i + 12], 0xdd);
    row[i].v = _mm512_shuffle_f32x4(low, low2, 0x88);
    row[i + 8].v = _mm512_shuffle_f32x4(low, low2, 0xdd);
    row[i + 4].v = _mm512_shuffle_f32x4(high, high2, 0x88);
    row[i + 12].v = _mm512_shuffle_f32x4(high, high2, 0xdd);
  }
}

// Adds the sums over lanes of v[0..4) to b and of v[4..8) to c.
inline void add_lane_sums(const Vec (&v)[8], float* b, float* c) {
  __m512 quarter[4];
  for (int i = 0; i < 4; ++i) {
    const __m512 x = v[2 * i].v, y = v[2 * i + 1].v;
    quarter[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
  }
  __m512 four[2];
  for (int i = 0; i < 2; ++i) {
    const __m512 x = quarter[2 * i], y = quarter[2 * i + 1];
    four[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
  }
  const __m512 pairs = _mm512_add_ps(_mm512_shuffle_ps(four[0], four[1], 0x88),
                                     _mm512_shuffle_ps(four[0], four[1], 0xdd));
  const __m512 sums = _mm512_add_ps(pairs, _mm512_permute_ps(pairs, 0xb1));
  const __m512i order =
      _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m256 sorted = _mm512_castps512_ps256(_mm512_permutexvar_ps(order, sums));
  _mm_storeu_ps(b, _mm_add_ps(_mm_loadu_ps(b), _mm256_castps256_ps128(sorted)));
  _mm_storeu_ps(c, _mm_add_ps(_mm_loadu_ps(c), _mm256_extractf128_ps(sorted, 1)));
}

}  // namespace unveil::UNVEIL_ISA
