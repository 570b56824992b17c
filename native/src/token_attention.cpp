// Pixels attend to a few tokens of their image; what else is added to them goes along.
#include "panels.h"
#include "passes.h"
#include "product.h"

namespace unveil::UNVEIL_ISA {
namespace {

// Pixels worked on at once, a multiple of kLanes.
constexpr int64_t kPixels = 96;

// The matrices of one image as the products read them.
struct Matrices {
  const float *gain, *keys;
  Zeros values, matrix;

  Matrices(const TokenAttentionArgs& a, int64_t set)
      : gain(a.gain + set * a.channels), keys(a.keys + set * a.tokens * a.channels),
        values(a.channels * a.tokens), matrix(a.channels * a.channels) {
    const int64_t c = a.channels;
    pack_rows(a.values + set * c * a.tokens, c, a.tokens, nullptr, values, a.tokens);
    pack_rows(a.matrix + set * c * c, c, c, nullptr, matrix, c);
  }
};

// Scores (tokens, kPixels) become weights: each head's sum to one for every pixel.
void soften(float* scores, int64_t tokens, int64_t heads, int64_t pixels) {
  const int64_t own = tokens / heads;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t pixel = 0; pixel < pixels; pixel += kLanes) {
      float* first = scores + head * own * kPixels + pixel;
      Vec most = load(first), total = splat(0.0f);
      for (int64_t i = 1; i < own; ++i) most = max(most, load(first + i * kPixels));
      for (int64_t i = 0; i < own; ++i) {
        const Vec weight = exp(load(first + i * kPixels) - most);
        total = total + weight;
        store(first + i * kPixels, weight);
      }
      const Vec share = splat(1.0f) / total;
      for (int64_t i = 0; i < own; ++i)
        store(first + i * kPixels, load(first + i * kPixels) * share);
    }
  }
}

struct Workspace {
  Buffer turned, scores;
  explicit Workspace(const TokenAttentionArgs& a)
      : turned(kPixels * a.channels), scores(kPixels * a.tokens) {}
};

// `pixels` pixels, at most kPixels; `more` follow them.
void attend(const TokenAttentionArgs& a, const Matrices& m, const Workspace& w, const float* x,
            const float* y, int64_t pixels, int64_t more, float* out) {
  const int64_t c = a.channels, panels = (pixels + kLanes - 1) / kLanes, vectors = c / kLanes;
  pack_rows(y, pixels, c, nullptr, w.turned, c);
  product(a.tokens, panels, {m.keys, c, 1}, {w.turned, kLanes, kLanes * c}, {c}, {},
          {w.scores, kPixels, kLanes},
          {x + pixels * c, 1, more * c, 0, blocks_of(a.tokens, panels)});
  soften(w.scores, a.tokens, a.heads, panels * kLanes);
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t k = 0; k < c; k += kLanes)
      store(out + i * c + k, load(x + i * c + k) * load(m.gain + k));
  product(pixels, vectors, {w.scores, 1, kPixels}, {m.values, kLanes, kLanes * a.tokens},
          {a.tokens}, {out, c, kLanes}, {out, c, kLanes});
  product(pixels, vectors, {y, c, 1}, {m.matrix, kLanes, kLanes * c}, {c}, {out, c, kLanes},
          {out, c, kLanes}, {y + pixels * c, 1, more * c, 0, blocks_of(pixels, vectors)});
}

// Weights (tokens, kPixels) and their gradients, which become those of the scores.
void harden(const float* weights, float* slopes, int64_t tokens, int64_t heads, int64_t pixels) {
  const int64_t own = tokens / heads;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t pixel = 0; pixel < pixels; pixel += kLanes) {
      const float* weight = weights + head * own * kPixels + pixel;
      float* slope = slopes + head * own * kPixels + pixel;
      Vec mean = splat(0.0f);
      for (int64_t i = 0; i < own; ++i)
        mean = fma(load(weight + i * kPixels), load(slope + i * kPixels), mean);
      for (int64_t i = 0; i < own; ++i)
        store(slope + i * kPixels, load(weight + i * kPixels) * (load(slope + i * kPixels) - mean));
    }
  }
}

// Sums over the pixels that share a set of matrices. `values` is turned, (tokens, c).
struct SetSums {
  Zeros gain, keys, values, matrix;

  explicit SetSums(const TokenAttentionArgs& a)
      : gain(a.channels), keys(a.tokens * a.channels), values(a.tokens * a.channels),
        matrix(a.channels * a.channels) {}
};

struct BackwardWorkspace {
  Buffer turned, weights, slopes;
  explicit BackwardWorkspace(const TokenAttentionArgs& a)
      : turned(kPixels * a.channels), weights(kPixels * a.tokens), slopes(kPixels * a.tokens) {}
};

// `pixels` pixels from `first` on, at most kPixels.
void differentiate(const TokenAttentionArgs& a, const TokenAttentionGrads& grads, int64_t set,
                   const BackwardWorkspace& w, int64_t first, int64_t pixels, const SetSums& sums) {
  const int64_t c = a.channels, panels = (pixels + kLanes - 1) / kLanes, vectors = c / kLanes;
  const float *x = a.x + first * c, *y = a.y + first * c, *grad = grads.output + first * c;
  const float *gain = a.gain + set * c, *keys = a.keys + set * a.tokens * c;
  const Right turned{w.turned, kLanes, kLanes * c};
  const Sums scores{w.weights, kPixels, kLanes}, slopes{w.slopes, kPixels, kLanes};
  pack_rows(y, pixels, c, nullptr, w.turned, c);
  product(a.tokens, panels, {keys, c, 1}, turned, {c}, {}, scores);
  soften(w.weights, a.tokens, a.heads, panels * kLanes);
  pack_rows(grad, pixels, c, nullptr, w.turned, c);
  product(a.tokens, panels, {a.values + set * c * a.tokens, 1, a.tokens}, turned, {c}, {}, slopes);
  harden(w.weights, w.slopes, a.tokens, a.heads, panels * kLanes);

  float* of_y = grads.y + first * c;
  product(pixels, vectors, {w.slopes, 1, kPixels}, {keys, c, kLanes}, {a.tokens}, {},
          {of_y, c, kLanes});
  product(pixels, vectors, {grad, c, 1}, {a.matrix + set * c * c, c, kLanes}, {c},
          {of_y, c, kLanes}, {of_y, c, kLanes});
  product(a.tokens, vectors, {w.slopes, kPixels, 1}, {y, c, kLanes}, {pixels},
          {sums.keys, c, kLanes}, {sums.keys, c, kLanes});
  product(a.tokens, vectors, {w.weights, kPixels, 1}, {grad, c, kLanes}, {pixels},
          {sums.values, c, kLanes}, {sums.values, c, kLanes});
  product(c, vectors, {grad, 1, c}, {y, c, kLanes}, {pixels}, {sums.matrix, c, kLanes},
          {sums.matrix, c, kLanes});
  for (int64_t k = 0; k < c; k += kLanes) {
    const Vec factor = load(gain + k);
    Vec total = load(sums.gain + k);
    for (int64_t i = k; i < pixels * c; i += c) {
      const Vec g = load(grad + i);
      store(grads.x + first * c + i, g * factor);
      total = fma(g, load(x + i), total);
    }
    store(sums.gain + k, total);
  }
}

}  // namespace

void token_attention(const TokenAttentionArgs& args, float* output) {
  const int64_t across = (args.pixels + kPixels - 1) / kPixels, total = args.batch * across;
  const int64_t tasks = std::min<int64_t>(total, 32), c = args.channels;
  const int64_t work = args.batch * args.pixels * c * (2 * args.tokens + c) / 8;
  for_each_task(tasks, work, [&](int64_t task) {
    const Workspace workspace(args);
    int64_t i = total * task / tasks;
    const int64_t end = total * (task + 1) / tasks;
    while (i < end) {
      const int64_t image = i / across, last = std::min(end, (image + 1) * across);
      const Matrices matrices(args, args.sets > 1 ? image : 0);
      for (; i < last; ++i) {
        const int64_t first = i % across * kPixels, at = (image * args.pixels + first) * c;
        const int64_t pixels = std::min(kPixels, args.pixels - first);
        const int64_t more = i + 1 < last ? std::min(kPixels, args.pixels - first - pixels) : 0;
        attend(args, matrices, workspace, args.x + at, args.y + at, pixels, more, output + at);
      }
    }
  });
}

void token_attention_backward(const TokenAttentionArgs& args, const TokenAttentionGrads& grads) {
  // Each set's sums are taken in groups of blocks that depend on the shape alone.
  constexpr int64_t kGroups = 16;
  const int64_t across = (args.pixels + kPixels - 1) / kPixels, c = args.channels;
  const int64_t blocks = args.batch * across / args.sets;
  const int64_t groups = std::max<int64_t>(1, std::min(blocks, kGroups / args.sets));
  SetSums** sums = new SetSums*[size_t(args.sets * groups)];
  const int64_t work = args.batch * args.pixels * c * (5 * args.tokens + 2 * c) / 8;
  for_each_task(args.sets * groups, work, [&](int64_t task) {
    sums[task] = new SetSums(args);
    const BackwardWorkspace workspace(args);
    const int64_t set = task / groups, group = task % groups, from = set * blocks;
    for (int64_t i = from + blocks * group / groups; i < from + blocks * (group + 1) / groups; ++i) {
      const int64_t first = i % across * kPixels, pixels = std::min(kPixels, args.pixels - first);
      differentiate(args, grads, set, workspace, i / across * args.pixels + first, pixels,
                    *sums[task]);
    }
  });
  for (int64_t set = 0; set < args.sets; ++set) {
    const auto total = [&](auto member, int64_t at) {
      float sum = 0.0f;
      for (int64_t group = 0; group < groups; ++group)
        sum += (sums[set * groups + group]->*member)[at];
      return sum;
    };
    for (int64_t k = 0; k < c; ++k) grads.gain[set * c + k] = total(&SetSums::gain, k);
    for (int64_t i = 0; i < c * c; ++i)
      grads.matrix[set * c * c + i] = total(&SetSums::matrix, i);
    for (int64_t t = 0; t < args.tokens; ++t) {
      for (int64_t k = 0; k < c; ++k) {
        const int64_t at = t * c + k;
        grads.keys[set * args.tokens * c + at] = total(&SetSums::keys, at);
        grads.values[(set * c + k) * args.tokens + t] = total(&SetSums::values, at);
      }
    }
  }
  for (int64_t task = 0; task < args.sets * groups; ++task) delete sums[task];
  delete[] sums;
}

}  // namespace unveil::UNVEIL_ISA
