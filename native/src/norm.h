// Mean and deviation of a row of channels.
#pragma once
#include <cmath>

#include "simd.h"

namespace unveil::UNVEIL_ISA {

// A width known to the compiler, which then keeps a row in registers.
template <int kVectors>
struct Whole {
  constexpr operator int64_t() const { return kVectors * kLanes; }
};

// Calls body(width), with the width as a constant where it is a few whole vectors.
template <class Body>
void with_width(int64_t channels, const Body& body) {
  switch (channels % kLanes ? 0 : channels / kLanes) {
    case 2: return body(Whole<2>{});
    case 3: return body(Whole<3>{});
    case 4: return body(Whole<4>{});
    case 5: return body(Whole<5>{});
    case 6: return body(Whole<6>{});
    default: return body(channels);
  }
}

// Calls body(first channel, count) for every vector of a row.
template <class Width, class Body>
inline void for_vectors(Width channels, const Body& body) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) body(c, kLanes);
  if (c < channels) body(c, int(channels - c));
}

struct Moments {
  Vec mean, scale;  // x is normalised to (x - mean) scale
};

template <class Width>
inline Moments moments(const float* x, Width channels, float epsilon) {
  Vec total = splat(0.0f), power = splat(0.0f);
  for_vectors(channels, [&](int64_t c, int n) { total = total + load_first(x + c, n); });
  const Vec mean = splat(sum(total) / float(channels));
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Vec centred = load(x + c) - mean;
    power = fma(centred, centred, power);
  }
  float variance = sum(power);
  if (c < channels) {
    // The empty lanes hold (0 - mean)^2; they are stored apart rather than subtracted.
    alignas(64) float squares[kLanes];
    const Vec centred = load_partial(x + c, int(channels - c)) - mean;
    store(squares, centred * centred);
    for (int i = 0; i < int(channels - c); ++i) variance += squares[i];
  }
  return {mean, splat(1.0f / std::sqrt(variance / float(channels) + epsilon))};
}

}  // namespace unveil::UNVEIL_ISA
