// What the checks of products share: random arrays, and the distance from double precision.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

using Doubles = std::vector<double>;
using Floats = std::vector<float>;

struct Checker {
  const char* isa;
  std::mt19937 engine{13};
  double worst = 0;
  bool good = true;

  Floats draw(int64_t size) {
    std::normal_distribution<float> normal;
    Floats values(static_cast<size_t>(size));
    for (float& value : values) value = normal(engine);
    return values;
  }
  void hold(const char* name, const Floats& found, const Doubles& expected) {
    double error = 0, size = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      error += (found[i] - expected[i]) * (found[i] - expected[i]);
      size += expected[i] * expected[i];
    }
    const double relative = std::sqrt(error / size);
    worst = std::fmax(worst, relative);
    if (relative <= 2e-6) return;
    std::printf("%s: %s is off by %.2e\n", isa, name, relative);
    good = false;
  }
  // Holds gradients of sum(grad * function(in)) to differences along each: the slope in a gradient's
  // own direction is its squared length.
  template <class Function>
  void hold_gradients(const char* name, const std::vector<Doubles>& in, const Floats& grad,
                      const std::vector<Floats>& gradients, const Function& function) {
    for (size_t i = 0; i < in.size(); ++i) {
      double square = 0, slope = 0;
      for (float value : gradients[i]) square += double(value) * value;
      const double step = 1e-5 / std::sqrt(square);
      for (int sign : {-1, 1}) {
        std::vector<Doubles> moved = in;
        for (size_t k = 0; k < moved[i].size(); ++k) moved[i][k] += sign * step * gradients[i][k];
        const Doubles y = function(moved);
        for (size_t k = 0; k < y.size(); ++k) slope += sign * y[k] * grad[k] / (2 * step);
      }
      hold(name, {float(slope / square)}, {1.0});
    }
  }
};
