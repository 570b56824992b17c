// Holds the attention over channels to a function in double precision, its gradients to differences.
#include "checker.h"

extern "C" {
void unveil_gram_attention_forward(const float* gram, const float* out, const float* query,
                                   const float* key, const float* value, const float* temperature,
                                   float* kept, float* output, int64_t b, int64_t c,
                                   int64_t outputs, int64_t heads);
void unveil_gram_attention_backward(const float* gram, const float* out, const float* query,
                                    const float* key, const float* value, const float* temperature,
                                    float* kept, const float* grad_output, float* grad_gram,
                                    float* grad_out, float* grad_query, float* grad_key,
                                    float* grad_value, float* grad_temperature, int64_t b,
                                    int64_t c, int64_t outputs, int64_t heads);
}

namespace {

struct Attention {
  int64_t b, c, outputs, heads;

  // Inputs: gram, out, query, key, value, temperature.
  Doubles operator()(const std::vector<Doubles>& in) const {
    const int64_t own = c / heads;
    Doubles result;
    for (int64_t image = 0; image < b; ++image) {
      const double* gram = in[0].data() + image * c * c;
      const Doubles query = multiply(in[2].data(), gram, c), key = multiply(in[3].data(), gram, c);
      Doubles mixed = in[4];
      for (int64_t q = 0; q < c; ++q) {
        const int64_t first = q / own * own;
        Doubles weights;
        for (int64_t k = first; k < first + own; ++k) {
          const double length = dot(query, q, in[2], q) * dot(key, k, in[3], k);
          weights.push_back(std::exp(dot(query, q, in[3], k) / std::sqrt(std::fmax(length, 1e-12)) *
                                     in[5][size_t(q / own)]));
        }
        double total = 0;
        for (double weight : weights) total += weight;
        for (int64_t k = 0; k < own; ++k)
          for (int64_t i = 0; i < c; ++i)
            mixed[size_t(q * c + i)] +=
                weights[size_t(k)] / total * in[4][size_t((first + k) * c + i)];
      }
      const Doubles output = multiply(in[1].data(), mixed.data(), outputs);
      result.insert(result.end(), output.begin(), output.end());
    }
    return result;
  }
  Doubles multiply(const double* a, const double* right, int64_t rows) const {
    Doubles product(static_cast<size_t>(rows * c));
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t k = 0; k < c; ++k)
        for (int64_t j = 0; j < c; ++j)
          product[size_t(i * c + j)] += a[i * c + k] * right[k * c + j];
    return product;
  }
  double dot(const Doubles& a, int64_t i, const Doubles& other, int64_t j) const {
    double total = 0;
    for (int64_t k = 0; k < c; ++k) total += a[size_t(i * c + k)] * other[size_t(j * c + k)];
    return total;
  }
};

void check_case(Checker& checker, const Attention& attention) {
  const auto [b, c, outputs, heads] = attention;
  const Floats x = checker.draw(b * c * 2 * c), grad = checker.draw(b * outputs * c);
  std::vector<Floats> in = {Floats(size_t(b * c * c)), checker.draw(outputs * c), checker.draw(c * c),
                            checker.draw(c * c), checker.draw(c * c), checker.draw(heads)};
  for (int64_t image = 0; image < b; ++image)
    for (int64_t i = 0; i < c; ++i)
      for (int64_t j = 0; j < c; ++j)
        for (int64_t p = 0; p < 2 * c; ++p)
          in[0][size_t((image * c + i) * c + j)] += x[size_t((image * 2 * c + p) * c + i)] *
                                                    x[size_t((image * 2 * c + p) * c + j)] /
                                                    float(2 * c);
  std::vector<Floats> slopes;
  std::vector<Doubles> exact;
  for (const Floats& values : in) {
    slopes.emplace_back(values.size(), NAN);
    exact.emplace_back(values.begin(), values.end());
  }
  const int64_t row = (c / heads + 15) / 16 * 16;
  Floats kept(size_t(b * c * (2 * c + row)), NAN), output(grad.size(), NAN);
  unveil_gram_attention_forward(in[0].data(), in[1].data(), in[2].data(), in[3].data(),
                                in[4].data(), in[5].data(), kept.data(), output.data(), b, c,
                                outputs, heads);
  checker.hold("attention over channels", output, attention(exact));
  unveil_gram_attention_backward(
      in[0].data(), in[1].data(), in[2].data(), in[3].data(), in[4].data(), in[5].data(),
      kept.data(), grad.data(), slopes[0].data(), slopes[1].data(), slopes[2].data(),
      slopes[3].data(), slopes[4].data(), slopes[5].data(), b, c, outputs, heads);
  checker.hold_gradients("a gradient of attention over channels", exact, grad, slopes, attention);
}

}  // namespace

bool check_gram_attention(const char* isa) {
  Checker checker{isa};
  check_case(checker, {1, 16, 16, 1});
  check_case(checker, {2, 48, 7, 2});
  std::printf("%s: attention over channels is off by %.1e at most\n", isa, checker.worst);
  return checker.good;
}
