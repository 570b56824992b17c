// Holds the gated unit to loops in double precision: its output, and its gradients to differences of
// the loops' output along random directions.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

extern "C" {
void unveil_unit_forward(const float* x, const float* norm_weight, const float* norm_bias,
                         const float* expand, const float* weight, const float* bias,
                         const float* project, float* kept, float* output, int64_t b, int64_t h,
                         int64_t w, int64_t c, int64_t inner, int32_t activation, float epsilon);
void unveil_unit_backward(const float* x, const float* norm_weight, const float* norm_bias,
                          const float* expand, const float* weight, const float* bias,
                          const float* project, float* kept, const float* grad_output,
                          float* grad_x, float* grad_norm_weight, float* grad_norm_bias,
                          float* grad_expand, float* grad_weight, float* grad_bias,
                          float* grad_project, int64_t b, int64_t h, int64_t w, int64_t c,
                          int64_t inner, int32_t activation, float epsilon);
}

namespace {

using Doubles = std::vector<double>;
using Floats = std::vector<float>;

enum { kX, kNormWeight, kNormBias, kExpand, kWeight, kBias, kProject, kArguments };

const char* const kNames[kArguments] = {"x",      "norm_weight", "norm_bias", "expand",
                                        "weight", "bias",        "project"};
constexpr double kEpsilon = 1e-6;

struct UnitCase {
  int64_t b, h, w, c, inner;
  int32_t activation;  // 0 none, 2 GELU
  bool projected, kept;
};

const UnitCase kCases[] = {
    {2, 5, 7, 8, 12, 0, true, true},     {2, 5, 7, 8, 12, 2, false, false},
    {1, 37, 101, 17, 5, 0, true, false}, {1, 37, 101, 17, 5, 2, true, true},
    {3, 9, 8, 40, 24, 0, false, true},
};

Doubles unit_in_double(const UnitCase& s, const Doubles (&a)[kArguments]) {
  const int64_t wide = 2 * s.inner, outputs = s.projected ? s.c : s.inner;
  Doubles expanded(size_t(s.b * s.h * s.w * wide));
  for (int64_t p = 0; p < s.b * s.h * s.w; ++p) {
    const double* x = &a[kX][size_t(p * s.c)];
    double mean = 0, power = 0;
    for (int64_t k = 0; k < s.c; ++k) mean += x[k] / double(s.c);
    for (int64_t k = 0; k < s.c; ++k) power += (x[k] - mean) * (x[k] - mean) / double(s.c);
    for (int64_t k = 0; k < s.c; ++k) {
      const double normal = (x[k] - mean) / std::sqrt(power + kEpsilon);
      const double y = normal * a[kNormWeight][size_t(k)] + a[kNormBias][size_t(k)];
      for (int64_t o = 0; o < wide; ++o)
        expanded[size_t(p * wide + o)] += y * a[kExpand][size_t(o * s.c + k)];
    }
  }
  Doubles out(size_t(s.b * s.h * s.w * outputs));
  for (int64_t p = 0; p < s.b * s.h * s.w; ++p) {
    const int64_t x = p % s.w, y = p / s.w % s.h;
    Doubles convolved(a[kBias]);
    for (int64_t o = 0; o < wide; ++o) {
      for (int64_t i = -1; i <= 1; ++i) {
        for (int64_t j = -1; j <= 1; ++j) {
          if (y + i < 0 || y + i >= s.h || x + j < 0 || x + j >= s.w) continue;
          const double tap = a[kWeight][size_t(9 * o + 3 * (i + 1) + j + 1)];
          convolved[size_t(o)] += tap * expanded[size_t((p + i * s.w + j) * wide + o)];
        }
      }
    }
    for (int64_t k = 0; k < s.inner; ++k) {
      const double v = convolved[size_t(k)];
      const double gate = s.activation ? v * std::erfc(-v / std::sqrt(2.0)) / 2 : v;
      const double gated = gate * convolved[size_t(s.inner + k)];
      if (!s.projected) out[size_t(p * outputs + k)] = gated;
      for (int64_t o = 0; s.projected && o < s.c; ++o)
        out[size_t(p * s.c + o)] += gated * a[kProject][size_t(o * s.inner + k)];
    }
    for (int64_t o = 0; s.projected && o < s.c; ++o)
      out[size_t(p * s.c + o)] += a[kX][size_t(p * s.c + o)];
  }
  return out;
}

double dot(const Doubles& a, const Doubles& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

Doubles widen(const Floats& values) { return Doubles(values.begin(), values.end()); }

bool check_case(const char* isa, const UnitCase& s, std::mt19937& engine, double& worst) {
  const int64_t pixels = s.b * s.h * s.w, wide = 2 * s.inner;
  const int64_t outputs = s.projected ? s.c : s.inner;
  const int64_t sizes[kArguments] = {pixels * s.c, s.c,  s.c, wide * s.c,
                                     wide * 9,     wide, s.c * s.inner};
  std::normal_distribution<float> normal;
  auto draw = [&](int64_t size) {
    Floats values(static_cast<size_t>(size));
    for (float& value : values) value = normal(engine);
    return values;
  };
  Floats given[kArguments], grads[kArguments];
  Doubles exact[kArguments];
  for (int i = 0; i < kArguments; ++i) {
    given[i] = draw(sizes[i]);
    exact[i] = widen(given[i]);
    grads[i].assign(size_t(sizes[i]), NAN);
  }
  const Floats upstream = draw(pixels * outputs);
  Floats output(size_t(pixels * outputs), NAN);
  Floats room(size_t(pixels * 2 * ((s.inner + 15) / 16 * 16) + 16));
  float* kept = room.data();
  while (reinterpret_cast<uintptr_t>(kept) % 64) ++kept;
  if (!s.kept) kept = nullptr;
  const float* project = s.projected ? given[kProject].data() : nullptr;
  unveil_unit_forward(given[kX].data(), given[kNormWeight].data(), given[kNormBias].data(),
                      given[kExpand].data(), given[kWeight].data(), given[kBias].data(), project,
                      kept, output.data(), s.b, s.h, s.w, s.c, s.inner, s.activation,
                      float(kEpsilon));
  unveil_unit_backward(given[kX].data(), given[kNormWeight].data(), given[kNormBias].data(),
                       given[kExpand].data(), given[kWeight].data(), given[kBias].data(), project,
                       kept, upstream.data(), grads[kX].data(), grads[kNormWeight].data(),
                       grads[kNormBias].data(), grads[kExpand].data(), grads[kWeight].data(),
                       grads[kBias].data(), grads[kProject].data(), s.b, s.h, s.w, s.c, s.inner,
                       s.activation, float(kEpsilon));

  const Doubles expected = unit_in_double(s, exact), cotangent = widen(upstream);
  double error = 0;
  for (size_t i = 0; i < output.size(); ++i)
    error += (output[i] - expected[i]) * (output[i] - expected[i]);
  const double relative = std::sqrt(error / dot(expected, expected));
  bool good = relative <= 2e-6;
  if (!good) std::printf("%s: gated unit is off by %.2e\n", isa, relative);
  worst = std::fmax(worst, relative);
  for (int i = 0; i < kArguments; ++i) {
    if (i == kProject && !s.projected) continue;
    const Doubles direction = widen(draw(sizes[i])), before = exact[i], grad = widen(grads[i]);
    double along = 0;
    for (const double sign : {1.0, -1.0}) {
      for (size_t k = 0; k < before.size(); ++k) exact[i][k] = before[k] + sign * 1e-6 * direction[k];
      along += sign * dot(unit_in_double(s, exact), cotangent) / 2e-6;
    }
    exact[i] = before;
    const double size = std::sqrt(dot(grad, grad) * dot(direction, direction));
    const double off = std::fabs(dot(grad, direction) - along) / size;
    if (!(off <= 1e-5)) {
      std::printf("%s: the gated unit's gradient of %s is off by %.2e\n", isa, kNames[i], off);
      good = false;
    }
  }
  return good;
}

}  // namespace

bool check_unit(const char* isa) {
  std::mt19937 engine(11);
  double worst = 0;
  bool good = true;
  for (const UnitCase& s : kCases) good &= check_case(isa, s, engine, worst);
  std::printf("%s: gated unit is off by %.1e at most\n", isa, worst);
  return good;
}
