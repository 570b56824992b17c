// The machine's limit: only the exponential and the two multiply-adds of the recurrence, in
// registers. Nothing that computes the scan with this exponential can be faster.
#include "simd.h"

namespace unveil::UNVEIL_ISA {

// Hides a value from the optimiser, which would otherwise take the exponential out of the loop.
inline void hide(Vec& x) {
#if defined(__GNUC__) && defined(UNVEIL_ISA_NEON)
  __asm__ volatile("" : "+w"(x.v));
#elif defined(__GNUC__) && !defined(UNVEIL_ISA_PORTABLE)
  __asm__ volatile("" : "+v"(x.v));
#else
  static volatile float one = 1.0f;
  x = x * splat(one);
#endif
}

// Takes `steps` steps of eight independent states; returns the state updates made.
int64_t scan_limit(int64_t steps, float* sink) {
  constexpr int kStates = 8;
  Vec h[kStates], x[kStates], y[2] = {splat(0.0f), splat(0.0f)};
  const Vec b = splat(1.0f), c = splat(0.5f);
  for (int i = 0; i < kStates; ++i) {
    h[i] = splat(0.0f);
    x[i] = splat(-0.1f * float(i + 1));
  }
  for (int64_t t = 0; t < steps; ++t) {
    for (int i = 0; i < kStates; ++i) {
      hide(x[i]);
      h[i] = fma(exp2(x[i]), h[i], b);
      y[i % 2] = fma(c, h[i], y[i % 2]);
    }
  }
  store(sink, y[0] + y[1]);
  return steps * kStates * kLanes;
}

void exp2_array(const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = int(count - i < kLanes ? count - i : kLanes);
    store_first(y + i, exp2(load_first(x + i, left)), left);
  }
}

}  // namespace unveil::UNVEIL_ISA
