// Holds the linear maps of channels, their weights' gradients, inner products of channels and the
// attention to tokens to loops in double precision.
#include <algorithm>

#include "checker.h"

extern "C" {
void unveil_pointwise_forward(const float* x, const float* second, const float* weight,
                              const float* residual, float* output, int64_t b, int64_t h,
                              int64_t w, int64_t c, int64_t outputs, int64_t matrices,
                              int32_t sampling);
void unveil_pointwise_weight(const float* x, const float* second, const float* grad,
                             float* grad_weight, int64_t b, int64_t h, int64_t w, int64_t c,
                             int64_t outputs, int64_t matrices, int32_t sampling);
void unveil_gram(const float* x, float* output, int64_t b, int64_t pixels, int64_t channels);
void unveil_token_attention(const float* x, const float* y, const float* gain, const float* keys,
                            const float* values, const float* matrix, float* output, int64_t b,
                            int64_t pixels, int64_t c, int64_t tokens, int64_t heads,
                            int64_t sets);
void unveil_token_attention_backward(const float* x, const float* y, const float* gain,
                                     const float* keys, const float* values, const float* matrix,
                                     const float* grad_output, float* grad_x, float* grad_y,
                                     float* grad_gain, float* grad_keys, float* grad_values,
                                     float* grad_matrix, int64_t b, int64_t pixels, int64_t c,
                                     int64_t tokens, int64_t heads, int64_t sets);
}

namespace {

struct PointwiseCase {
  int64_t b, h, w, c, outputs, matrices;
  int32_t sampling;
  bool second, residual;
};

const PointwiseCase kCases[] = {
    {1, 1, 1, 16, 16, 1, 0, false, false},  {2, 5, 7, 48, 80, 1, 0, false, true},
    {3, 9, 31, 32, 48, 3, 0, false, true},  {2, 3, 101, 16, 32, 1, 0, true, false},
    {2, 5, 7, 16, 48, 1, 1, false, true},   {1, 3, 101, 32, 16, 1, 1, false, false},
    {2, 5, 7, 16, 96, 1, 2, false, true},   {1, 3, 101, 48, 32, 1, 2, false, false},
};

// Calls body(output, input, image, row and column of the matrix, input array) for every product.
template <class Body>
void each_product(const PointwiseCase& s, const Body& body) {
  const int64_t inputs = s.c * (s.sampling == 1 ? 4 : s.second ? 2 : 1);
  for (int64_t p = 0; p < s.b * s.h * s.w; ++p) {
    const int64_t x = p % s.w, y = p / s.w % s.h, image = p / s.w / s.h;
    const auto in_patch = [&](int64_t corner) {
      return (2 * (image * s.h + y) + corner / 2) * 2 * s.w + 2 * x + corner % 2;
    };
    for (int64_t o = 0; o < s.outputs; ++o) {
      const int64_t part = s.outputs / 4;
      const int64_t out = s.sampling == 2 ? in_patch(o / part) * part + o % part
                                          : p * s.outputs + o;
      for (int64_t k = 0; k < inputs; ++k) {
        const int64_t in = s.sampling == 1 ? in_patch(k / s.c) : p;
        const int64_t matrix = s.matrices > 1 ? image : 0;
        body(size_t(out), size_t(in * s.c + k % s.c), size_t((matrix * s.outputs + o) * inputs + k),
             s.sampling != 1 && k >= s.c);
      }
    }
  }
}

void check_case(Checker& checker, const PointwiseCase& s) {
  const int64_t positions = s.b * s.h * s.w, grown = s.sampling == 1 ? 4 : 1;
  const int64_t inputs = s.c * (s.sampling == 1 ? 4 : s.second ? 2 : 1);
  const Floats x = checker.draw(positions * grown * s.c);
  const Floats second = checker.draw(s.second ? positions * s.c : 0);
  const Floats weight = checker.draw(s.matrices * s.outputs * inputs);
  const Floats residual = checker.draw(positions * s.outputs), grad = checker.draw(positions * s.outputs);
  Floats output(residual.size(), NAN), sums(weight.size(), NAN);
  const float* other = s.second ? second.data() : nullptr;
  unveil_pointwise_forward(x.data(), other, weight.data(), s.residual ? residual.data() : nullptr,
                           output.data(), s.b, s.h, s.w, s.c, s.outputs, s.matrices, s.sampling);
  unveil_pointwise_weight(x.data(), other, grad.data(), sums.data(), s.b, s.h, s.w, s.c, s.outputs,
                          s.matrices, s.sampling);
  Doubles expected(output.size()), gradient(sums.size());
  for (size_t i = 0; s.residual && i < expected.size(); ++i) expected[i] = residual[i];
  each_product(s, [&](size_t out, size_t in, size_t at, bool from_second) {
    const double value = from_second ? second[in] : x[in];
    expected[out] += value * weight[at];
    gradient[at] += value * grad[out];
  });
  checker.hold("a pointwise convolution", output, expected);
  checker.hold("its weights' gradient", sums, gradient);
}

void check_gram(Checker& checker, int64_t b, int64_t pixels, int64_t c) {
  const Floats x = checker.draw(b * pixels * c);
  Floats output(size_t(b * c * c), NAN);
  unveil_gram(x.data(), output.data(), b, pixels, c);
  Doubles expected(output.size());
  for (int64_t p = 0; p < b * pixels; ++p)
    for (int64_t i = 0; i < c; ++i)
      for (int64_t j = 0; j < c; ++j)
        expected[size_t((p / pixels * c + i) * c + j)] +=
            double(x[size_t(p * c + i)]) * x[size_t(p * c + j)] / double(pixels);
  checker.hold("inner products of channels", output, expected);
}

struct TokenAttention {
  int64_t b, pixels, c, tokens, heads, sets;

  // Inputs: x, y, gain, keys, values, matrix.
  Doubles operator()(const std::vector<Doubles>& in) const {
    Doubles output(in[0].size());
    const int64_t own = tokens / heads;
    for (int64_t p = 0; p < b * pixels; ++p) {
      const int64_t set = sets > 1 ? p / pixels : 0;
      Doubles weights(static_cast<size_t>(tokens));
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t k = 0; k < c; ++k)
          weights[size_t(t)] += in[1][size_t(p * c + k)] * in[3][size_t((set * tokens + t) * c + k)];
      for (int64_t head = 0; head < heads; ++head) {
        double* first = weights.data() + head * own;
        const double most = *std::max_element(first, first + own);
        double total = 0;
        for (int64_t t = 0; t < own; ++t) total += first[t] = std::exp(first[t] - most);
        for (int64_t t = 0; t < own; ++t) first[t] /= total;
      }
      for (int64_t o = 0; o < c; ++o) {
        double sum = in[0][size_t(p * c + o)] * in[2][size_t(set * c + o)];
        for (int64_t t = 0; t < tokens; ++t)
          sum += weights[size_t(t)] * in[4][size_t((set * c + o) * tokens + t)];
        for (int64_t k = 0; k < c; ++k)
          sum += in[1][size_t(p * c + k)] * in[5][size_t((set * c + o) * c + k)];
        output[size_t(p * c + o)] = sum;
      }
    }
    return output;
  }
};

void check_attention(Checker& checker, const TokenAttention& attention) {
  const auto [b, pixels, c, tokens, heads, sets] = attention;
  const int64_t size = b * pixels * c;
  std::vector<Floats> in;
  for (int64_t length : {size, size, sets * c, sets * tokens * c, sets * c * tokens, sets * c * c})
    in.push_back(checker.draw(length));
  for (float& key : in[3]) key /= std::sqrt(float(c));
  const Floats grad = checker.draw(size);
  std::vector<Floats> slopes;
  std::vector<Doubles> exact;
  for (const Floats& values : in) {
    slopes.emplace_back(values.size(), NAN);
    exact.emplace_back(values.begin(), values.end());
  }
  Floats output(grad.size(), NAN);
  unveil_token_attention(in[0].data(), in[1].data(), in[2].data(), in[3].data(), in[4].data(),
                         in[5].data(), output.data(), b, pixels, c, tokens, heads, sets);
  checker.hold("attention to tokens", output, attention(exact));
  unveil_token_attention_backward(
      in[0].data(), in[1].data(), in[2].data(), in[3].data(), in[4].data(), in[5].data(),
      grad.data(), slopes[0].data(), slopes[1].data(), slopes[2].data(), slopes[3].data(),
      slopes[4].data(), slopes[5].data(), b, pixels, c, tokens, heads, sets);
  checker.hold_gradients("a gradient of attention to tokens", exact, grad, slopes, attention);
}

}  // namespace

bool check_pointwise(const char* isa) {
  Checker checker{isa};
  for (const PointwiseCase& s : kCases) check_case(checker, s);
  check_gram(checker, 1, 1, 16);
  check_gram(checker, 2, 203, 48);
  check_attention(checker, {1, 1, 16, 2, 1, 1});
  check_attention(checker, {2, 203, 48, 64, 4, 2});
  std::printf("%s: linear maps of channels are off by %.1e at most\n", isa, checker.worst);
  return checker.good;
}
