// Attention over channels from their inner products, folded into the matrices around it. With
// Q = Wq G and K = Wk G, whose rows' inner products with Wq and Wk are the squared lengths:
//   A = softmax(t cos), cos = Q Wk' / lengths, per head        Y = W (1 + A) Wv
// G is symmetric, hence B K with B = dL/d(Q Wk') is the part of Wq's gradient that needs no G.
#include <cmath>

#include "panels.h"
#include "passes.h"
#include "product.h"

namespace unveil::UNVEIL_ISA {
namespace {

// Sums over images are taken in at most so many groups, which depend on the batch alone.
constexpr int64_t kGroups = 4;
// Of a product of squared lengths.
constexpr float kLeast = 1e-12f;

struct Sizes {
  int64_t channels, outputs, heads, own, row, vectors;  // own: a head's channels; row: padded

  explicit Sizes(const GramAttentionArgs& a)
      : channels(a.channels), outputs(a.outputs), heads(a.heads), own(a.channels / a.heads),
        row(padded(own)), vectors(a.channels / kLanes) {}
  int64_t square() const { return channels * channels; }
  int64_t kept() const { return channels * (2 * channels + row); }
};

// Row by row the inner products of two (rows, columns).
void row_products(const float* a, const float* b, int64_t rows, int64_t columns, float* sums) {
  for (int64_t i = 0; i < rows; ++i, a += columns, b += columns) {
    Vec total = splat(0.0f);
    for (int64_t k = 0; k < columns; k += kLanes) total = fma(load(a + k), load(b + k), total);
    sums[i] = sum(total);
  }
}

// to = from * factor (+ to), row by row.
void scale_rows(const float* from, const float* factors, float scale, const Sizes& s, bool add,
                float* to) {
  for (int64_t i = 0; i < s.channels; ++i) {
    const Vec factor = splat(scale * factors[i]);
    for (int64_t k = i * s.channels; k < (i + 1) * s.channels; k += kLanes)
      store(to + k, fma(load(from + k), factor, add ? load(to + k) : splat(0.0f)));
  }
}

// What all images share: the rows of `key` and `value` as panels.
struct Turned {
  Buffer key, value;

  Turned(const GramAttentionArgs& a, const Sizes& s)
      : key(s.heads * s.row * s.channels), value(s.square()) {
    for (int64_t h = 0; h < s.heads; ++h) {
      pack_rows(a.key + h * s.own * s.channels, s.own, s.channels, nullptr,
                key + h * s.row * s.channels, s.channels);
    }
    pack_rows(a.value, s.channels, s.channels, nullptr, value, s.channels);
  }
};

// An image's Q, K and attention, which the backward needs again.
struct Image {
  const GramAttentionArgs& a;
  const Sizes& s;
  const Turned& turned;
  float *query, *key, *attention;

  Image(const GramAttentionArgs& args, const Sizes& sizes, const Turned& t, float* kept)
      : a(args), s(sizes), turned(t), query(kept), key(kept + s.square()),
        attention(kept + 2 * s.square()) {}

  // Inner products of a head's queries and keys, (own, row).
  void scores(int64_t head, float* to) const {
    const int64_t c = s.channels;
    product(s.own, s.row / kLanes, {query + head * s.own * c, c, 1},
            {turned.key + head * s.row * c, kLanes, kLanes * c}, {c}, {}, {to, s.row, kLanes});
  }
  void powers(float* of_query, float* of_key) const {
    row_products(query, a.query, s.channels, s.channels, of_query);
    row_products(key, a.key, s.channels, s.channels, of_key);
  }
};

inline float inverse_length(float query, float key) {
  const float power = query * key;
  return 1.0f / std::sqrt(power < kLeast ? kLeast : power);
}

// Scores of one query, (own), become attention; the padding becomes zero.
void soften(float* scores, const Sizes& s, float query, const float* keys, float temperature) {
  for (int64_t k = 0; k < s.own; ++k) scores[k] *= inverse_length(query, keys[k]) * temperature;
  float most = scores[0], total = 0.0f;
  for (int64_t k = 1; k < s.own; ++k) most = scores[k] > most ? scores[k] : most;
  for (int64_t k = s.own; k < s.row; ++k) scores[k] = most;
  for (int64_t k = 0; k < s.row; k += kLanes) store(scores + k, exp(load(scores + k) - splat(most)));
  for (int64_t k = s.own; k < s.row; ++k) scores[k] = 0.0f;
  for (int64_t k = 0; k < s.row; k += kLanes) total += sum(load(scores + k));
  for (int64_t k = 0; k < s.row; k += kLanes)
    store(scores + k, load(scores + k) * splat(1.0f / total));
}

void forward_image(const Image& image, const float* gram, float* mixed, float* powers, float* output) {
  const GramAttentionArgs& a = image.a;
  const Sizes& s = image.s;
  const int64_t c = s.channels;
  product(c, s.vectors, {a.query, c, 1}, {gram, c, kLanes}, {c}, {}, {image.query, c, kLanes});
  product(c, s.vectors, {a.key, c, 1}, {gram, c, kLanes}, {c}, {}, {image.key, c, kLanes});
  image.powers(powers, powers + c);
  for (int64_t h = 0; h < s.heads; ++h) {
    float* attention = image.attention + h * s.own * s.row;
    const float* value = a.value + h * s.own * c;
    image.scores(h, attention);
    for (int64_t q = 0; q < s.own; ++q) {
      soften(attention + q * s.row, s, powers[h * s.own + q], powers + c + h * s.own,
             a.temperature[h]);
    }
    product(s.own, s.vectors, {attention, s.row, 1}, {value, c, kLanes}, {s.own},
            {value, c, kLanes}, {mixed + h * s.own * c, c, kLanes});
  }
  product(s.outputs, s.vectors, {a.out, c, 1}, {mixed, c, kLanes}, {c}, {}, {output, c, kLanes});
}

// Sums over images.
struct WeightSums {
  Zeros out, query, key, value, temperature;

  explicit WeightSums(const Sizes& s)
      : out(s.outputs * s.channels), query(s.square()), key(s.square()), value(s.square()),
        temperature(s.heads) {}
};

struct Backward {
  const Image& image;
  WeightSums& sums;
  const Sizes& s = image.s;
  const GramAttentionArgs& a = image.a;
  const int64_t c = s.channels, wide = c + kLanes;  // a head's last vector reaches beyond it
  Buffer through{s.outputs * c + kLanes}, spread{s.outputs * wide}, scores{s.own * s.row},
      slopes{s.own * s.row}, turned{s.row * s.row}, query{s.square()}, key{s.square()},
      powers{4 * c};
  float *query_slopes = powers + 2 * c, *key_slopes = powers + 3 * c;

  // dX = dY Wv' and, with X = W (1 + A), the gradients of W and Wv.
  void outer(const float* grad) const {
    const int64_t panels = s.row / kLanes;
    product(s.outputs, s.vectors, {grad, c, 1}, {image.turned.value, kLanes, kLanes * c}, {c}, {},
            {through, c, kLanes});
    for (int64_t h = 0; h < s.heads; ++h) {
      pack_rows(image.attention + h * s.own * s.row, s.own, s.row, nullptr, turned, s.row);
      product(s.outputs, panels, {through + h * s.own, c, 1}, {turned, kLanes, kLanes * s.row},
              {s.own}, {}, {spread + h * s.own, wide, kLanes});
    }
    for (int64_t o = 0; o < s.outputs; ++o) {
      for (int64_t k = 0; k < c; k += kLanes) {
        float* to = sums.out + o * c + k;
        store(to, load(to) + load(through + o * c + k) + load(spread + o * wide + k));
      }
    }
    for (int64_t h = 0; h < s.heads; ++h) {
      product(s.outputs, panels, {a.out + h * s.own, c, 1},
              {image.attention + h * s.own * s.row, s.row, kLanes}, {s.own}, {},
              {spread + h * s.own, wide, kLanes});
    }
    for (int64_t o = 0; o < s.outputs; ++o) {
      for (int64_t k = 0; k < c; k += kLanes) {
        float* to = spread + o * wide + k;
        store(to, load(to) + load(a.out + o * c + k));
      }
    }
    product(c, s.vectors, {spread, 1, wide}, {grad, c, kLanes}, {s.outputs},
            {sums.value, c, kLanes}, {sums.value, c, kLanes});
  }

  // From the attention's gradient, in `slopes`, to those of the scores and lengths.
  void inner(int64_t h) const {
    const float *attention = image.attention + h * s.own * s.row, *keys = powers + c + h * s.own;
    float* of_keys = key_slopes + h * s.own;
    for (int64_t q = 0; q < s.own; ++q) {
      const float *weights = attention + q * s.row, *score = scores + q * s.row;
      float* slope = slopes + q * s.row;
      const float power = powers[h * s.own + q], temperature = a.temperature[h];
      float mean = 0.0f, warmth = 0.0f, of_query = 0.0f;
      for (int64_t k = 0; k < s.own; ++k) mean += weights[k] * slope[k];
      for (int64_t k = 0; k < s.own; ++k) {
        const float scale = inverse_length(power, keys[k]);
        const float logit = weights[k] * (slope[k] - mean), cosine = score[k] * scale;
        warmth += logit * cosine;
        slope[k] = logit * temperature * scale;
        const float length = power * keys[k] < kLeast ? 0.0f : -0.5f * slope[k] * cosine * scale;
        of_query += length * keys[k];
        of_keys[k] += length * power;
      }
      for (int64_t k = s.own; k < s.row; ++k) slope[k] = 0.0f;
      query_slopes[h * s.own + q] = of_query;
      sums.temperature[h] += warmth;
    }
  }

  void run(const float* grad, float* grad_gram) const {
    outer(grad);
    image.powers(powers, powers + c);
    for (int64_t k = 0; k < c; ++k) key_slopes[k] = 0.0f;
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t first = h * s.own * c;
      image.scores(h, scores);
      product(s.own, s.row / kLanes, {a.out + h * s.own, 1, c}, {through + h * s.own, c, kLanes},
              {s.outputs}, {}, {slopes, s.row, kLanes});
      inner(h);
      const Left left{slopes, s.row, 1}, turned_left{slopes, 1, s.row};
      product(s.own, s.vectors, left, {a.key + first, c, kLanes}, {s.own}, {},
              {query + first, c, kLanes});
      product(s.own, s.vectors, left, {image.key + first, c, kLanes}, {s.own},
              {sums.query + first, c, kLanes}, {sums.query + first, c, kLanes});
      product(s.own, s.vectors, turned_left, {image.query + first, c, kLanes}, {s.own},
              {sums.key + first, c, kLanes}, {sums.key + first, c, kLanes});
    }
    scale_rows(a.query, query_slopes, 1.0f, s, true, query);
    scale_rows(a.key, key_slopes, 1.0f, s, false, key);
    scale_rows(image.query, query_slopes, 2.0f, s, true, sums.query);
    scale_rows(image.key, key_slopes, 2.0f, s, true, sums.key);
    const Sums to{grad_gram, c, kLanes};
    product(c, s.vectors, {a.query, 1, c}, {query, c, kLanes}, {c}, {}, to);
    product(c, s.vectors, {a.key, 1, c}, {key, c, kLanes}, {c}, {grad_gram, c, kLanes}, to);
  }
};

int64_t work_of(const GramAttentionArgs& a) {
  return a.batch * a.channels * a.channels * (a.channels + a.outputs) / 8;
}

}  // namespace

void gram_attention_forward(const GramAttentionArgs& args, float* output) {
  const Sizes s(args);
  const Turned turned(args, s);
  for_each_task(args.batch, work_of(args), [&](int64_t b) {
    const Buffer mixed(s.square()), powers(2 * s.channels), own(args.kept ? 0 : s.kept());
    const Image image(args, s, turned, args.kept ? args.kept + b * s.kept() : own);
    forward_image(image, args.gram + b * s.square(), mixed, powers,
                  output + b * s.outputs * s.channels);
  });
}

void gram_attention_backward(const GramAttentionArgs& args, const GramAttentionGrads& grads) {
  const Sizes s(args);
  const Turned turned(args, s);
  const int64_t groups = std::min(args.batch, kGroups);
  WeightSums* sums[kGroups];
  for_each_task(groups, 2 * work_of(args), [&](int64_t group) {
    sums[group] = new WeightSums(s);
    for (int64_t b = args.batch * group / groups; b < args.batch * (group + 1) / groups; ++b) {
      const Image image(args, s, turned, args.kept + b * s.kept());
      const Backward backward{image, *sums[group]};
      backward.run(grads.output + b * s.outputs * s.channels, grads.gram + b * s.square());
    }
  });
  auto write = [&](float* to, int64_t size, auto member) {
    for (int64_t i = 0; i < size; ++i) {
      float total = 0.0f;
      for (int64_t group = 0; group < groups; ++group) total += (sums[group]->*member)[i];
      to[i] = total;
    }
  };
  write(grads.out, s.outputs * s.channels, &WeightSums::out);
  write(grads.query, s.square(), &WeightSums::query);
  write(grads.key, s.square(), &WeightSums::key);
  write(grads.value, s.square(), &WeightSums::value);
  write(grads.temperature, s.heads, &WeightSums::temperature);
  for (int64_t group = 0; group < groups; ++group) delete sums[group];
}

}  // namespace unveil::UNVEIL_ISA
