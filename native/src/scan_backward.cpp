// The selective scan, backward: each segment is run again from its kept state, storing decays and
// states in the L1/L2 cache, then walked in reverse.
//
// With g_t = dL/dh_t = C_t dy_t + a_(t+1) g_(t+1):
//   dC_t = sum over lanes of dy_t h_t          dB_t = sum over lanes of g_t delta_t u_t
//   d(delta_t u_t) = sum over states of B_t g_t
//   d(delta_t A) = a_t g_t h_(t-1), whence ddelta_t and dA.
// The sums over lanes are the expensive part: two blocks of lanes go side by side, so that one tree
// of shuffles serves all of them.
#include <initializer_list>

#include "staging.h"
#include "hints.h"

namespace unveil::UNVEIL_ISA {
namespace {

constexpr int kSide = 2;     // blocks side by side
constexpr int kStates = 4;   // states at a time
constexpr int64_t kRange = 16;  // blocks whose parameters stay in the cache at a time
constexpr float kLog2e = 0x1.715476p+0f, kLn2 = 0x1.62e430p-1f;

// What the loops over one segment use, for Q <= kSide blocks of one group; their lanes lie side by
// side in every strip.
struct Run {
  int64_t count, per_block;
  Strip delta, u, dy, B, C, decay;
  float *ddrive, *decay_part, *y;           // [token][block][lane]; y is null unless a gate needs it
  float *dB, *dC;                           // [token][state]
  int64_t states_row;                       // of dB and dC
  const float *A2, *h, *B_lanes, *C_lanes;  // [block][state][lane]
  float *carry, *dA, *dB_lanes, *dC_lanes;  // [block][state][lane]
  float *decays, *states;                   // [token][block][state][lane]
  const char* const* ahead;                 // addresses to ask for, `asks` at each token of a tile
  int64_t asks;
};

template <int Q, int N>
inline void load_tile(const Run& run, const float* from, int64_t state, Vec (&tile)[Q][N]) {
  UNVEIL_UNROLL
  for (int q = 0; q < Q; ++q) {
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) tile[q][j] = load(from + q * run.per_block + (state + j) * kLanes);
  }
}

template <int Q, int N>
inline void store_tile(const Run& run, float* to, int64_t state, const Vec (&tile)[Q][N]) {
  UNVEIL_UNROLL
  for (int q = 0; q < Q; ++q) {
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) store(to + q * run.per_block + (state + j) * kLanes, tile[q][j]);
  }
}

template <int Q, int N, bool Shared, bool LaneB>
void replay(const Run& run, int64_t state) {
  const float *B = run.B.data + state, *decay = run.decay.data + state;
  const float *deltas = run.delta.data, *us = run.u.data;
  float *UNVEIL_RESTRICT decays = run.decays, *UNVEIL_RESTRICT states = run.states;
  Vec h[Q][N], A2[Q][N], B_lanes[Q][N];
  load_tile(run, run.h, state, h);
  load_tile(run, run.A2, state, A2);
  if constexpr (LaneB) load_tile(run, run.B_lanes, state, B_lanes);
  UNVEIL_UNROLL
  for (int q = 0; q < Q; ++q) {
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) store(states + (q * N + j) * kLanes, h[q][j]);
  }
  for (int64_t t = 0; t < run.count; ++t) {
    states += Q * N * kLanes;
    UNVEIL_UNROLL
    for (int q = 0; q < Q; ++q) {
      const Vec delta = load(deltas + q * kLanes), drive = delta * load(us + q * kLanes);
      UNVEIL_UNROLL
      for (int j = 0; j < N; ++j) {
        const int to = (q * N + j) * kLanes;
        // Multiplied at once, so that the broadcast is part of the multiplication.
        const Vec driven = drive * (LaneB ? B_lanes[q][j] : splat(B[j]));
        Vec a;
        if constexpr (Shared) {
          a = splat(decay[j]);
        } else {
          a = exp2(delta * A2[q][j]);
          store(decays + to, a);
        }
        h[q][j] = fma(a, h[q][j], driven);
        store(states + to, h[q][j]);
      }
    }
    decays += Q * N * kLanes;
    deltas += run.delta.stride, us += run.u.stride;
    B += run.B.stride, decay += run.decay.stride;
    for (int64_t i = 0; i < run.asks; ++i) prefetch(run.ahead[t * run.asks + i]);
  }
}

// The output before the gate, for the gradient of the gate.
template <int Q, int N, bool LaneC>
void add_outputs(const Run& run, int64_t state) {
  for (int64_t t = 0; t < run.count; ++t) {
    const float* C = run.C.data + t * run.C.stride + state;
    for (int q = 0; q < Q; ++q) {
      const int64_t at = q * run.per_block + state * kLanes;
      float* to = run.y + (t * Q + q) * kLanes;
      Vec y = load(to);
      for (int j = 0; j < N; ++j) {
        const Vec c = LaneC ? load(run.C_lanes + at + j * kLanes) : splat(C[j]);
        y = fma(c, load(run.states + (((t + 1) * Q + q) * N + j) * kLanes), y);
      }
      store(to, y);
    }
  }
}

template <int N>
inline void add_sums(const Vec (&v)[2 * N], float* b, float* c) {
  if constexpr (N == 4) {
    add_lane_sums(v, b, c);
  } else {
    for (int j = 0; j < N; ++j) {
      b[j] += sum(v[j]);
      c[j] += sum(v[N + j]);
    }
  }
}

template <int Q, int N, bool Shared, bool LaneB, bool LaneC>
void reverse(const Run& run, int64_t state) {
  const bool resume = state > 0;
  const int64_t last = run.count - 1;
  const float *B = run.B.data + last * run.B.stride + state;
  const float *C = run.C.data + last * run.C.stride + state;
  const float* decay = run.decay.data + last * run.decay.stride + state;
  const float* deltas = run.delta.data + last * run.delta.stride;
  const float* us = run.u.data + last * run.u.stride;
  const float* dys = run.dy.data + last * run.dy.stride;
  const float* decays = run.decays + last * Q * N * kLanes;
  const float* states = run.states + last * Q * N * kLanes;
  float* UNVEIL_RESTRICT ddrives = run.ddrive + last * Q * kLanes;
  float* UNVEIL_RESTRICT decay_parts = run.decay_part + last * Q * kLanes;
  // Small arrays of their own: they live in registers or at fixed places of the stack.
  Vec carry[Q][N], A2[Q][N], dA[Q][N], B_lanes[Q][N], C_lanes[Q][N], dB_lanes[Q][N], dC_lanes[Q][N];
  load_tile(run, run.carry, state, carry);
  load_tile(run, run.A2, state, A2);
  load_tile(run, run.dA, state, dA);
  if constexpr (LaneB) load_tile(run, run.B_lanes, state, B_lanes);
  if constexpr (LaneB) load_tile(run, run.dB_lanes, state, dB_lanes);
  if constexpr (LaneC) load_tile(run, run.C_lanes, state, C_lanes);
  if constexpr (LaneC) load_tile(run, run.dC_lanes, state, dC_lanes);
  for (int64_t t = last; t >= 0; --t) {
    Vec sums[2 * N];
    UNVEIL_UNROLL
    for (int j = 0; j < 2 * N; ++j) sums[j] = splat(0.0f);
    UNVEIL_UNROLL
    for (int q = 0; q < Q; ++q) {
      const Vec delta = load(deltas + q * kLanes), drive = delta * load(us + q * kLanes);
      const Vec dy = load(dys + q * kLanes);
      Vec ddrive = resume ? load(ddrives + q * kLanes) : splat(0.0f);
      Vec decay_part = resume ? load(decay_parts + q * kLanes) : splat(0.0f);
      UNVEIL_UNROLL
      for (int j = 0; j < N; ++j) {
        const int saved = (q * N + j) * kLanes;
        const Vec g = fma(LaneC ? C_lanes[q][j] : splat(C[j]), dy, carry[q][j]);
        ddrive = fma(LaneB ? B_lanes[q][j] : splat(B[j]), g, ddrive);
        carry[q][j] = g * (Shared ? splat(decay[j]) : load(decays + saved));
        Vec& dC = LaneC ? dC_lanes[q][j] : sums[N + j];
        Vec& dB = LaneB ? dB_lanes[q][j] : sums[j];
        dC = fma(load(states + saved + Q * N * kLanes), dy, dC);
        dB = fma(g, drive, dB);
        const Vec in_decay = carry[q][j] * load(states + saved);
        decay_part = fma(A2[q][j], in_decay, decay_part);
        dA[q][j] = fma(in_decay, delta, dA[q][j]);
      }
      store(ddrives + q * kLanes, ddrive);
      store(decay_parts + q * kLanes, decay_part);
    }
    if constexpr (!LaneB || !LaneC) {
      const int64_t to = t * run.states_row + state;
      add_sums<N>(sums, run.dB + to, run.dC + to);
    }
    B -= run.B.stride, C -= run.C.stride, decay -= run.decay.stride;
    deltas -= run.delta.stride, us -= run.u.stride, dys -= run.dy.stride;
    decays -= Q * N * kLanes, states -= Q * N * kLanes;
    ddrives -= Q * kLanes, decay_parts -= Q * kLanes;
  }
  store_tile(run, run.carry, state, carry);
  store_tile(run, run.dA, state, dA);
  if constexpr (LaneB) store_tile(run, run.dB_lanes, state, dB_lanes);
  if constexpr (LaneC) store_tile(run, run.dC_lanes, state, dC_lanes);
}

template <int Q, int N, bool Shared, bool LaneB, bool LaneC>
void run_all_states(Run& run, int64_t states, int64_t state) {
  for (; state + N <= states; state += N) {
    replay<Q, N, Shared, LaneB>(run, state);
    if (run.y != nullptr) add_outputs<Q, N, LaneC>(run, state);
    reverse<Q, N, Shared, LaneB, LaneC>(run, state);
    run.ahead += run.asks * kTokens;
  }
  if constexpr (N > 1) run_all_states<Q, N / 2, Shared, LaneB, LaneC>(run, states, state);
}

template <bool Shared>
void run_blocks(const ScanArgs& args, Run& run, int64_t blocks) {
  const int64_t n = args.states;
  if (args.B_per_channel && args.C_per_channel) {
    run_all_states<1, kStates, Shared, true, true>(run, n, 0);
  } else if (args.B_per_channel) {
    run_all_states<1, kStates, Shared, true, false>(run, n, 0);
  } else if (args.C_per_channel) {
    run_all_states<1, kStates, Shared, false, true>(run, n, 0);
  } else if (blocks == kSide) {
    run_all_states<kSide, kStates, Shared, false, false>(run, n, 0);
  } else {
    run_all_states<1, kStates, Shared, false, false>(run, n, 0);
  }
}

// One thread's work: some blocks of one batch element, all directions.
class Backward {
 public:
  explicit Backward(const ScanArgs& args)
      : args_(args),
        per_block_(args.states * kLanes),
        states_row_(padded(args.states)),
        rank_row_(padded(args.rank)),
        scratch_(floats()) {
    for (float** buffer : {&raw_, &u_, &delta_, &dout_, &dy_, &z_, &y_, &ddrive_, &ddelta_}) {
      *buffer = scratch_.take(kTokens * kSide * kLanes);
    }
    for (float** buffer : {&B_, &C_, &decay_, &dB_, &dC_}) {
      *buffer = scratch_.take(kTokens * states_row_);
    }
    for (float** buffer : {&A2_, &B_lanes_, &C_lanes_, &carry_, &dA_, &dB_lanes_, &dC_lanes_}) {
      *buffer = scratch_.take(kRange * per_block_);
    }
    h_ = scratch_.take(kSide * per_block_);
    for (float** buffer : {&dD_, &dbias_}) *buffer = scratch_.take(kRange * kLanes);
    for (float** buffer : {&weight_, &dweight_}) *buffer = scratch_.take(kRange * args.rank * kLanes);
    for (float** buffer : {&factors_, &dfactors_}) *buffer = scratch_.take(kTokens * rank_row_);
    ddelta_sum_ = scratch_.take(kTokens * kLanes);
    A_row_ = scratch_.take(states_row_);
    for (float** buffer : {&decays_, &states_}) {
      *buffer = scratch_.take((kTokens + 1) * kSide * kStates * kLanes);
    }
  }

  void run(int64_t batch, int64_t part, int64_t first, int64_t last) {
    batch_ = batch, part_ = part;
    for (first_ = first; first_ < last; first_ = last_) {
      last_ = last - first_ < kRange ? last : first_ + kRange;
      for (k_ = 0; k_ < args_.directions; ++k_) direction();
    }
  }

 private:
  int64_t floats() const {
    return (9 * kSide + 1) * kTokens * kLanes + kTokens * (5 * states_row_ + 2 * rank_row_) +
           (7 * kRange + kSide) * per_block_ + 2 * kRange * kLanes * (1 + args_.rank) + states_row_ +
           2 * (kTokens + 1) * kSide * kStates * kLanes + 32 * 16;
  }

  void direction() {
    begin();
    const int64_t length = args_.height * args_.width;
    for (int64_t start = (length - 1) / kTokens * kTokens; start >= 0; start -= kTokens) {
      const Tokens tokens = segment_at(args_, k_, start);
      const Tokens next = segment_at(args_, k_, start - kTokens);
      for (int64_t block = first_; block < last_;) block = group(tokens, next, block);
    }
    finish();
  }

  void parameter(const View& view, Lanes lanes, int64_t rows, float scale, float* to) {
    if (view.data == nullptr) {
      for (int64_t i = 0; i < rows * kLanes; ++i) to[i] = 0.0f;
    } else {
      const int64_t base = batch_ * view.b + k_ * view.k + lanes.channel * view.g;
      stage_parameter(view, base, rows, lanes.count, scale, to);
    }
  }

  void begin() {
    for (int64_t block = first_; block < last_; ++block) {
      const Lanes lanes = lanes_of(args_, block);
      const int64_t at = (block - first_) * per_block_;
      parameter(args_.A, lanes, args_.states, kLog2e, A2_ + at);
      parameter(args_.dlast, lanes, args_.states, 1.0f, carry_ + at);
      if (args_.B_per_channel) parameter(args_.B, lanes, args_.states, 1.0f, B_lanes_ + at);
      if (args_.C_per_channel) parameter(args_.C, lanes, args_.states, 1.0f, C_lanes_ + at);
      parameter(args_.weight, lanes, args_.rank, 1.0f,
                weight_ + (block - first_) * args_.rank * kLanes);
    }
    const int64_t blocks = last_ - first_;
    clear(dA_, blocks * per_block_);
    clear(dB_lanes_, blocks * per_block_);
    clear(dC_lanes_, blocks * per_block_);
    clear(dD_, blocks * kLanes);
    clear(dbias_, blocks * kLanes);
    clear(dweight_, blocks * args_.rank * kLanes);
    for (int64_t n = 0; n < states_row_; ++n) {
      A_row_[n] = n < args_.states ? A2_[n * kLanes] : 0.0f;
    }
  }

  static void clear(float* p, int64_t count) {
    for (int64_t i = 0; i < count; ++i) p[i] = 0.0f;
  }

  // All blocks of one group within this thread's range; returns the block after them.
  int64_t group(const Tokens& tokens, const Tokens& next, int64_t block) {
    const int64_t index = lanes_of(args_, block).group;
    const int64_t of_group = (index + 1) * blocks_per_group(args_);
    const int64_t end = of_group < last_ ? of_group : last_;
    stage_group(tokens, index);
    const bool alone = args_.B_per_channel || args_.C_per_channel;
    while (block < end) {
      const int64_t runs = (end - block + kSide - 1) / kSide;
      const int64_t side = alone ? 1 : (end - block + runs - 1) / runs;
      const bool more = block + side < last_;
      expect(more ? tokens : next, more ? block + side : first_, side);
      run_side(tokens, block, side);
      block += side;
    }
    flush_group(tokens, index);
    return end;
  }

  void stage_group(const Tokens& tokens, int64_t group) {
    auto staged = [&](const View& view, int64_t count, float* buffer) {
      const int64_t base = batch_ * view.b + k_ * view.k + group * view.g;
      return stage_states(view, base, tokens, count, buffer);
    };
    run_.count = tokens.count;
    run_.B = run_.C = Strip{B_, 0};
    if (!args_.B_per_channel) run_.B = staged(args_.B, args_.states, B_);
    if (!args_.C_per_channel) run_.C = staged(args_.C, args_.states, C_);
    if (args_.rank > 0) factor_strip_ = staged(args_.delta, args_.rank, factors_);
    clear(dB_, kTokens * states_row_);
    clear(dC_, kTokens * states_row_);
    clear(dfactors_, kTokens * rank_row_);
    clear(ddelta_sum_, kTokens * kLanes);
    run_.decay = {decay_, states_row_};
    if (args_.shared_decay) {
      stage_delta(tokens, first_, 1);
      for (int64_t t = 0; t < tokens.count; ++t) {
        const Vec delta = splat(run_.delta.data[t * run_.delta.stride]);
        for (int64_t n = 0; n < args_.states; n += kLanes) {
          store(decay_ + t * states_row_ + n, exp2(delta * load(A_row_ + n)));
        }
      }
    }
  }

  void flush_group(const Tokens& tokens, int64_t group) {
    auto add = [&](const View& view, int64_t part_stride, int64_t count, const float* from,
                   int64_t row) {
      if (view.data == nullptr) return;
      const int64_t base =
          part_ * part_stride + batch_ * view.b + k_ * view.k + group * view.g;
      for (int64_t n = 0; n < count; n += kLanes) {
        const int left = int(count - n < kLanes ? count - n : kLanes);
        unstage(view, base + n * view.c, tokens, left, from + n, row, true);
      }
    };
    if (!args_.B_per_channel) add(args_.dB, args_.B_part, args_.states, dB_, states_row_);
    if (!args_.C_per_channel) add(args_.dC, args_.C_part, args_.states, dC_, states_row_);
    if (args_.rank > 0) add(args_.ddelta, args_.delta_part, args_.rank, dfactors_, rank_row_);
    if (args_.delta_is_shared) add(args_.ddelta, args_.delta_part, 1, ddelta_sum_, kLanes);
  }

  int64_t base_of(const View& view, int64_t k, Lanes lanes) const {
    return batch_ * view.b + k * view.k + lanes.channel * view.c;
  }

  // Whether `side` blocks of a tensor can be used where they lie.
  bool in_place(const View& view, const Tokens& tokens, int64_t block, int64_t side) const {
    return view.data != nullptr && lanes_of(args_, block + side - 1).count == kLanes &&
           is_strip(view, tokens);
  }

  // The channels of `side` blocks of a u-like tensor, copied only if need be.
  Strip channels(const View& view, int64_t k, const Tokens& tokens, int64_t block, int64_t side,
                 float* buffer) {
    if (in_place(view, tokens, block, side)) {
      return strip_of(view, base_of(view, k, lanes_of(args_, block)), tokens);
    }
    const int64_t row = side * kLanes;
    for (int64_t q = 0; q < side; ++q) {
      const Lanes lanes = lanes_of(args_, block + q);
      stage(view, base_of(view, k, lanes), tokens, lanes.count, buffer + q * kLanes, row);
    }
    return {buffer, row};
  }

  void stage_delta(const Tokens& tokens, int64_t block, int64_t side) {
    const int64_t row = side * kLanes;
    if (args_.rank > 0) {
      for (int64_t q = 0; q < side; ++q) {
        const float* weight = weight_ + (block - first_ + q) * args_.rank * kLanes;
        multiply_factors(factor_strip_, weight, args_.rank, tokens.count, raw_ + q * kLanes, row);
      }
      raw_strip_ = {raw_, row};
    } else {
      raw_strip_ = channels(args_.delta, k_, tokens, block, side, raw_);
    }
    run_.delta = raw_strip_;
    if (args_.bias.data == nullptr && !args_.softplus) return;
    for (int64_t q = 0; q < side; ++q) {
      const Vec bias = load_channels(args_.bias, k_, lanes_of(args_, block + q));
      for (int64_t t = 0; t < tokens.count; ++t) {
        const Vec raw = load(raw_strip_.data + t * raw_strip_.stride + q * kLanes) + bias;
        const int64_t at = t * row + q * kLanes;
        store(raw_ + at, raw);
        store(delta_ + at, args_.softplus ? softplus(raw) : raw);
      }
    }
    raw_strip_ = {raw_, row};
    run_.delta = {delta_, row};
  }

  void run_side(const Tokens& tokens, int64_t block, int64_t side) {
    prepare(tokens, block, side);
    const int64_t at = (block - first_) * per_block_;
    run_.per_block = per_block_, run_.states_row = states_row_;
    run_.ddrive = ddrive_, run_.decay_part = ddelta_;
    run_.y = args_.dz.data != nullptr ? y_ : nullptr;
    run_.dB = dB_, run_.dC = dC_;
    run_.A2 = A2_ + at, run_.h = h_, run_.B_lanes = B_lanes_ + at, run_.C_lanes = C_lanes_ + at;
    run_.carry = carry_ + at, run_.dA = dA_ + at;
    run_.dB_lanes = dB_lanes_ + at, run_.dC_lanes = dC_lanes_ + at;
    run_.decays = decays_, run_.states = states_;
    run_.ahead = ahead_.address, run_.asks = asks_;
    if (args_.shared_decay) {
      run_blocks<true>(args_, run_, side);
    } else {
      run_blocks<false>(args_, run_, side);
    }
    conclude(tokens, block, side);
  }

  void prepare(const Tokens& tokens, int64_t block, int64_t side) {
    stage_delta(tokens, block, side);
    run_.u = channels(args_.u, 0, tokens, block, side, u_);
    dout_strip_ = {dout_, side * kLanes};
    if (args_.dout.data == nullptr) {
      clear(dout_, kTokens * side * kLanes);
    } else {
      dout_strip_ = channels(args_.dout, 0, tokens, block, side, dout_);
    }
    run_.dy = dout_strip_;
    if (args_.z.data != nullptr) prepare_gate(tokens, block, side);
    for (int64_t q = 0; q < side; ++q) {
      const Lanes lanes = lanes_of(args_, block + q);
      const float* from = kept_states(tokens, lanes);
      for (int64_t n = 0; n < args_.states; ++n) {
        const Vec h = load_first(from + n * args_.states_kept.c, lanes.count);
        store(h_ + q * per_block_ + n * kLanes, h);
      }
    }
  }

  void prepare_gate(const Tokens& tokens, int64_t block, int64_t side) {
    z_strip_ = channels(args_.z, 0, tokens, block, side, z_);
    for (int64_t q = 0; q < side; ++q) {
      const Vec D = load_channels(args_.D, k_, lanes_of(args_, block + q));
      for (int64_t t = 0; t < tokens.count; ++t) {
        const int64_t lane = q * kLanes, at = t * side * kLanes + lane;
        const Vec z = load(z_strip_.data + t * z_strip_.stride + lane);
        const Vec dout = load(dout_strip_.data + t * dout_strip_.stride + lane);
        store(dy_ + at, dout * z * sigmoid(z));
        const Vec u = load(run_.u.data + t * run_.u.stride + lane);
        store(y_ + at, args_.D.data != nullptr ? D * u : splat(0.0f));
      }
    }
    run_.dy = {dy_, side * kLanes};
  }

  void conclude(const Tokens& tokens, int64_t block, int64_t side) {
    const int64_t row = side * kLanes;
    const View &du = args_.du, &ddelta = args_.ddelta;
    const bool whole_delta = ddelta.data != nullptr && args_.rank == 0 && !args_.delta_is_shared;
    const bool du_here = k_ == 0 && in_place(du, tokens, block, side);
    const bool ddelta_here = whole_delta && in_place(ddelta, tokens, block, side);
    const Lanes first = lanes_of(args_, block);
    const Strip to_du = du_here ? strip_of(du, base_of(du, 0, first), tokens) : Strip{ddrive_, row};
    const Strip to_ddelta =
        ddelta_here ? strip_of(ddelta, base_of(ddelta, k_, first), tokens) : Strip{ddelta_, row};
    for (int64_t q = 0; q < side; ++q) {
      const Lanes lanes = lanes_of(args_, block + q);
      finish_block(tokens, lanes, block + q - first_, q, row, to_du, to_ddelta);
      const int64_t lane = q * kLanes;
      if (!du_here) put(du, tokens, lanes, ddrive_ + lane, row, k_ > 0);
      if (whole_delta && !ddelta_here) {
        unstage(ddelta, base_of(ddelta, k_, lanes), tokens, lanes.count, ddelta_ + lane, row, false);
      } else if (!whole_delta) {
        conclude_delta(tokens, block + q - first_, ddelta_ + lane, row);
      }
      if (args_.dz.data != nullptr) {
        finish_gate(tokens, lane, row);
        put(args_.dz, tokens, lanes, y_ + lane, row, false);
      }
    }
  }

  void put(const View& view, const Tokens& tokens, Lanes lanes, const float* from, int64_t row,
           bool add) {
    if (view.data == nullptr) return;
    unstage(view, base_of(view, 0, lanes), tokens, lanes.count, from, row, add);
  }

  // From the sums over states to the gradients of u, delta, D and the bias.
  void finish_block(const Tokens& tokens, Lanes lanes, int64_t index, int64_t q, int64_t row,
                    Strip to_du, Strip to_ddelta) {
    const int64_t lane = q * kLanes, at = index * kLanes;
    const Vec D = load_channels(args_.D, k_, lanes);
    const bool has_D = args_.D.data != nullptr;
    Vec dD = load(dD_ + at), dbias = load(dbias_ + at);
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec ddrive = load(ddrive_ + t * row + lane);
      const Vec dy = load(run_.dy.data + t * run_.dy.stride + lane);
      const Vec u = load(run_.u.data + t * run_.u.stride + lane);
      Vec ddelta = fma(ddrive, u, load(ddelta_ + t * row + lane) * splat(kLn2));
      if (args_.softplus) {
        ddelta = ddelta * sigmoid(load(raw_strip_.data + t * raw_strip_.stride + lane));
      }
      const Vec du = ddrive * load(run_.delta.data + t * run_.delta.stride + lane);
      store(to_du.data + t * to_du.stride + lane, has_D ? fma(D, dy, du) : du);
      store(to_ddelta.data + t * to_ddelta.stride + lane, ddelta);
      dbias = dbias + ddelta;
      dD = fma(dy, u, dD);
    }
    store(dD_ + at, dD);
    store(dbias_ + at, dbias);
  }

  void finish_gate(const Tokens& tokens, int64_t lane, int64_t row) {
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec z = load(z_strip_.data + t * z_strip_.stride + lane), s = sigmoid(z);
      const Vec slope = s * fma(z, splat(1.0f) - s, splat(1.0f));
      const Vec dout = load(dout_strip_.data + t * dout_strip_.stride + lane);
      float* y = y_ + t * row + lane;
      store(y, dout * load(y) * slope);
    }
  }

  // Looks for the memory of the `side` blocks after these.
  void expect(const Tokens& tokens, int64_t block, int64_t side) {
    ahead_.count = 0;
    for (int64_t end = block + side < last_ ? block + side : last_; block < end; ++block) {
      const Lanes lanes = lanes_of(args_, block);
      auto add = [&](const View& view, int64_t k) {
        const int64_t base = batch_ * view.b + k * view.k + lanes.channel * view.c;
        look_ahead(view, base, tokens, lanes.count, ahead_);
      };
      for (const View* view : {&args_.u, &args_.z, &args_.dout, &args_.du, &args_.dz}) add(*view, 0);
      if (args_.rank == 0) {
        add(args_.delta, k_);
        if (!args_.delta_is_shared) add(args_.ddelta, k_);
      }
      if (!tokens.empty()) {
        const float* kept = kept_states(tokens, lanes);
        for (int64_t n = 0; n < args_.states; ++n) {
          ahead_.add(reinterpret_cast<const char*>(kept + n * args_.states_kept.c));
        }
      }
    }
    // Tiles of 4, 2 and 1 states, as run_all_states takes them.
    const int64_t n = args_.states, slots = (n / 4 + n % 4 / 2 + n % 2) * kTokens;
    asks_ = (ahead_.count + slots - 1) / slots;
    while (ahead_.count < asks_ * slots && ahead_.count < Ahead::kMost) {
      ahead_.add(ahead_.address[0]);
    }
    if (ahead_.count < asks_ * slots) asks_ = 0;
  }

  const float* kept_states(const Tokens& tokens, Lanes lanes) const {
    const View& kept = args_.states_kept;
    return reinterpret_cast<const float*>(kept.data) + batch_ * kept.b + k_ * kept.k +
           tokens.start / kSegment * kept.h + lanes.channel;
  }

  // A delta that channels share, or its factors.
  void conclude_delta(const Tokens& tokens, int64_t index, const float* ddelta, int64_t row) {
    if (args_.ddelta.data != nullptr && args_.delta_is_shared) {
      for (int64_t t = 0; t < tokens.count; ++t) {
        ddelta_sum_[t * kLanes] += sum(load(ddelta + t * row));
      }
    }
    for (int64_t r = 0; r < args_.rank; ++r) {
      const int64_t at = (index * args_.rank + r) * kLanes;
      const Vec weight = load(weight_ + at);
      Vec dweight = load(dweight_ + at);
      for (int64_t t = 0; t < tokens.count; ++t) {
        const Vec d = load(ddelta + t * row);
        dfactors_[t * rank_row_ + r] += sum(d * weight);
        dweight = fma(d, splat(factor_strip_.data[t * factor_strip_.stride + r]), dweight);
      }
      store(dweight_ + at, dweight);
    }
  }

  void finish() {
    for (int64_t block = first_; block < last_; ++block) {
      const Lanes lanes = lanes_of(args_, block);
      const int64_t index = block - first_, at = index * per_block_;
      auto write = [&](const View& view, int64_t rows, const float* from) {
        if (view.data == nullptr) return;
        const int64_t base = batch_ * view.b + k_ * view.k + lanes.channel * view.g;
        unstage_parameter(view, base, rows, lanes.count, from);
      };
      write(args_.dA, args_.states, dA_ + at);
      write(args_.dinitial, args_.states, carry_ + at);
      if (args_.B_per_channel) write(args_.dB, args_.states, dB_lanes_ + at);
      if (args_.C_per_channel) write(args_.dC, args_.states, dC_lanes_ + at);
      write(args_.dD, 1, dD_ + index * kLanes);
      write(args_.dbias, 1, dbias_ + index * kLanes);
      write(args_.dweight, args_.rank, dweight_ + index * args_.rank * kLanes);
    }
  }

  const ScanArgs& args_;
  const int64_t per_block_, states_row_, rank_row_;
  Scratch scratch_;
  Ahead ahead_{};
  int64_t asks_ = 0;
  int64_t batch_ = 0, part_ = 0, k_ = 0, first_ = 0, last_ = 0;
  Run run_{};
  Strip factor_strip_{}, raw_strip_{}, dout_strip_{}, z_strip_{};
  float *raw_, *u_, *delta_, *dout_, *dy_, *z_, *y_, *ddrive_, *ddelta_;
  float *B_, *C_, *decay_, *dB_, *dC_;
  float *A2_, *B_lanes_, *C_lanes_, *carry_, *dA_, *dB_lanes_, *dC_lanes_, *h_;
  float *dD_, *dbias_, *weight_, *dweight_, *factors_, *dfactors_, *ddelta_sum_, *A_row_;
  float *decays_, *states_;
};

}  // namespace

int64_t scan_backward_parts(const ScanArgs& args) {
  const int64_t blocks = args.groups * blocks_per_group(args);
  return split(blocks, args.batch, thread_count(scan_updates(args)), 1);
}

void scan_backward(const ScanArgs& args) {
  const int64_t items = args.batch * args.parts;
  parallel_for(items, scan_updates(args), [](int64_t begin, int64_t end, void* context) {
    const ScanArgs& args = *static_cast<const ScanArgs*>(context);
    const int64_t blocks = args.groups * blocks_per_group(args), parts = args.parts;
    Backward backward(args);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t part = item % parts;
      backward.run(item / parts, part, part * blocks / parts, (part + 1) * blocks / parts);
    }
  }, const_cast<ScanArgs*>(&args));
}

}  // namespace unveil::UNVEIL_ISA
