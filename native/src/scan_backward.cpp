// The selective scan, backward: each segment is run again from its kept state, storing decays and
// states in the L1/L2 cache, then walked in reverse.
//
// With g_t = dL/dh_t = C_t dy_t + a_(t+1) g_(t+1):
//   dC_t = sum over lanes of dy_t h_t          dB_t = sum over lanes of g_t delta_t u_t
//   d(delta_t u_t) = sum over states of B_t g_t
//   d(delta_t A) = a_t g_t h_(t-1), whence ddelta_t and dA.
// The sums over lanes are the expensive part: up to four blocks of lanes go side by side, so that
// one tree of shuffles serves all of them.
#include <initializer_list>

#include "staging.h"
#include "unroll.h"

namespace unveil::UNVEIL_ISA {
namespace {

constexpr int kSide = 4;     // blocks side by side
constexpr int kStates = 4;   // states at a time
constexpr int kPanel = kTokens * kLanes;
constexpr int64_t kRange = 16;  // blocks whose parameters stay in the cache at a time
constexpr float kLog2e = 0x1.715476p+0f, kLn2 = 0x1.62e430p-1f;

// What the loops over one segment use, for up to kSide blocks of one group.
struct Run {
  int64_t count, per_block;
  const float *delta, *drive, *dy;    // [block][token][lane]
  float *ddrive, *decay_part, *y;     // [block][token][lane]; y is null unless a gate needs it
  const float *B, *C, *decay;         // [tile][token][state]
  float *dB, *dC;                     // [tile][token][state]
  const float *A2, *h, *B_lanes, *C_lanes;     // [block][state][lane]
  float *carry, *dA, *dB_lanes, *dC_lanes;     // [block][state][lane]
  float *decays, *states;             // [token][block][state][lane]
};

template <int Q, int N, bool Shared, bool LaneB>
void replay(const Run& run, int64_t state) {
  const int64_t tile = state / kLanes * kPanel + state % kLanes;
  const float *B = run.B + tile, *decay = run.decay + tile;
  Vec h[Q][N];
  UNVEIL_UNROLL
  for (int q = 0; q < Q; ++q) {
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) {
      h[q][j] = load(run.h + q * run.per_block + (state + j) * kLanes);
      store(run.states + (q * N + j) * kLanes, h[q][j]);
    }
  }
  for (int64_t t = 0; t < run.count; ++t) {
    UNVEIL_UNROLL
    for (int q = 0; q < Q; ++q) {
      const int64_t at = q * run.per_block + state * kLanes;
      const Vec delta = load(run.delta + q * kPanel + t * kLanes);
      const Vec drive = load(run.drive + q * kPanel + t * kLanes);
      UNVEIL_UNROLL
      for (int j = 0; j < N; ++j) {
        const int64_t to = ((t * Q + q) * N + j) * kLanes;
        const Vec b = LaneB ? load(run.B_lanes + at + j * kLanes) : splat(B[t * kLanes + j]);
        Vec a;
        if constexpr (Shared) {
          a = splat(decay[t * kLanes + j]);
        } else {
          a = exp2(delta * load(run.A2 + at + j * kLanes));
          store(run.decays + to, a);
        }
        h[q][j] = fma(a, h[q][j], drive * b);
        store(run.states + to + Q * N * kLanes, h[q][j]);
      }
    }
  }
}

// The output before the gate, for the gradient of the gate.
template <int Q, int N, bool LaneC>
void add_outputs(const Run& run, int64_t state) {
  const float* C = run.C + state / kLanes * kPanel + state % kLanes;
  for (int64_t t = 0; t < run.count; ++t) {
    for (int q = 0; q < Q; ++q) {
      const int64_t at = q * run.per_block + state * kLanes;
      float* to = run.y + q * kPanel + t * kLanes;
      Vec y = load(to);
      for (int j = 0; j < N; ++j) {
        const Vec c = LaneC ? load(run.C_lanes + at + j * kLanes) : splat(C[t * kLanes + j]);
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

inline void accumulate(float* to, Vec x, Vec y) { store(to, fma(x, y, load(to))); }

template <int Q, int N, bool Shared, bool LaneB, bool LaneC>
void reverse(const Run& run, int64_t state) {
  const int64_t tile = state / kLanes * kPanel + state % kLanes;
  const float *B = run.B + tile, *C = run.C + tile, *decay = run.decay + tile;
  Vec carry[Q][N];
  UNVEIL_UNROLL
  for (int q = 0; q < Q; ++q) {
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) carry[q][j] = load(run.carry + q * run.per_block + (state + j) * kLanes);
  }
  for (int64_t t = run.count - 1; t >= 0; --t) {
    Vec sums[2 * N];
    UNVEIL_UNROLL
    for (int j = 0; j < 2 * N; ++j) sums[j] = splat(0.0f);
    UNVEIL_UNROLL
    for (int q = 0; q < Q; ++q) {
      const int64_t at = q * run.per_block + state * kLanes, panel = q * kPanel + t * kLanes;
      const Vec delta = load(run.delta + panel), drive = load(run.drive + panel);
      const Vec dy = load(run.dy + panel);
      Vec ddrive = load(run.ddrive + panel), decay_part = load(run.decay_part + panel);
      UNVEIL_UNROLL
      for (int j = 0; j < N; ++j) {
        const int64_t saved = ((t * Q + q) * N + j) * kLanes;
        const Vec b = LaneB ? load(run.B_lanes + at + j * kLanes) : splat(B[t * kLanes + j]);
        const Vec c = LaneC ? load(run.C_lanes + at + j * kLanes) : splat(C[t * kLanes + j]);
        const Vec a = Shared ? splat(decay[t * kLanes + j]) : load(run.decays + saved);
        const Vec g = fma(c, dy, carry[q][j]);
        const Vec h = load(run.states + saved + Q * N * kLanes);
        if constexpr (LaneC) {
          accumulate(run.dC_lanes + at + j * kLanes, dy, h);
        } else {
          sums[N + j] = fma(dy, h, sums[N + j]);
        }
        if constexpr (LaneB) {
          accumulate(run.dB_lanes + at + j * kLanes, g, drive);
        } else {
          sums[j] = fma(g, drive, sums[j]);
        }
        ddrive = fma(g, b, ddrive);
        carry[q][j] = g * a;
        const Vec in_decay = carry[q][j] * load(run.states + saved);
        decay_part = fma(in_decay, load(run.A2 + at + j * kLanes), decay_part);
        accumulate(run.dA + at + j * kLanes, in_decay, delta);
      }
      store(run.ddrive + panel, ddrive);
      store(run.decay_part + panel, decay_part);
    }
    if constexpr (!LaneB || !LaneC) {
      add_sums<N>(sums, run.dB + tile + t * kLanes, run.dC + tile + t * kLanes);
    }
  }
  UNVEIL_UNROLL
  for (int q = 0; q < Q; ++q) {
    UNVEIL_UNROLL
    for (int j = 0; j < N; ++j) store(run.carry + q * run.per_block + (state + j) * kLanes, carry[q][j]);
  }
}

template <int Q, int N, bool Shared, bool LaneB, bool LaneC>
void run_all_states(const Run& run, int64_t states, int64_t state) {
  for (; state + N <= states; state += N) {
    replay<Q, N, Shared, LaneB>(run, state);
    if (run.y != nullptr) add_outputs<Q, N, LaneC>(run, state);
    reverse<Q, N, Shared, LaneB, LaneC>(run, state);
  }
  if constexpr (N > 1) run_all_states<Q, N / 2, Shared, LaneB, LaneC>(run, states, state);
}

template <bool Shared>
void run_blocks(const ScanArgs& args, const Run& run, int64_t blocks) {
  const int64_t n = args.states;
  if (args.B_per_channel && args.C_per_channel) {
    run_all_states<1, kStates, Shared, true, true>(run, n, 0);
  } else if (args.B_per_channel) {
    run_all_states<1, kStates, Shared, true, false>(run, n, 0);
  } else if (args.C_per_channel) {
    run_all_states<1, kStates, Shared, false, true>(run, n, 0);
  } else if (blocks == 4) {
    run_all_states<4, kStates, Shared, false, false>(run, n, 0);
  } else if (blocks == 3) {
    run_all_states<3, kStates, Shared, false, false>(run, n, 0);
  } else if (blocks == 2) {
    run_all_states<2, kStates, Shared, false, false>(run, n, 0);
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
        tiles_(state_tiles(args) * kPanel),
        factor_tiles_((args.rank + kLanes - 1) / kLanes * kPanel),
        scratch_(floats()) {
    for (float** buffer : {&raw_, &u_, &delta_, &drive_, &dout_, &dy_, &z_, &y_, &ddrive_, &ddelta_}) {
      *buffer = scratch_.take(kSide * kPanel);
    }
    for (float** buffer : {&B_, &C_, &decay_, &dB_, &dC_}) *buffer = scratch_.take(tiles_);
    for (float** buffer : {&A2_, &B_lanes_, &C_lanes_, &carry_, &dA_, &dB_lanes_, &dC_lanes_}) {
      *buffer = scratch_.take(kRange * per_block_);
    }
    h_ = scratch_.take(kSide * per_block_);
    for (float** buffer : {&dD_, &dbias_}) *buffer = scratch_.take(kRange * kLanes);
    for (float** buffer : {&weight_, &dweight_}) *buffer = scratch_.take(kRange * args.rank * kLanes);
    for (float** buffer : {&factors_, &dfactors_}) *buffer = scratch_.take(factor_tiles_);
    ddelta_sum_ = scratch_.take(kPanel);
    A_row_ = scratch_.take(state_tiles(args) * kLanes);
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
    return (10 * kSide + 1) * kPanel + 5 * tiles_ + (7 * kRange + kSide) * per_block_ +
           2 * kRange * kLanes * (1 + args_.rank) + 2 * factor_tiles_ + tiles_ / kTokens +
           2 * (kTokens + 1) * kSide * kStates * kLanes + 32 * 16;
  }

  void direction() {
    begin();
    const int64_t length = args_.height * args_.width;
    for (int64_t start = (length - 1) / kTokens * kTokens; start >= 0; start -= kTokens) {
      const int64_t left = length - start;
      const Tokens tokens(args_, k_, start, left < kTokens ? left : kTokens);
      for (int64_t block = first_; block < last_;) block = group(tokens, block);
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
    for (int64_t n = 0; n < state_tiles(args_) * kLanes; ++n) {
      A_row_[n] = n < args_.states ? A2_[n * kLanes] : 0.0f;
    }
  }

  static void clear(float* p, int64_t count) {
    for (int64_t i = 0; i < count; ++i) p[i] = 0.0f;
  }

  // All blocks of one group within this thread's range; returns the block after them.
  int64_t group(const Tokens& tokens, int64_t block) {
    const int64_t index = lanes_of(args_, block).group;
    const int64_t of_group = (index + 1) * blocks_per_group(args_);
    const int64_t end = of_group < last_ ? of_group : last_;
    stage_group(tokens, index);
    const bool alone = args_.B_per_channel || args_.C_per_channel;
    while (block < end) {
      const int64_t runs = (end - block + kSide - 1) / kSide;
      const int64_t side = alone ? 1 : (end - block + runs - 1) / runs;
      run_side(tokens, block, side);
      block += side;
    }
    flush_group(tokens, index);
    return end;
  }

  template <class Move>
  void tiles(const View& view, int64_t group, int64_t part_stride, int64_t states, Move move) {
    for (int64_t n = 0; n < states; n += kLanes) {
      const int64_t left = states - n;
      move(part_ * part_stride + batch_ * view.b + k_ * view.k + group * view.g + n * view.c,
           int(left < kLanes ? left : kLanes), n * kTokens);
    }
  }

  void stage_group(const Tokens& tokens, int64_t group) {
    auto projection = [&](const View& view, int64_t states, float* to) {
      tiles(view, group, 0, states, [&](int64_t base, int lanes, int64_t at) {
        stage(view, base, tokens, lanes, to + at);
      });
    };
    if (!args_.B_per_channel) projection(args_.B, args_.states, B_);
    if (!args_.C_per_channel) projection(args_.C, args_.states, C_);
    if (args_.rank > 0) projection(args_.delta, args_.rank, factors_);
    clear(dB_, tiles_);
    clear(dC_, tiles_);
    clear(dfactors_, factor_tiles_);
    clear(ddelta_sum_, kPanel);
    if (args_.shared_decay) {
      stage_delta(tokens, lanes_of(args_, first_), 0, 0);
      for (int64_t n = 0; n < args_.states; n += kLanes) {
        const Vec A2 = load(A_row_ + n);
        for (int64_t t = 0; t < tokens.count; ++t) {
          const Vec delta = splat(delta_[t * kLanes]);
          store(decay_ + n * kTokens + t * kLanes, exp2(delta * A2));
        }
      }
    }
  }

  void flush_group(const Tokens& tokens, int64_t group) {
    auto projection = [&](const View& view, int64_t part, int64_t states, const float* from) {
      if (view.data == nullptr) return;
      tiles(view, group, part, states, [&](int64_t base, int lanes, int64_t at) {
        unstage(view, base, tokens, lanes, from + at, true);
      });
    };
    if (!args_.B_per_channel) projection(args_.dB, args_.B_part, args_.states, dB_);
    if (!args_.C_per_channel) projection(args_.dC, args_.C_part, args_.states, dC_);
    if (args_.rank > 0) projection(args_.ddelta, args_.delta_part, args_.rank, dfactors_);
    if (args_.delta_is_shared) projection(args_.ddelta, args_.delta_part, 1, ddelta_sum_);
  }

  void stage_delta(const Tokens& tokens, Lanes lanes, int64_t index, int64_t panel) {
    float *raw = raw_ + panel, *delta = delta_ + panel;
    if (args_.rank > 0) {
      multiply_factors(factors_, weight_ + index * args_.rank * kLanes, args_.rank, tokens.count,
                       raw);
    } else {
      const View& view = args_.delta;
      const int64_t base = batch_ * view.b + k_ * view.k + lanes.channel * view.c;
      stage(view, base, tokens, lanes.count, raw);
    }
    const Vec bias = load_channels(args_.bias, k_, lanes);
    for (int64_t t = 0; t < tokens.count; ++t) {
      const Vec shifted = load(raw + t * kLanes) + bias;
      store(raw + t * kLanes, shifted);
      store(delta + t * kLanes, args_.softplus ? softplus(shifted) : shifted);
    }
  }

  void stage_tokens(const View& view, const Tokens& tokens, Lanes lanes, float* to) {
    if (view.data == nullptr) {
      clear(to, kPanel);
    } else {
      stage(view, batch_ * view.b + lanes.channel * view.c, tokens, lanes.count, to);
    }
  }

  void run_side(const Tokens& tokens, int64_t block, int64_t side) {
    for (int64_t q = 0; q < side; ++q) prepare(tokens, block + q, q);
    const int64_t at = (block - first_) * per_block_;
    Run run{};
    run.count = tokens.count, run.per_block = per_block_;
    run.delta = delta_, run.drive = drive_, run.dy = dy_;
    run.ddrive = ddrive_, run.decay_part = ddelta_, run.y = args_.dz.data != nullptr ? y_ : nullptr;
    run.B = B_, run.C = C_, run.decay = decay_, run.dB = dB_, run.dC = dC_;
    run.A2 = A2_ + at, run.h = h_, run.B_lanes = B_lanes_ + at, run.C_lanes = C_lanes_ + at;
    run.carry = carry_ + at, run.dA = dA_ + at;
    run.dB_lanes = dB_lanes_ + at, run.dC_lanes = dC_lanes_ + at;
    run.decays = decays_, run.states = states_;
    if (args_.shared_decay) {
      run_blocks<true>(args_, run, side);
    } else {
      run_blocks<false>(args_, run, side);
    }
    for (int64_t q = 0; q < side; ++q) conclude(tokens, block + q, q);
  }

  void prepare(const Tokens& tokens, int64_t block, int64_t q) {
    const Lanes lanes = lanes_of(args_, block);
    const int64_t panel = q * kPanel;
    stage_delta(tokens, lanes, block - first_, panel);
    stage_tokens(args_.u, tokens, lanes, u_ + panel);
    stage_tokens(args_.dout, tokens, lanes, dout_ + panel);
    if (args_.z.data != nullptr) stage_tokens(args_.z, tokens, lanes, z_ + panel);
    const Vec D = load_channels(args_.D, k_, lanes);
    for (int64_t i = panel; i < panel + tokens.count * kLanes; i += kLanes) {
      const Vec u = load(u_ + i), dout = load(dout_ + i);
      store(drive_ + i, load(delta_ + i) * u);
      store(y_ + i, args_.D.data != nullptr ? D * u : splat(0.0f));
      store(ddrive_ + i, splat(0.0f));
      store(ddelta_ + i, splat(0.0f));
      if (args_.z.data != nullptr) {
        const Vec z = load(z_ + i);
        store(dy_ + i, dout * z * sigmoid(z));
      } else {
        store(dy_ + i, dout);
      }
    }
    const View& kept = args_.states_kept;
    const float* from = reinterpret_cast<const float*>(kept.data) + batch_ * kept.b + k_ * kept.k +
                        tokens.start / kSegment * kept.h + lanes.channel;
    for (int64_t n = 0; n < args_.states; ++n) {
      store(h_ + q * per_block_ + n * kLanes, load_first(from + n * kept.c, lanes.count));
    }
  }

  void conclude(const Tokens& tokens, int64_t block, int64_t q) {
    const Lanes lanes = lanes_of(args_, block);
    const int64_t panel = q * kPanel, at = (block - first_) * kLanes;
    const Vec D = load_channels(args_.D, k_, lanes);
    const bool has_D = args_.D.data != nullptr;
    Vec dD = load(dD_ + at), dbias = load(dbias_ + at);
    for (int64_t i = panel; i < panel + tokens.count * kLanes; i += kLanes) {
      const Vec ddrive = load(ddrive_ + i), dy = load(dy_ + i), u = load(u_ + i);
      Vec ddelta = fma(ddrive, u, load(ddelta_ + i) * splat(kLn2));
      if (args_.softplus) ddelta = ddelta * sigmoid(load(raw_ + i));
      const Vec du = ddrive * load(delta_ + i);
      store(ddrive_ + i, has_D ? fma(D, dy, du) : du);
      store(ddelta_ + i, ddelta);
      dbias = dbias + ddelta;
      dD = fma(dy, u, dD);
      if (args_.dz.data != nullptr) {
        const Vec z = load(z_ + i), s = sigmoid(z);
        const Vec slope = s * fma(z, splat(1.0f) - s, splat(1.0f));
        store(y_ + i, load(dout_ + i) * load(y_ + i) * slope);
      }
    }
    store(dD_ + at, dD);
    store(dbias_ + at, dbias);
    put(args_.du, tokens, lanes, ddrive_ + panel, k_ > 0);
    put(args_.dz, tokens, lanes, y_ + panel, false);
    conclude_delta(tokens, lanes, block - first_, ddelta_ + panel);
  }

  void put(const View& view, const Tokens& tokens, Lanes lanes, const float* from, bool add) {
    if (view.data == nullptr) return;
    unstage(view, batch_ * view.b + lanes.channel * view.c, tokens, lanes.count, from, add);
  }

  void conclude_delta(const Tokens& tokens, Lanes lanes, int64_t index, const float* ddelta) {
    const View& view = args_.ddelta;
    if (args_.rank > 0) {
      factor_gradients(tokens, index * args_.rank * kLanes, ddelta);
    } else if (view.data != nullptr && args_.delta_is_shared) {
      for (int64_t t = 0; t < tokens.count; ++t) {
        ddelta_sum_[t * kLanes] += sum(load(ddelta + t * kLanes));
      }
    } else if (view.data != nullptr) {
      const int64_t base = batch_ * view.b + k_ * view.k + lanes.channel * view.c;
      unstage(view, base, tokens, lanes.count, ddelta, false);
    }
  }

  void factor_gradients(const Tokens& tokens, int64_t at, const float* ddelta) {
    for (int64_t r = 0; r < args_.rank; ++r) {
      const int64_t column = r / kLanes * kPanel + r % kLanes;
      const Vec weight = load(weight_ + at + r * kLanes);
      Vec dweight = load(dweight_ + at + r * kLanes);
      for (int64_t t = 0; t < tokens.count; ++t) {
        const Vec d = load(ddelta + t * kLanes);
        dfactors_[column + t * kLanes] += sum(d * weight);
        dweight = fma(d, splat(factors_[column + t * kLanes]), dweight);
      }
      store(dweight_ + at + r * kLanes, dweight);
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
  const int64_t per_block_, tiles_, factor_tiles_;
  Scratch scratch_;
  int64_t batch_ = 0, part_ = 0, k_ = 0, first_ = 0, last_ = 0;
  float *raw_, *u_, *delta_, *drive_, *dout_, *dy_, *z_, *y_, *ddrive_, *ddelta_;
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
