// The selective scan, forward: channels in SIMD lanes, states in registers, one loop over tokens.
#include <initializer_list>

#include "staging.h"
#include "hints.h"

namespace unveil::UNVEIL_ISA {
namespace {

// What the loop over one segment reads, for one block of lanes.
struct Block {
  int64_t count;
  Strip delta, u, y, B, C, decay;
  Vec D;
  bool has_D, resume;                   // resume: y already holds other directions' sum
  const float *A2, *B_lanes, *C_lanes;  // [state][lane]; A2 = A log2(e)
  float* h;                             // [state][lane]
  const char* const* ahead;             // addresses to ask for, `asks` at each token
  int64_t asks;
};

// Runs N states through a segment. `Shared`: one decay for all lanes, read instead of computed.
template <int N, bool Shared, bool LaneB, bool LaneC>
void run_states(const Block& block, int64_t state) {
  const float *B = block.B.data + state, *C = block.C.data + state;
  const float* decay = block.decay.data + state;
  const float* A2 = block.A2 + state * kLanes;
  const float *B_lanes = block.B_lanes + state * kLanes, *C_lanes = block.C_lanes + state * kLanes;
  const bool add_D = block.has_D && state == 0, resume = block.resume || state > 0;
  Vec h[N];
  UNVEIL_UNROLL
  for (int j = 0; j < N; ++j) h[j] = load(block.h + (state + j) * kLanes);
  for (int64_t t = 0; t < block.count; ++t) {
    const Vec delta = load(block.delta.data + t * block.delta.stride);
    const Vec u = load(block.u.data + t * block.u.stride), drive = delta * u;
    float* to = block.y.data + t * block.y.stride;
    Vec y[2] = {resume ? load(to) : splat(0.0f), splat(0.0f)};
    // Without D nothing is added: 0 times an infinite u would be NaN.
    if (add_D) y[0] = fma(block.D, u, y[0]);
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) {
      const Vec b = LaneB ? load(B_lanes + j * kLanes) : splat(B[j]);
      const Vec c = LaneC ? load(C_lanes + j * kLanes) : splat(C[j]);
      const Vec a = Shared ? splat(decay[j]) : exp2(delta * load(A2 + j * kLanes));
      h[j] = fma(a, h[j], drive * b);
      y[j % 2] = fma(c, h[j], y[j % 2]);
    }
    B += block.B.stride, C += block.C.stride, decay += block.decay.stride;
    store(to, y[0] + y[1]);
    for (int64_t i = 0; i < block.asks; ++i) prefetch(block.ahead[t * block.asks + i]);
  }
  UNVEIL_UNROLL
  for (int j = 0; j < N; ++j) store(block.h + (state + j) * kLanes, h[j]);
}

// Takes the states in the largest powers of two that fit.
template <int N, bool Shared, bool LaneB, bool LaneC>
void run_all_states(Block& block, int64_t states, int64_t state) {
  for (; state + N <= states; state += N) {
    run_states<N, Shared, LaneB, LaneC>(block, state);
    block.asks = 0;
  }
  if constexpr (N > 1) run_all_states<N / 2, Shared, LaneB, LaneC>(block, states, state);
}

template <bool Shared>
void run_block(const ScanArgs& args, Block& block) {
  constexpr int kMost = kLanes, kFew = kLanes < 4 ? kLanes : 4;
  if (args.B_per_channel && args.C_per_channel) {
    run_all_states<kFew, Shared, true, true>(block, args.states, 0);
  } else if (args.B_per_channel) {
    run_all_states<kFew, Shared, true, false>(block, args.states, 0);
  } else if (args.C_per_channel) {
    run_all_states<kFew, Shared, false, true>(block, args.states, 0);
  } else {
    run_all_states<kMost, Shared, false, false>(block, args.states, 0);
  }
}

// One thread's work: some blocks of one batch element, all directions.
class Forward {
 public:
  Forward(const ScanArgs& args, int64_t blocks)
      : args_(args),
        per_block_(args.states * kLanes),
        scratch_(floats(args, blocks)),
        past_caches_(is_large(args)) {
    for (float** buffer : {&raw_, &u_, &delta_, &y_, &z_}) {
      *buffer = scratch_.take(kTokens * kLanes);
    }
    for (float** buffer : {&B_, &C_, &decay_}) *buffer = scratch_.take(kTokens * padded(args.states));
    for (float** buffer : {&h_, &A2_, &B_lanes_, &C_lanes_}) {
      *buffer = scratch_.take(blocks * per_block_);
    }
    factors_ = scratch_.take(kTokens * padded(args.rank));
    weight_ = scratch_.take(blocks * args.rank * kLanes);
    A_row_ = scratch_.take(padded(args.states));
  }

  void run(int64_t batch, int64_t first, int64_t last) {
    const int64_t length = args_.height * args_.width;
    for (int64_t k = 0; k < args_.directions; ++k) {
      begin(batch, k, first, last);
      for (int64_t start = 0; start < length; start += kTokens) {
        const Tokens tokens = segment_at(args_, k, start);
        const Tokens next = segment_at(args_, k, start + kTokens);
        int64_t group = -1;
        for (int64_t block = first; block < last; ++block) {
          const Lanes lanes = lanes_of(args_, block);
          if (lanes.group != group) stage_group(batch, k, group = lanes.group, tokens);
          const bool more = block + 1 < last;
          expect(batch, k, more ? tokens : next, lanes_of(args_, more ? block + 1 : first));
          segment(batch, k, tokens, lanes, block - first);
        }
      }
      finish(batch, k, first, last);
    }
    if (past_caches_) end_stores_past();
  }

 private:
  static int64_t floats(const ScanArgs& args, int64_t blocks) {
    const int64_t states = padded(args.states);
    return 5 * kTokens * kLanes + (3 * states + padded(args.rank)) * kTokens +
           blocks * (4 * args.states + args.rank) * kLanes + states + 16 * 16;
  }

  // Whether the result, with channels in rows, exceeds what caches hold. Rows whose distance is a
  // power of two share a set of the caches, where lines would be evicted between fetch and store.
  static bool is_large(const ScanArgs& args) {
    constexpr int64_t kCaches = 32 << 20, kLine = 64 / sizeof(float);
    const int64_t size = args.batch * args.channels * args.height * args.width;
    return kLanes == kLine && args.directions == 1 && args.out.w == 1 &&
           args.out.c % kLine == 0 && size * int64_t(sizeof(float)) > kCaches;
  }

  void begin(int64_t batch, int64_t k, int64_t first, int64_t last) {
    constexpr float kLog2e = 0x1.715476p+0f;
    for (int64_t block = first; block < last; ++block) {
      const Lanes lanes = lanes_of(args_, block);
      const int64_t at = (block - first) * per_block_;
      auto parameter = [&](const View& view, float scale, int64_t rows, float* to) {
        const int64_t base = batch * view.b + k * view.k + lanes.channel * view.g;
        stage_parameter(view, base, rows, lanes.count, scale, to);
      };
      parameter(args_.A, kLog2e, args_.states, A2_ + at);
      if (args_.B_per_channel) parameter(args_.B, 1.0f, args_.states, B_lanes_ + at);
      if (args_.C_per_channel) parameter(args_.C, 1.0f, args_.states, C_lanes_ + at);
      if (args_.initial.data != nullptr) {
        parameter(args_.initial, 1.0f, args_.states, h_ + at);
      } else {
        for (int64_t i = 0; i < per_block_; ++i) h_[at + i] = 0.0f;
      }
      if (args_.rank > 0) {
        parameter(args_.weight, 1.0f, args_.rank, weight_ + (block - first) * args_.rank * kLanes);
      }
    }
    for (int64_t n = 0; n < padded(args_.states); ++n) {
      A_row_[n] = n < args_.states ? A2_[n * kLanes] : 0.0f;
    }
  }

  // What all blocks of a group share: B, C, the factors of delta, the decay if it is the same.
  void stage_group(int64_t batch, int64_t k, int64_t group, const Tokens& tokens) {
    auto staged = [&](const View& view, int64_t count, float* buffer) {
      const int64_t base = batch * view.b + k * view.k + group * view.g;
      return stage_states(view, base, tokens, count, buffer);
    };
    b_.count = tokens.count;
    b_.B = b_.C = Strip{B_, 0};
    if (!args_.B_per_channel) b_.B = staged(args_.B, args_.states, B_);
    if (!args_.C_per_channel) b_.C = staged(args_.C, args_.states, C_);
    if (args_.rank > 0) factor_strip_ = staged(args_.delta, args_.rank, factors_);
    b_.decay = {decay_, padded(args_.states)};
    if (args_.shared_decay) {
      stage_delta(batch, k, tokens, lanes_of(args_, 0), 0);
      for (int64_t t = 0; t < tokens.count; ++t) {
        const Vec delta = splat(b_.delta.data[t * b_.delta.stride]);
        for (int64_t n = 0; n < args_.states; n += kLanes) {
          store(decay_ + t * padded(args_.states) + n, exp2(delta * load(A_row_ + n)));
        }
      }
    }
  }

  // One block's channels of a u-like tensor, copied only if need be.
  Strip channels(const View& view, int64_t batch, int64_t k, const Tokens& tokens, Lanes lanes,
                 float* buffer) {
    const int64_t base = batch * view.b + k * view.k + lanes.channel * view.c;
    if (lanes.count == kLanes && is_strip(view, tokens)) return strip_of(view, base, tokens);
    stage(view, base, tokens, lanes.count, buffer, kLanes);
    return {buffer, kLanes};
  }

  void stage_delta(int64_t batch, int64_t k, const Tokens& tokens, Lanes lanes, int64_t index) {
    if (args_.rank > 0) {
      multiply_factors(factor_strip_, weight_ + index * args_.rank * kLanes, args_.rank,
                       tokens.count, raw_, kLanes);
      b_.delta = {raw_, kLanes};
    } else {
      b_.delta = channels(args_.delta, batch, k, tokens, lanes, raw_);
    }
    if (args_.bias.data == nullptr && !args_.softplus) return;
    const Vec bias = load_channels(args_.bias, k, lanes);
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec raw = load(b_.delta.data + t * b_.delta.stride) + bias;
      store(delta_ + t * kLanes, args_.softplus ? softplus(raw) : raw);
    }
    b_.delta = {delta_, kLanes};
  }

  void segment(int64_t batch, int64_t k, const Tokens& tokens, Lanes lanes, int64_t index) {
    const int64_t at = index * per_block_;
    b_.A2 = A2_ + at, b_.B_lanes = B_lanes_ + at, b_.C_lanes = C_lanes_ + at, b_.h = h_ + at;
    keep_state(batch, k, tokens, lanes);
    b_.u = channels(args_.u, batch, 0, tokens, lanes, u_);
    stage_delta(batch, k, tokens, lanes, index);
    b_.D = load_channels(args_.D, k, lanes);
    b_.has_D = args_.D.data != nullptr;
    const View& out = args_.out;
    const int64_t base = batch * out.b + lanes.channel * out.c;
    const bool in_place = lanes.count == kLanes && is_strip(out, tokens);
    b_.y = in_place ? strip_of(out, base, tokens) : Strip{y_, kLanes};
    b_.resume = in_place && k > 0;
    if (args_.shared_decay) {
      run_block<true>(args_, b_);
    } else {
      run_block<false>(args_, b_);
    }
    if (args_.z.data != nullptr) gate(batch, tokens, lanes);
    if (in_place) return;
    if (k == 0 && past_caches_ && unstage_past(out, base, tokens, lanes.count, y_)) return;
    unstage(out, base, tokens, lanes.count, y_, kLanes, k > 0);
  }

  // Looks for the memory of the block after this one.
  void expect(int64_t batch, int64_t k, const Tokens& tokens, Lanes lanes) {
    ahead_.count = 0;
    auto add = [&](const View& view, int64_t k) {
      const int64_t base = batch * view.b + k * view.k + lanes.channel * view.c;
      look_ahead(view, base, tokens, lanes.count, ahead_);
    };
    add(args_.u, 0);
    if (args_.rank == 0) add(args_.delta, k);
    add(args_.z, 0);
    if (!past_caches_) add(args_.out, 0);
    b_.asks = (ahead_.count + kTokens - 1) / kTokens;
    while (ahead_.count < b_.asks * kTokens) ahead_.add(ahead_.address[0]);
    b_.ahead = ahead_.address;
  }

  void gate(int64_t batch, const Tokens& tokens, Lanes lanes) {
    const Strip gates = channels(args_.z, batch, 0, tokens, lanes, z_);
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec z = load(gates.data + t * gates.stride);
      float* y = b_.y.data + t * b_.y.stride;
      store(y, load(y) * z * sigmoid(z));
    }
  }

  // The state before each segment is kept for the backward: (b, k, segment, state, channel).
  void keep_state(int64_t batch, int64_t k, const Tokens& tokens, Lanes lanes) {
    const View& view = args_.states_kept;
    if (view.data == nullptr) return;
    float* to = reinterpret_cast<float*>(view.data) + batch * view.b + k * view.k +
                tokens.start / kSegment * view.h + lanes.channel;
    for (int64_t n = 0; n < args_.states; ++n) {
      store_first(to + n * view.c, load(b_.h + n * kLanes), lanes.count);
    }
  }

  void finish(int64_t batch, int64_t k, int64_t first, int64_t last) {
    const View& view = args_.last;
    if (view.data == nullptr) return;
    for (int64_t block = first; block < last; ++block) {
      const Lanes lanes = lanes_of(args_, block);
      const int64_t base = batch * view.b + k * view.k + lanes.channel * view.g;
      unstage_parameter(view, base, args_.states, lanes.count, h_ + (block - first) * per_block_);
    }
  }

  const ScanArgs& args_;
  const int64_t per_block_;
  Scratch scratch_;
  const bool past_caches_;
  Ahead ahead_{};
  Block b_{};
  Strip factor_strip_{};
  float *raw_, *u_, *delta_, *y_, *z_;
  float *B_, *C_, *decay_, *h_, *A2_, *B_lanes_, *C_lanes_, *factors_, *weight_, *A_row_;
};

}  // namespace

void scan_forward(const ScanArgs& args) {
  struct Job {
    const ScanArgs& args;
    int64_t blocks, parts;
  };
  const int64_t blocks = args.groups * blocks_per_group(args);
  const int64_t updates = scan_updates(args);
  const int64_t parts = split(blocks, args.batch, thread_count(updates), (blocks + 7) / 8);
  Job job{args, blocks, parts};
  parallel_for(args.batch * parts, updates, [](int64_t begin, int64_t end, void* context) {
    const Job& job = *static_cast<const Job*>(context);
    Forward forward(job.args, (job.blocks + job.parts - 1) / job.parts);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t part = item % job.parts;
      forward.run(item / job.parts, part * job.blocks / job.parts,
                  (part + 1) * job.blocks / job.parts);
    }
  }, &job);
}

}  // namespace unveil::UNVEIL_ISA
