// Layer normalisation of rows of channels, plain or multiplied by SiLU of a gate.
//
// A row is read three times from the nearest cache. The backward pass computes mean and deviation
// anew, which costs less than to store and read them through tensors of their own.
#include <algorithm>
#include <vector>

#include "activation.h"
#include "norm.h"
#include "passes.h"

namespace unveil::UNVEIL_ISA {
namespace {

// Chunks of rows are the unit of work; they depend on the shape alone, and so the order of the sums.
struct Chunks {
  int64_t rows, count;
  explicit Chunks(int64_t rows)
      : rows(rows), count(std::max<int64_t>(1, std::min<int64_t>(64, rows / 64))) {}
  int64_t edge(int64_t chunk) const { return rows * chunk / count; }
};

template <bool kGated, class Width>
void forward_row(const NormArgs& args, Width channels, int64_t row, float* output) {
  const float* x = args.x + row * channels;
  const float* gate = kGated ? args.gate + row * channels : nullptr;
  const Moments m = moments(x, channels, args.epsilon);
  for_vectors(channels, [&](int64_t c, int n) {
    const Vec normal = (load_first(x + c, n) - m.mean) * m.scale;
    const Vec shift = args.bias ? load_first(args.bias + c, n) : splat(0.0f);
    Vec v = fma(normal, load_first(args.weight + c, n), shift);
    if (kGated) v = v * Silu{}.value(load_first(gate + c, n));
    store_first(output + row * channels + c, v, n);
  });
}

template <bool kGated>
void forward(const NormArgs& args, float* output) {
  const Chunks chunks(args.rows);
  with_width(args.channels, [&](auto channels) {
    for_each_task(chunks.count, 3 * args.rows * channels, [&](int64_t chunk) {
      for (int64_t row = chunks.edge(chunk); row < chunks.edge(chunk + 1); ++row)
        forward_row<kGated>(args, channels, row, output);
    });
  });
}

// Gradients of one row. `slopes` (channels) holds weight times the gradient of the normalised row.
template <bool kGated, class Width>
void backward_row(const NormArgs& args, const NormGrads& grads, Width channels, int64_t row,
                  float* slopes, float* sums) {
  const float* x = args.x + row * channels;
  const float* gate = kGated ? args.gate + row * channels : nullptr;
  const float* grad = grads.output + row * channels;
  const Moments m = moments(x, channels, args.epsilon);
  Vec total = splat(0.0f), product = splat(0.0f);
  for_vectors(channels, [&](int64_t c, int n) {
    const Vec weight = load_first(args.weight + c, n);
    const Vec normal = (load_first(x + c, n) - m.mean) * m.scale;
    Vec g = load_first(grad + c, n);
    if (kGated) {
      const Tangent silu = Silu{}.tangent(load_first(gate + c, n));
      const Vec shift = args.bias ? load_first(args.bias + c, n) : splat(0.0f);
      store_first(grads.gate + row * channels + c, g * fma(normal, weight, shift) * silu.slope, n);
      g = g * silu.value;
    }
    const Vec slope = g * weight;
    store_first(slopes + c, slope, n);
    total = total + slope;
    product = fma(slope, normal, product);
    store_first(sums + c, fma(g, normal, load_first(sums + c, n)), n);
    store_first(sums + channels + c, load_first(sums + channels + c, n) + g, n);
  });
  const Vec mean = splat(sum(total) / float(channels));
  const Vec tilt = splat(sum(product) / float(channels));
  for_vectors(channels, [&](int64_t c, int n) {
    const Vec normal = (load_first(x + c, n) - m.mean) * m.scale;
    const Vec centred = load_first(slopes + c, n) - mean - normal * tilt;
    store_first(grads.x + row * channels + c, centred * m.scale, n);
  });
}

template <bool kGated>
void backward(const NormArgs& args, const NormGrads& grads) {
  const Chunks chunks(args.rows);
  const int64_t size = 2 * args.channels;
  std::vector<float> sums(chunks.count * size);
  with_width(args.channels, [&](auto channels) {
    for_each_task(chunks.count, 6 * args.rows * channels, [&](int64_t chunk) {
      std::vector<float> slopes(channels);
      for (int64_t row = chunks.edge(chunk); row < chunks.edge(chunk + 1); ++row)
        backward_row<kGated>(args, grads, channels, row, slopes.data(), &sums[chunk * size]);
    });
  });
  for (int64_t c = 0; c < args.channels; ++c) {
    double weight = 0.0, bias = 0.0;
    for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
      weight += sums[chunk * size + c];
      bias += sums[chunk * size + args.channels + c];
    }
    grads.weight[c] = float(weight);
    grads.bias[c] = float(bias);
  }
}

}  // namespace

void norm_forward(const NormArgs& args, float* output) {
  args.gate ? forward<true>(args, output) : forward<false>(args, output);
}

void norm_backward(const NormArgs& args, const NormGrads& grads) {
  args.gate ? backward<true>(args, grads) : backward<false>(args, grads);
}

}  // namespace unveil::UNVEIL_ISA
