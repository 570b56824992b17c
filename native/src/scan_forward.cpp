// The selective scan, forward: channels in SIMD lanes, states in registers, one loop over tokens.
#include <initializer_list>

#include "staging.h"
#include "unroll.h"

namespace unveil::UNVEIL_ISA {
namespace {

// What the loop over one segment reads, for one block of lanes; all of it in the L1 cache.
struct Block {
  int64_t count;
  float *raw, *u, *delta, *drive, *y, *z;  // [token][lane]
  const float *B, *C, *decay;              // [tile][token][state], or [state][lane] if constant
  const float *A2, *B_lanes, *C_lanes;     // [state][lane]; A2 = A log2(e)
  float* h;                                // [state][lane]
};

// Runs N states through a segment. `Shared`: one decay for all lanes, read instead of computed.
template <int N, bool Shared, bool LaneB, bool LaneC>
void run_states(const Block& block, int64_t state) {
  const int64_t tile = state / kLanes * kTokens * kLanes + state % kLanes;
  const float *B = block.B + tile, *C = block.C + tile, *decay = block.decay + tile;
  const float* A2 = block.A2 + state * kLanes;
  const float *B_lanes = block.B_lanes + state * kLanes, *C_lanes = block.C_lanes + state * kLanes;
  Vec h[N];
  UNVEIL_UNROLL
  for (int j = 0; j < N; ++j) h[j] = load(block.h + (state + j) * kLanes);
  for (int64_t t = 0; t < block.count; ++t) {
    const Vec delta = load(block.delta + t * kLanes), drive = load(block.drive + t * kLanes);
    Vec y[2] = {load(block.y + t * kLanes), splat(0.0f)};
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) {
      const Vec b = LaneB ? load(B_lanes + j * kLanes) : splat(B[t * kLanes + j]);
      const Vec c = LaneC ? load(C_lanes + j * kLanes) : splat(C[t * kLanes + j]);
      const Vec a = Shared ? splat(decay[t * kLanes + j]) : exp2(delta * load(A2 + j * kLanes));
      h[j] = fma(a, h[j], drive * b);
      y[j % 2] = fma(c, h[j], y[j % 2]);
    }
    store(block.y + t * kLanes, y[0] + y[1]);
  }
  UNVEIL_UNROLL
  for (int j = 0; j < N; ++j) store(block.h + (state + j) * kLanes, h[j]);
}

// Takes the states in the largest powers of two that fit.
template <int N, bool Shared, bool LaneB, bool LaneC>
void run_all_states(const Block& block, int64_t states, int64_t state) {
  for (; state + N <= states; state += N) run_states<N, Shared, LaneB, LaneC>(block, state);
  if constexpr (N > 1) run_all_states<N / 2, Shared, LaneB, LaneC>(block, states, state);
}

template <bool Shared>
void run_block(const ScanArgs& args, const Block& block) {
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
        tiles_(state_tiles(args) * kTokens * kLanes),
        scratch_(floats(args, blocks)) {
    for (float** buffer : {&b_.raw, &b_.u, &b_.delta, &b_.drive, &b_.y, &b_.z}) {
      *buffer = scratch_.take(kTokens * kLanes);
    }
    for (float** buffer : {&B_, &C_, &decay_}) *buffer = scratch_.take(tiles_);
    for (float** buffer : {&h_, &A2_, &B_lanes_, &C_lanes_}) {
      *buffer = scratch_.take(blocks * per_block_);
    }
    factors_ = scratch_.take((args.rank + kLanes) * kTokens);
    weight_ = scratch_.take(blocks * args.rank * kLanes);
    A_row_ = scratch_.take(state_tiles(args) * kLanes);
  }

  void run(int64_t batch, int64_t first, int64_t last) {
    const int64_t length = args_.height * args_.width;
    for (int64_t k = 0; k < args_.directions; ++k) {
      begin(batch, k, first, last);
      for (int64_t start = 0; start < length; start += kTokens) {
        const int64_t left = length - start;
        const Tokens tokens(args_, k, start, left < kTokens ? left : kTokens);
        int64_t group = -1;
        for (int64_t block = first; block < last; ++block) {
          const Lanes lanes = lanes_of(args_, block);
          if (lanes.group != group) stage_group(batch, k, group = lanes.group, tokens);
          segment(batch, k, tokens, lanes, block - first);
        }
      }
      finish(batch, k, first, last);
    }
  }

 private:
  static int64_t floats(const ScanArgs& args, int64_t blocks) {
    const int64_t lanes = kLanes, tiles = state_tiles(args);
    return 6 * kTokens * lanes + 3 * tiles * kTokens * lanes + 4 * blocks * args.states * lanes +
           (args.rank + lanes) * kTokens + blocks * args.rank * lanes + tiles * lanes + 16 * 16;
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
    for (int64_t n = 0; n < state_tiles(args_) * kLanes; ++n) {
      A_row_[n] = n < args_.states ? A2_[n * kLanes] : 0.0f;
    }
  }

  // What all blocks of a group share: B, C, the factors of delta, the decay if it is the same.
  void stage_group(int64_t batch, int64_t k, int64_t group, const Tokens& tokens) {
    auto projection = [&](const View& view, int64_t states, float* to) {
      for (int64_t n = 0; n < states; n += kLanes) {
        const int64_t base = batch * view.b + k * view.k + group * view.g + n * view.c;
        const int64_t left = states - n;
        stage(view, base, tokens, int(left < kLanes ? left : kLanes), to + n * kTokens);
      }
    };
    if (!args_.B_per_channel) projection(args_.B, args_.states, B_);
    if (!args_.C_per_channel) projection(args_.C, args_.states, C_);
    if (args_.rank > 0) projection(args_.delta, args_.rank, factors_);
    if (args_.shared_decay) {
      stage_delta(batch, k, tokens, lanes_of(args_, 0), 0);
      for (int64_t n = 0; n < args_.states; n += kLanes) {
        const Vec A2 = load(A_row_ + n);
        for (int64_t t = 0; t < tokens.count; ++t) {
          const Vec delta = splat(b_.delta[t * kLanes]);
          store(decay_ + n * kTokens + t * kLanes, exp2(delta * A2));
        }
      }
    }
  }

  void stage_delta(int64_t batch, int64_t k, const Tokens& tokens, Lanes lanes, int64_t index) {
    if (args_.rank > 0) {
      multiply_factors(factors_, weight_ + index * args_.rank * kLanes, args_.rank, tokens.count,
                       b_.raw);
    } else {
      const View& view = args_.delta;
      const int64_t base = batch * view.b + k * view.k + lanes.channel * view.c;
      stage(view, base, tokens, lanes.count, b_.raw);
    }
    const Vec bias = load_channels(args_.bias, k, lanes);
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec raw = load(b_.raw + t * kLanes) + bias;
      store(b_.delta + t * kLanes, args_.softplus ? softplus(raw) : raw);
    }
  }

  void segment(int64_t batch, int64_t k, const Tokens& tokens, Lanes lanes, int64_t index) {
    const int64_t channel = lanes.channel, at = index * per_block_;
    b_.count = tokens.count;
    b_.B = B_, b_.C = C_, b_.decay = decay_;
    b_.A2 = A2_ + at, b_.B_lanes = B_lanes_ + at, b_.C_lanes = C_lanes_ + at, b_.h = h_ + at;
    keep_state(batch, k, tokens, lanes);
    stage(args_.u, batch * args_.u.b + channel * args_.u.c, tokens, lanes.count, b_.u);
    stage_delta(batch, k, tokens, lanes, index);
    const Vec D = load_channels(args_.D, k, lanes);
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec u = load(b_.u + t * kLanes);
      store(b_.drive + t * kLanes, load(b_.delta + t * kLanes) * u);
      // Without D nothing is added: 0 times an infinite u would be NaN.
      store(b_.y + t * kLanes, args_.D.data != nullptr ? D * u : splat(0.0f));
    }
    if (args_.shared_decay) {
      run_block<true>(args_, b_);
    } else {
      run_block<false>(args_, b_);
    }
    if (args_.z.data != nullptr) gate(batch, tokens, lanes);
    const View& out = args_.out;
    unstage(out, batch * out.b + channel * out.c, tokens, lanes.count, b_.y, k > 0);
  }

  void gate(int64_t batch, const Tokens& tokens, Lanes lanes) {
    const View& view = args_.z;
    stage(view, batch * view.b + lanes.channel * view.c, tokens, lanes.count, b_.z);
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec z = load(b_.z + t * kLanes);
      store(b_.y + t * kLanes, load(b_.y + t * kLanes) * z * sigmoid(z));
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
  const int64_t per_block_, tiles_;
  Scratch scratch_;
  Block b_{};
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
