// 4 floats in plain C++, for the compiler to vectorise: SSE2 on x86-64.
#pragma once
#include <cmath>
#include <cstring>

#include "table.h"

namespace unveil::UNVEIL_ISA {

// As an array they would travel through memory, and GCC then calls these functions.
#if defined(__GNUC__)
typedef float Four __attribute__((vector_size(16)));
#else
struct Four {
  float lane[4];
  float& operator[](int i) { return lane[i]; }
  float operator[](int i) const { return lane[i]; }
};
#endif

struct Vec {
  static constexpr int lanes = 4;
  Four v;
};

template <class F>
inline Vec each(F f) {
  Vec r{};
  for (int i = 0; i < 4; ++i) r.v[i] = f(i);
  return r;
}

inline float as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline uint32_t as_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

inline void prefetch(const char*) {}
inline Vec splat(float x) { return each([=](int) { return x; }); }
inline Vec load(const float* p) { return each([=](int i) { return p[i]; }); }
inline Vec load_partial(const float* p, int count) {
  return each([=](int i) { return i < count ? p[i] : 0.0f; });
}
inline void store(float* p, Vec a) {
  for (int i = 0; i < 4; ++i) p[i] = a.v[i];
}
inline void store_past(float* p, Vec a) { store(p, a); }
inline void end_stores_past() {}
inline void store_partial(float* p, Vec a, int count) {
  for (int i = 0; i < count; ++i) p[i] = a.v[i];
}
inline Vec operator+(Vec a, Vec b) { return each([=](int i) { return a.v[i] + b.v[i]; }); }
inline Vec operator-(Vec a, Vec b) { return each([=](int i) { return a.v[i] - b.v[i]; }); }
inline Vec operator*(Vec a, Vec b) { return each([=](int i) { return a.v[i] * b.v[i]; }); }
inline Vec operator/(Vec a, Vec b) { return each([=](int i) { return a.v[i] / b.v[i]; }); }
inline Vec fma(Vec a, Vec b, Vec c) {
  return each([=](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline Vec abs(Vec a) {
  return each([=](int i) { return as_float(as_bits(a.v[i]) & 0x7fffffffu); });
}
// A NaN in `b` is returned.
inline Vec max(Vec a, Vec b) { return each([=](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline Vec min(Vec a, Vec b) { return each([=](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }

struct Split {
  Vec fraction, integer;
};

// Nearest integer and the rest, of x held to [-150, 128] where 2^x leaves the range of a float.
// Adding 1.5 x 2^23 leaves the integer in the low bits.
inline Split split_integer(Vec x) {
  const Vec held = min(splat(128.0f), max(splat(-150.0f), x));
  const Vec integer =
      each([=](int i) { const float t = held.v[i] + 12582912.0f; return t - 12582912.0f; });
  return {held - integer, integer};
}
// p 2^integer by adding to the exponent; below the normal range the result is 0.
inline Vec scale_by_power(Vec p, Vec integer) {
  return each([=](int i) {
    const bool is_number = p.v[i] == p.v[i];
    const int32_t power = is_number ? int32_t(integer.v[i]) : 0;
    const float scaled = as_float(as_bits(p.v[i]) + (uint32_t(power) << 23));
    return power < -125 ? 0.0f : scaled;
  });
}

inline float sum(Vec a) { return (a.v[0] + a.v[2]) + (a.v[1] + a.v[3]); }

inline Vec load_bf16(const uint16_t* p) {
  return each([=](int i) { return as_float(uint32_t(p[i]) << 16); });
}
inline float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t body = uint32_t(h & 0x7fffu) << 13;
  if ((h & 0x7c00u) == 0x7c00u) return as_float(sign | 0x7f800000u | body);
  // Read as a float with the small exponent, then scaled by 2^112: also right for subnormals.
  return as_float(sign | as_bits(as_float(body) * 0x1p112f));
}
inline Vec load_fp16(const uint16_t* p) {
  return each([=](int i) { return half_to_float(p[i]); });
}
// Round to nearest even; NaN stays NaN.
inline void store_bf16(uint16_t* p, Vec a) {
  for (int i = 0; i < 4; ++i) {
    const uint32_t bits = as_bits(a.v[i]);
    const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    p[i] = a.v[i] == a.v[i] ? uint16_t(rounded >> 16) : uint16_t(0x7fc0);
  }
}
inline uint16_t float_to_half(float x) {
  const uint32_t bits = as_bits(x), sign = (bits >> 16) & 0x8000u, body = bits & 0x7fffffffu;
  if (body > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (body >= 0x477ff000u) return uint16_t(sign | 0x7c00u);
  if (body < 0x38800000u) {
    // Subnormal: adding 2^-1 leaves the rounded mantissa in the low bits.
    const float shifted = as_float(body) + 0.5f;
    return uint16_t(sign | (as_bits(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = body - 0x38000000u + 0xfffu + ((body >> 13) & 1u);
  return uint16_t(sign | (rounded >> 13));
}
inline void store_fp16(uint16_t* p, Vec a) {
  for (int i = 0; i < 4; ++i) p[i] = float_to_half(a.v[i]);
}

// Lane j of row i becomes lane i of row j.
inline void transpose(Vec (&row)[4]) {
  for (int i = 0; i < 4; ++i) {
    for (int j = i + 1; j < 4; ++j) {
      const float t = row[i].v[j];
      row[i].v[j] = row[j].v[i];
      row[j].v[i] = t;
    }
  }
}

// Adds the sums over lanes of v[0..4) to b and of v[4..8) to c.
inline void add_lane_sums(const Vec (&v)[8], float* b, float* c) {
  for (int i = 0; i < 4; ++i) {
    b[i] += sum(v[i]);
    c[i] += sum(v[4 + i]);
  }
}

}  // namespace unveil::UNVEIL_ISA
