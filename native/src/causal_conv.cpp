// Causal depth-wise convolution along tokens, four taps, with the activation behind it.
//
// A block of kLanes channels walks along the tokens with the last inputs in registers. The backward
// pass walks the same way: it recomputes the output, and the gradient of an input is complete three
// tokens later.
#include <algorithm>
#include <vector>

#include "activation.h"
#include "passes.h"

namespace unveil::UNVEIL_ISA {
namespace {

constexpr int kTaps = 4;
constexpr int kPast = kTaps - 1;
constexpr int kSums = kTaps + 1;  // the taps' gradients, then the bias's
constexpr int64_t kChunk = 256;

// A run of tokens of one item, with where each lies: up to kPast before and after the run.
struct Run {
  int64_t first, last;
  std::vector<int64_t> places;

  int64_t operator[](int64_t token) const { return places[token - first + kPast]; }
};

struct Sequence {
  const CausalConvArgs& args;
  std::vector<float> taps;  // (5, d): the taps, oldest first, then the bias

  explicit Sequence(const CausalConvArgs& a) : args(a), taps(kSums * a.channels) {
    for (int64_t d = 0; d < a.channels; ++d) {
      for (int i = 0; i < a.taps; ++i)
        taps[(kTaps - a.taps + i) * a.channels + d] = a.weight[d * a.taps + i];
      if (a.bias) taps[kTaps * a.channels + d] = a.bias[d];
    }
  }

  int64_t tokens() const { return args.height * args.width; }
  int64_t chunks() const { return (tokens() + kChunk - 1) / kChunk; }
  int64_t tasks() const { return args.batch * chunks(); }
  int64_t size() const { return args.batch * tokens() * args.channels; }

  // Where the token lies in memory, counted in pixels.
  int64_t place(int64_t item, int64_t token) const {
    const int64_t t = args.reversed ? tokens() - 1 - token : token;
    const int64_t pixel = args.by_column ? t % args.height * args.width + t / args.height : t;
    return item * tokens() + pixel;
  }

  Run run(int64_t task) const {
    const int64_t item = task / chunks(), chunk = task % chunks();
    Run r{tokens() * chunk / chunks(), tokens() * (chunk + 1) / chunks(), {}};
    for (int64_t t = r.first - kPast; t < r.last + kPast; ++t)
      r.places.push_back(t < 0 || t >= tokens() ? -1 : place(item, t) * args.channels);
    return r;
  }
};

// Calls body(first channel, count); the last block overlaps its neighbour and repeats its work.
template <class Body>
void for_blocks(int64_t channels, const Body& body) {
  if (channels < kLanes) return body(int64_t(0), int(channels));
  for (int64_t d = 0; d < channels; d += kLanes) body(std::min(d, channels - kLanes), kLanes);
}

// The inputs of one block of channels as it walks along a run.
struct Walk {
  const Sequence& in;
  const Run& run;
  int64_t channel;
  int count;
  Vec taps[kTaps], bias, x[kTaps];

  Walk(const Sequence& in, const Run& run, int64_t channel, int count)
      : in(in), run(run), channel(channel), count(count) {
    for (int i = 0; i < kTaps; ++i) taps[i] = load_first(tap(i), count);
    bias = load_first(tap(kTaps), count);
    for (int i = 1; i < kTaps; ++i) x[i] = input(run.first - kTaps + i);
  }

  const float* tap(int i) const { return in.taps.data() + i * in.args.channels + channel; }
  Vec input(int64_t token) const {
    const int64_t place = run[token];
    return place < 0 ? splat(0.0f) : load_first(in.args.x + place + channel, count);
  }

  // Takes one token in and returns the convolution there.
  Vec step(int64_t token) {
    for (int i = 0; i < kPast; ++i) x[i] = x[i + 1];
    x[kPast] = input(token);
    Vec y = bias;
    for (int i = 0; i < kTaps; ++i) y = fma(x[i], taps[i], y);
    return y;
  }
};

template <class Activation>
void forward(const Sequence& in, Activation activation, float* output) {
  for_each_task(in.tasks(), 2 * in.size(), [&](int64_t task) {
    const Run run = in.run(task);
    for_blocks(in.args.channels, [&](int64_t channel, int count) {
      Walk walk(in, run, channel, count);
      for (int64_t t = run.first; t < run.last; ++t)
        store_first(output + run[t] + channel, activation.value(walk.step(t)), count);
    });
  });
}

template <class Activation>
void backward_block(Walk walk, Activation activation, const CausalConvGrads& grads, float* sums) {
  const Run& run = walk.run;
  const int64_t channels = walk.in.args.channels;
  Vec slopes[kTaps], totals[kSums];  // slopes: of the outputs, the newest last
  for (Vec& slope : slopes) slope = splat(0.0f);
  for (Vec& total : totals) total = splat(0.0f);
  for (int64_t t = run.first; t < run.last + kPast; ++t) {
    for (int i = 0; i < kPast; ++i) slopes[i] = slopes[i + 1];
    slopes[kPast] = splat(0.0f);
    if (run[t] >= 0) {
      const Vec upstream = load_first(grads.output + run[t] + walk.channel, walk.count);
      slopes[kPast] = activation.tangent(walk.step(t)).slope * upstream;
    }
    if (t < run.last) {
      for (int i = 0; i < kTaps; ++i) totals[i] = fma(slopes[kPast], walk.x[i], totals[i]);
      totals[kTaps] = totals[kTaps] + slopes[kPast];
    }
    if (t - kPast < run.first) continue;
    Vec g = splat(0.0f);
    for (int i = 0; i < kTaps; ++i) g = fma(slopes[i], walk.taps[kPast - i], g);
    store_first(grads.x + run[t - kPast] + walk.channel, g, walk.count);
  }
  for (int i = 0; i < kSums; ++i)
    store_first(sums + i * channels + walk.channel, totals[i], walk.count);
}

template <class Activation>
void backward(const Sequence& in, Activation activation, const CausalConvGrads& grads) {
  const CausalConvArgs& args = in.args;
  const int64_t channels = args.channels, size = kSums * channels;
  std::vector<float> sums(in.tasks() * size);
  for_each_task(in.tasks(), 4 * in.size(), [&](int64_t task) {
    const Run run = in.run(task);
    for_blocks(channels, [&](int64_t channel, int count) {
      backward_block(Walk(in, run, channel, count), activation, grads, &sums[task * size]);
    });
  });
  std::vector<double> totals(size);
  for (int64_t task = 0; task < in.tasks(); ++task)
    for (int64_t i = 0; i < size; ++i) totals[i] += sums[task * size + i];
  for (int64_t d = 0; d < channels; ++d) {
    for (int64_t i = 0; i < args.taps; ++i)
      grads.weight[d * args.taps + i] = float(totals[(kTaps - args.taps + i) * channels + d]);
    grads.bias[d] = float(totals[kTaps * channels + d]);
  }
}

}  // namespace

void causal_conv_forward(const CausalConvArgs& args, float* output) {
  const Sequence in(args);
  with_activation(args.activation, 0.0f, [&](auto activation) { forward(in, activation, output); });
}

void causal_conv_backward(const CausalConvArgs& args, const CausalConvGrads& grads) {
  const Sequence in(args);
  with_activation(args.activation, 0.0f, [&](auto activation) { backward(in, activation, grads); });
}

}  // namespace unveil::UNVEIL_ISA
