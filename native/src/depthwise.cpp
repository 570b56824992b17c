// Depth-wise 3x3 convolution of channels-last images with what follows it: activation or gate.
//
// A block of kLanes channels sweeps along rows: three loads and nine multiply-adds per column. The
// backward pass recomputes the convolution's output, three rows at a time, instead of storing it.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "activation.h"
#include "depthwise.h"
#include "passes.h"

namespace unveil::UNVEIL_ISA {
namespace {

constexpr int64_t kTileRows = 16, kTileColumns = 64;

// The unit of work: small enough for its rows to stay in the nearest caches.
struct Tile {
  int64_t image, top, bottom;
  Columns columns;

  // With the neighbours whose gradients reach into the tile.
  Columns widened() const {
    return {std::max<int64_t>(columns.begin - 1, 0), std::min(columns.end + 1, columns.width),
            columns.width};
  }
};

// Tiles depend on the shape alone, so that the order of the sums does not depend on the threads.
struct Images {
  const DepthwiseArgs& args;
  const int64_t down, across;
  std::vector<float> taps;  // (10, c): the kernel tap by tap, then the bias

  explicit Images(const DepthwiseArgs& a)
      : args(a), down((a.height + kTileRows - 1) / kTileRows),
        across((a.width + kTileColumns - 1) / kTileColumns), taps(kSums * a.channels) {
    for (int64_t c = 0; c < a.channels; ++c) {
      for (int i = 0; i < kTaps; ++i) taps[i * a.channels + c] = a.weight[c * kTaps + i];
      if (a.bias) taps[kTaps * a.channels + c] = a.bias[c];
    }
  }

  int64_t tiles() const { return args.batch * down * across; }
  int64_t size() const { return args.batch * args.height * args.width * args.channels; }
  int64_t pixel(int64_t image, int64_t y) const { return (image * args.height + y) * args.width; }

  Tile tile(int64_t i) const {
    const int64_t x = i % across, y = i / across % down;
    return {i / across / down, args.height * y / down, args.height * (y + 1) / down,
            {args.width * x / across, args.width * (x + 1) / across, args.width}};
  }

  Window window(int64_t image, int64_t y, int64_t channel) const {
    Window in;
    for (int i = 0; i < 3; ++i) {
      const int64_t from = y + i - 1;
      const bool outside = from < 0 || from >= args.height;
      const int64_t offset = outside ? 0 : pixel(image, from) * args.channels + channel;
      in.rows[i] = outside ? Row{kZeros, 0} : Row{args.x + offset, args.channels};
    }
    return in;
  }

  template <class Block, class Emit>
  void convolve_row(const Block& block, int64_t image, int64_t y, const Columns& columns,
                    int64_t channel, const Emit& emit) const {
    const float* first = taps.data() + channel;
    const Vec start = block.get(first + kTaps * args.channels);
    convolve<false>(block, window(image, y, channel), columns, first, args.channels, start, emit);
  }
};

// activation(convolution): one input channel per output channel. `out` and `grad` point to the first
// pixel of the row; `scratch` and `slopes[i]` hold (columns, kLanes).
template <class Activation>
struct Plain {
  static constexpr int kInputs = 1;
  Activation activation;

  template <class Block>
  void forward(const Images& in, const Block& block, int64_t image, int64_t y,
               const Columns& columns, float* out, float*) const {
    in.convolve_row(block, image, y, columns, block.channel, [&](int64_t column, Vec v) {
      block.put(out + column * in.args.channels, activation.value(v));
    });
  }

  // Writes the gradient of the convolution's output.
  template <class Block>
  void backward(const Images& in, const Block& block, int64_t image, int64_t y,
                const Columns& columns, const float* grad, float* const* slopes, float*) const {
    in.convolve_row(block, image, y, columns, block.channel, [&](int64_t column, Vec v) {
      const Vec upstream = block.get(grad + column * in.args.channels);
      store(slopes[0] + (column - columns.begin) * kLanes, activation.tangent(v).slope * upstream);
    });
  }
};

// activation(first half) * second half.
template <class Activation>
struct Gated {
  static constexpr int kInputs = 2;
  Activation activation;

  template <class Block>
  void forward(const Images& in, const Block& block, int64_t image, int64_t y,
               const Columns& columns, float* out, float* scratch) const {
    const int64_t half = in.args.channels / 2;
    float* gates = scratch - columns.begin * kLanes;
    in.convolve_row(block, image, y, columns, block.channel, [&](int64_t column, Vec v) {
      store(gates + column * kLanes, activation.value(v));
    });
    in.convolve_row(block, image, y, columns, block.channel + half, [&](int64_t column, Vec v) {
      block.put(out + column * half, v * load(gates + column * kLanes));
    });
  }

  template <class Block>
  void backward(const Images& in, const Block& block, int64_t image, int64_t y,
                const Columns& columns, const float* grad, float* const* slopes,
                float* scratch) const {
    const int64_t half = in.args.channels / 2;
    in.convolve_row(block, image, y, columns, block.channel, [&](int64_t column, Vec v) {
      store(scratch + (column - columns.begin) * kLanes, v);
    });
    in.convolve_row(block, image, y, columns, block.channel + half, [&](int64_t column, Vec v) {
      const int64_t at = (column - columns.begin) * kLanes;
      const Tangent gate = activation.tangent(load(scratch + at));
      const Vec upstream = block.get(grad + column * half);
      store(slopes[0] + at, upstream * v * gate.slope);
      store(slopes[1] + at, upstream * gate.value);
    });
  }
};

template <class Tail>
void forward(const Images& in, const Tail& tail, float* output) {
  const int64_t outputs = in.args.channels / Tail::kInputs;
  for_each_task(in.tiles(), 2 * in.size(), [&](int64_t task) {
    std::vector<float> scratch(kTileColumns * kLanes);
    const Tile tile = in.tile(task);
    for (int64_t y = tile.top; y < tile.bottom; ++y) {
      float* row = output + in.pixel(tile.image, y) * outputs;
      for_blocks(outputs, [&](const auto& block) {
        float* out = row + block.channel;
        tail.forward(in, block, tile.image, y, tile.columns, out, scratch.data());
      });
    }
  });
}

// One block of one tile. The gradients of the convolution's output live in a ring of three rows;
// the input's gradient and the weights' sums follow while they are in the nearest cache.
template <class Tail, class Block>
struct BackwardTile {
  static constexpr int64_t kRowSize = (kTileColumns + 2) * kLanes;

  const Images& in;
  const Tail& tail;
  const DepthwiseGrads& grads;
  Block block;
  Tile tile;
  Columns wide;
  float *scratch, *sums;  // sums: (10, c)
  Vec totals[Tail::kInputs][kSums];

  int64_t outputs() const { return in.args.channels / Tail::kInputs; }
  int64_t channel(int input) const { return block.channel + input * outputs(); }
  float* ring(int64_t y, int input) const {
    return scratch + (1 + y % 3 * Tail::kInputs + input) * kRowSize;
  }

  void fill(int64_t y) {
    float* slopes[Tail::kInputs];
    for (int input = 0; input < Tail::kInputs; ++input) slopes[input] = ring(y, input);
    const float* grad = grads.output + in.pixel(tile.image, y) * outputs() + block.channel;
    tail.backward(in, block, tile.image, y, wide, grad, slopes, scratch);
    if (y < tile.top || y >= tile.bottom) return;
    for (int input = 0; input < Tail::kInputs; ++input) {
      const Window window = in.window(tile.image, y, channel(input));
      const float* inner = slopes[input] + (tile.columns.begin - wide.begin) * kLanes;
      sum_row(block, window, tile.columns, inner, totals[input]);
    }
  }

  void write_input_gradient(int64_t y, int input) const {
    Window window;
    for (int i = 0; i < 3; ++i) {
      const int64_t from = y + i - 1;
      const bool outside = from < 0 || from >= in.args.height;
      window.rows[i] = outside ? Row{kZeros, 0} : Row{ring(from, input), kLanes};
    }
    const Columns local{tile.columns.begin - wide.begin, tile.columns.end - wide.begin,
                        wide.end - wide.begin};
    const float* taps = in.taps.data() + channel(input);
    const int64_t channels = in.args.channels;
    float* out = grads.x + (in.pixel(tile.image, y) + wide.begin) * channels + channel(input);
    convolve<true>(block, window, local, taps, channels, splat(0.0f),
                   [&](int64_t column, Vec v) { block.put(out + column * channels, v); });
  }

  void run() {
    for (auto& total : totals)
      for (Vec& sum : total) sum = splat(0.0f);
    for (int64_t y = std::max<int64_t>(tile.top - 1, 0); y <= tile.bottom; ++y) {
      if (y < in.args.height) fill(y);
      for (int input = 0; input < Tail::kInputs && y > tile.top; ++input)
        write_input_gradient(y - 1, input);
    }
    for (int input = 0; input < Tail::kInputs; ++input)
      for (int i = 0; i < kSums; ++i)
        block.put(sums + i * in.args.channels + channel(input), totals[input][i]);
  }
};

void add_sums(const Images& in, const std::vector<float>& sums, const DepthwiseGrads& grads) {
  const int64_t channels = in.args.channels, size = kSums * channels;
  std::vector<double> totals(size);
  for (int64_t task = 0; task < in.tiles(); ++task)
    for (int64_t i = 0; i < size; ++i) totals[i] += sums[task * size + i];
  for (int64_t c = 0; c < channels; ++c) {
    for (int i = 0; i < kTaps; ++i) grads.weight[c * kTaps + i] = float(totals[i * channels + c]);
    grads.bias[c] = float(totals[kTaps * channels + c]);
  }
}

template <class Tail>
void backward(const Images& in, const Tail& tail, const DepthwiseGrads& grads) {
  const int64_t size = kSums * in.args.channels;
  std::vector<float> sums(in.tiles() * size);
  for_each_task(in.tiles(), 5 * in.size(), [&](int64_t task) {
    const Tile tile = in.tile(task);
    std::vector<float> scratch((1 + 3 * Tail::kInputs) * (kTileColumns + 2) * kLanes);
    for_blocks(in.args.channels / Tail::kInputs, [&](const auto& block) {
      using Work = BackwardTile<Tail, std::decay_t<decltype(block)>>;
      Work{in, tail, grads, block, tile, tile.widened(), scratch.data(), &sums[task * size], {}}.run();
    });
  });
  add_sums(in, sums, grads);
}

}  // namespace

void depthwise_forward(const DepthwiseArgs& args, float* output) {
  const Images in(args);
  with_activation(args.activation, args.negative_slope, [&](auto activation) {
    using Activation = decltype(activation);
    if (args.gated) {
      forward(in, Gated<Activation>{activation}, output);
    } else {
      forward(in, Plain<Activation>{activation}, output);
    }
  });
}

void depthwise_backward(const DepthwiseArgs& args, const DepthwiseGrads& grads) {
  const Images in(args);
  with_activation(args.activation, args.negative_slope, [&](auto activation) {
    using Activation = decltype(activation);
    if (args.gated) {
      backward(in, Gated<Activation>{activation}, grads);
    } else {
      backward(in, Plain<Activation>{activation}, grads);
    }
  });
}

}  // namespace unveil::UNVEIL_ISA
