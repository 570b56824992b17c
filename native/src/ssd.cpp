// Mamba-2's scan in chunks. Within a chunk y = (L o C B^T) (dt x) is a product of matrices; a state
// is carried from chunk to chunk. Two passes: states along the tokens, a task per head; then all
// chunks at once, a task per chunk and group, where C B^T serves every head of the group.
//
// Source: Dao and Gu, "Transformers are SSMs" (arXiv:2405.21060), section 6.
#include "ssd.h"

#include <vector>

#include "passes.h"
#include "chunk_product.h"

namespace unveil::UNVEIL_ISA {
namespace {

constexpr int64_t kQ = kSsdChunk;

// One chunk of one item: where its tokens begin and how many there are.
struct Chunk {
  const SsdArgs& args;
  int64_t item, index, first, count;

  Chunk(const SsdArgs& a, int64_t item, int64_t index)
      : args(a), item(item), index(index), first(index * kQ),
        count(std::min(kQ, a.tokens - index * kQ)) {}

  int64_t token() const { return item * args.tokens + first; }
  int64_t x_row() const { return args.heads * args.width; }
  int64_t B_row() const { return args.groups * args.states; }
  int64_t x_at(int64_t head) const { return token() * x_row() + head * args.width; }
  int64_t B_at(int64_t group) const { return token() * B_row() + group * args.states; }
  int64_t part(int64_t head) const { return (item * args.chunks() + index) * args.heads + head; }
};

// The steps of one head in a chunk and the products of decays that follow from them.
struct Steps {
  float dt[kQ], decay[kQ];
  float since[kQ];  // decay from before the chunk up to this token
  float until[kQ];  // decay from this token to the chunk's end
  bool fresh[kQ];

  Steps(const Chunk& c, int64_t head) {
    const SsdArgs& a = c.args;
    float exponent[kQ] = {};
    for (int64_t t = 0; t < c.count; ++t) {
      dt[t] = a.dt[(c.token() + t) * a.heads + head];
      exponent[t] = dt[t] * a.A[head];
      fresh[t] = a.fresh != nullptr && a.fresh[c.token() + t] != 0;
    }
    for (int64_t t = 0; t < kQ; t += kLanes) store(decay + t, exp(load(exponent + t)));
    float product = 1.0f;
    for (int64_t t = 0; t < c.count; ++t) {
      if (fresh[t]) decay[t] = 0.0f;
      since[t] = product *= decay[t];
    }
    product = 1.0f;
    for (int64_t t = c.count - 1; t >= 0; --t) {
      until[t] = product;
      product *= decay[t];
    }
    total = product;
  }

  float total;  // decay over the whole chunk
};

// Rows of a matrix times a factor each, gathered into `to`, whose rows are contiguous.
template <class Factor>
void scale_rows(const float* from, int64_t row, int64_t count, int64_t columns, float* to,
                const Factor& factor) {
  for (int64_t t = 0; t < count; ++t) scale_into(factor(t), from + t * row, to + t * columns, columns);
}

// Calls body(t, s, n) for the blocks of the lower triangle's rows, n <= kLanes entries from s on.
template <class Body>
void for_lower(int64_t t, const Body& body) {
  for (int64_t s = 0; s <= t; s += kLanes) body(s, int(std::min<int64_t>(kLanes, t + 1 - s)));
}

// Turns the decays from every token s to token t - 1 into those to token t.
void advance(float* decays, int64_t t, float decay) {
  for_lower(t, [&](int64_t s, int n) {
    store_first(decays + s, load_first(decays + s, n) * splat(decay), n);
  });
  decays[t] = 1.0f;
}

void zero(float* x, int64_t count) { std::fill(x, x + count, 0.0f); }

// The states before every chunk, and the last one; one head of one item.
void carry_states(const SsdArgs& a, const SsdResults& results, int64_t item, int64_t head) {
  const int64_t n = a.states, p = a.width, size = a.state_size(), chunks = a.chunks();
  const int64_t group = head / (a.heads / a.groups), own = item * a.heads + head;
  std::vector<float> end(size), scaled(kQ * n);
  const auto state = [&](int64_t chunk) {
    return chunk == chunks ? end.data()
                           : results.kept + ((item * chunks + chunk) * a.heads + head) * size;
  };
  if (a.initial != nullptr) {
    transpose_into(a.initial + own * size, n, p, n, state(0), p);
  } else {
    zero(state(0), size);
  }
  for (int64_t i = 0; i < chunks; ++i) {
    const Chunk c(a, item, i);
    const Steps steps(c, head);
    scale_into(steps.total, state(i), state(i + 1), size);
    scale_rows(a.B + c.B_at(group), c.B_row(), c.count, n, scaled.data(),
               [&](int64_t t) { return steps.until[t] * steps.dt[t]; });
    multiply_add({scaled.data(), 1, n}, a.x + c.x_at(head), c.x_row(), state(i + 1), p, n, p, c.count);
  }
  transpose_into(end.data(), p, n, p, results.last + own * size, n);
}

// What the heads of a group share in a chunk: scores[t][s] = C_t B_s for s <= t.
struct Scores {
  std::vector<float> data, turned;

  explicit Scores(const SsdArgs& a) : data(kQ * kQ), turned(a.states * kQ) {}

  void fill(const Chunk& c, int64_t group) {
    const SsdArgs& a = c.args;
    zero(data.data(), kQ * kQ);
    transpose_into(a.B + c.B_at(group), c.B_row(), c.count, a.states, turned.data(), kQ);
    multiply_add({a.C + c.B_at(group), c.B_row(), 1}, turned.data(), kQ, data.data(), kQ, c.count,
                 c.count, a.states, Part::kAll, true);
  }
};

void outputs(const Chunk& c, int64_t group, const SsdResults& results) {
  const SsdArgs& a = c.args;
  const int64_t n = a.states, p = a.width, in_group = a.heads / a.groups;
  Scores scores(a);
  scores.fill(c, group);
  std::vector<float> mixing(kQ * kQ), scaled(kQ * n);
  for (int64_t head = group * in_group; head < (group + 1) * in_group; ++head) {
    const Steps steps(c, head);
    float decays[kQ] = {};
    for (int64_t t = 0; t < c.count; ++t) {
      advance(decays, t, steps.decay[t]);
      for_lower(t, [&](int64_t s, int m) {
        const Vec weight = load_first(decays + s, m) * load_first(steps.dt + s, m);
        store_first(&mixing[t * kQ + s], weight * load_first(&scores.data[t * kQ + s], m), m);
      });
    }
    const float* x = a.x + c.x_at(head);
    float* y = results.y + c.x_at(head);
    for (int64_t t = 0; t < c.count; ++t) {
      for (int64_t i = 0; i < p; i += kLanes) {
        const int m = int(std::min<int64_t>(kLanes, p - i));
        const Vec skip = a.D == nullptr ? splat(0.0f) : load_first(a.D + head * p + i, m);
        store_first(y + t * c.x_row() + i, skip * load_first(x + t * c.x_row() + i, m), m);
      }
    }
    multiply_add({mixing.data(), kQ, 1}, x, c.x_row(), y, c.x_row(), c.count, p, c.count, Part::kLower);
    if (c.index == 0 && a.initial == nullptr) continue;
    scale_rows(a.C + c.B_at(group), c.B_row(), c.count, n, scaled.data(),
               [&](int64_t t) { return steps.since[t]; });
    multiply_add({scaled.data(), n, 1}, results.kept + c.part(head) * a.state_size(), p, y, c.x_row(),
                 c.count, p, n);
  }
}

// The gradients of the states after every chunk, backwards; one head of one item.
void carry_gradients(const SsdArgs& a, const SsdGrads& grads, int64_t item, int64_t head) {
  const int64_t n = a.states, p = a.width, size = a.state_size(), chunks = a.chunks();
  const int64_t group = head / (a.heads / a.groups), own = item * a.heads + head;
  std::vector<float> start(size), scaled(kQ * n);
  const auto after = [&](int64_t chunk) {
    return chunk < 0 ? start.data()
                     : grads.after + ((item * chunks + chunk) * a.heads + head) * size;
  };
  if (grads.last != nullptr) {
    transpose_into(grads.last + own * size, n, p, n, after(chunks - 1), p);
  } else {
    zero(after(chunks - 1), size);
  }
  for (int64_t i = chunks - 1; i >= 0; --i) {
    const Chunk c(a, item, i);
    const Steps steps(c, head);
    scale_into(steps.total, after(i), after(i - 1), size);
    scale_rows(a.C + c.B_at(group), c.B_row(), c.count, n, scaled.data(),
               [&](int64_t t) { return steps.since[t]; });
    multiply_add({scaled.data(), 1, n}, grads.y + c.x_at(head), c.x_row(), after(i - 1), p, n, p,
                 c.count);
  }
  transpose_into(start.data(), p, n, p, grads.initial + own * size, n);
}

// The gradients of one group in one chunk. Names: `mixing` is y's matrix on x, `upstream` y's
// gradient, `state` the one before the chunk, `after` the gradient of the one behind it.
class ChunkGradients {
 public:
  ChunkGradients(const SsdArgs& a, const SsdGrads& grads)
      : a_(a), grads_(grads), scores_(a), mixing_(kQ * kQ), of_mixing_(kQ * kQ), of_scores_(kQ * kQ),
        turned_(std::max(a.width * kQ, a.state_size())), by_state_(kQ * a.states) {}

  void run(const Chunk& c, int64_t group) {
    const int64_t n = a_.states, in_group = a_.heads / a_.groups;
    const float *B = a_.B + c.B_at(group), *C = a_.C + c.B_at(group);
    float *dB = grads_.B + c.B_at(group), *dC = grads_.C + c.B_at(group);
    scores_.fill(c, group);
    zero(of_scores_.data(), kQ * kQ);
    for (int64_t t = 0; t < c.count; ++t) {
      zero(dB + t * c.B_row(), n);
      zero(dC + t * c.B_row(), n);
    }
    for (int64_t head = group * in_group; head < (group + 1) * in_group; ++head)
      run_head(c, head, B, C, dB, dC);
    const Matrix of_scores{of_scores_.data(), kQ, 1};
    multiply_add(of_scores, B, c.B_row(), dC, c.B_row(), c.count, n, c.count, Part::kLower);
    multiply_add(of_scores.transposed(), C, c.B_row(), dB, c.B_row(), c.count, n, c.count,
                 Part::kUpper);
  }

 private:
  void run_head(const Chunk& c, int64_t head, const float* B, const float* C, float* dB, float* dC) {
    const int64_t n = a_.states, p = a_.width, row = c.x_row();
    const float *x = a_.x + c.x_at(head), *upstream = grads_.y + c.x_at(head);
    const float *state = grads_.kept + c.part(head) * a_.state_size(),
                *after = grads_.after + c.part(head) * a_.state_size();
    float* dx = grads_.x + c.x_at(head);
    const Steps steps(c, head);
    float of_dt[kQ] = {}, of_log_decay[kQ] = {};

    skip(c, head, x, upstream, dx);
    // Within the chunk.
    transpose_into(x, row, c.count, p, turned_.data(), kQ);
    zero(of_mixing_.data(), kQ * kQ);
    multiply_add({upstream, row, 1}, turned_.data(), kQ, of_mixing_.data(), kQ, c.count, c.count, p,
                 Part::kAll, true);
    mix(c, steps, of_dt, of_log_decay);
    multiply_add(Matrix{mixing_.data(), kQ, 1}.transposed(), upstream, row, dx, row, c.count, p,
                 c.count, Part::kUpper);
    // From the state before the chunk to y.
    float reading[kQ] = {}, writing[kQ] = {};
    transpose_into(state, p, n, p, turned_.data(), n);
    zero(by_state_.data(), c.count * n);
    multiply_add({upstream, row, 1}, turned_.data(), n, by_state_.data(), n, c.count, n, p);
    for (int64_t t = 0; t < c.count; ++t) {
      add_scaled(steps.since[t], &by_state_[t * n], dC + t * c.B_row(), n);
      reading[t] = steps.since[t] * dot(C + t * c.B_row(), &by_state_[t * n], n);
    }
    // From x to the state behind the chunk.
    transpose_into(after, p, n, p, turned_.data(), n);
    zero(by_state_.data(), c.count * n);
    multiply_add({x, row, 1}, turned_.data(), n, by_state_.data(), n, c.count, n, p);
    for (int64_t t = 0; t < c.count; ++t) {
      const float v = steps.until[t] * dot(B + t * c.B_row(), &by_state_[t * n], n);
      add_scaled(steps.until[t] * steps.dt[t], &by_state_[t * n], dB + t * c.B_row(), n);
      of_dt[t] += v;
      writing[t] = steps.dt[t] * v;
    }
    scale_rows(B, c.B_row(), c.count, n, by_state_.data(),
               [&](int64_t t) { return steps.until[t] * steps.dt[t]; });
    multiply_add({by_state_.data(), n, 1}, after, p, dx, row, c.count, p, n);
    finish(c, head, steps, of_dt, of_log_decay, reading, writing,
           steps.total * dot(state, after, a_.state_size()));
  }

  // y = D x + ...: starts dx, and a part of dD.
  void skip(const Chunk& c, int64_t head, const float* x, const float* upstream, float* dx) {
    const int64_t p = a_.width, row = c.x_row();
    for (int64_t i = 0; i < p; i += kLanes) {
      const int m = int(std::min<int64_t>(kLanes, p - i));
      const Vec weight = a_.D == nullptr ? splat(0.0f) : load_first(a_.D + head * p + i, m);
      Vec total = splat(0.0f);
      for (int64_t t = 0; t < c.count; ++t) {
        const Vec g = load_first(upstream + t * row + i, m);
        total = fma(g, load_first(x + t * row + i, m), total);
        store_first(dx + t * row + i, weight * g, m);
      }
      store_first(grads_.D + c.part(head) * p + i, total, m);
    }
  }

  // Makes `mixing`, adds to the scores' gradient, and finds what a step and a decay owe to the chunk's
  // own tokens. A decay at i acts on all pairs s < i <= t; the pairs are summed, never subtracted.
  void mix(const Chunk& c, const Steps& steps, float* of_dt, float* of_log_decay) {
    float decays[kQ] = {};
    for (int64_t t = 0; t < c.count; ++t) {
      advance(decays, t, steps.decay[t]);
      for_lower(t, [&](int64_t s, int m) {
        const int64_t at = t * kQ + s;
        const Vec decay = load_first(decays + s, m), dt = load_first(steps.dt + s, m);
        const Vec g = load_first(&of_mixing_[at], m);
        const Vec plain = decay * load_first(&scores_.data[at], m);
        const Vec pair = g * plain;
        store_first(&mixing_[at], plain * dt, m);
        store_first(&of_scores_[at], fma(g * decay, dt, load_first(&of_scores_[at], m)), m);
        store_first(of_dt + s, load_first(of_dt + s, m) + pair, m);
        store_first(&of_mixing_[at], pair * dt, m);
      });
    }
    float later[kQ] = {};  // sums over the rows from i on
    for (int64_t i = c.count - 1; i > 0; --i) {
      Vec total = splat(0.0f);
      for_lower(i - 1, [&](int64_t s, int m) {
        const Vec sums = load_first(later + s, m) + load_first(&of_mixing_[i * kQ + s], m);
        store_first(later + s, sums, m);
        total = total + sums;
      });
      of_log_decay[i] = sum(total);
    }
  }

  void finish(const Chunk& c, int64_t head, const Steps& steps, const float* of_dt,
              float* of_log_decay, const float* reading, const float* writing, float through) {
    double suffix = 0.0, prefix = 0.0, of_A = 0.0;
    for (int64_t t = c.count - 1; t >= 0; --t) of_log_decay[t] += float(suffix += reading[t]);
    for (int64_t t = 0; t < c.count; ++t) {
      const float slope = steps.fresh[t] ? 0.0f : of_log_decay[t] + float(prefix) + through;
      prefix += writing[t];
      of_A += double(slope) * steps.dt[t];
      grads_.dt[(c.token() + t) * a_.heads + head] = of_dt[t] + a_.A[head] * slope;
    }
    grads_.A[c.part(head)] = float(of_A);
  }

  const SsdArgs& a_;
  const SsdGrads& grads_;
  Scores scores_;
  std::vector<float> mixing_, of_mixing_, of_scores_, turned_, by_state_;
};

// Calls body(item, head) for every head, in parallel.
template <class Body>
void for_heads(const SsdArgs& a, const Body& body) {
  for_each_task(a.batch * a.heads, a.work(), [&](int64_t i) { body(i / a.heads, i % a.heads); });
}

// Calls body(chunk, group) for every group of every chunk, in parallel.
template <class Body>
void for_chunks(const SsdArgs& a, const Body& body) {
  for_each_task(a.batch * a.chunks() * a.groups, a.work(), [&](int64_t i) {
    const int64_t chunk = i / a.groups;
    body(Chunk(a, chunk / a.chunks(), chunk % a.chunks()), i % a.groups);
  });
}

void ssd_forward(const SsdArgs& a, const SsdResults& results) {
  for_heads(a, [&](int64_t item, int64_t head) { carry_states(a, results, item, head); });
  for_chunks(a, [&](const Chunk& c, int64_t group) { outputs(c, group, results); });
}

void ssd_backward(const SsdArgs& a, const SsdGrads& grads) {
  for_heads(a, [&](int64_t item, int64_t head) { carry_gradients(a, grads, item, head); });
  for_chunks(a, [&](const Chunk& c, int64_t group) { ChunkGradients(a, grads).run(c, group); });
}

}  // namespace

const SsdKernels ssd = {ssd_forward, ssd_backward};

}  // namespace unveil::UNVEIL_ISA
