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

}  // namespace unveil::UNVEIL_ISA
