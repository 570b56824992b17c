// Linear maps of the channels, with what lies around them: a second input, a residual, 2x2 patches.
#include "panels.h"
#include "passes.h"
#include "product.h"

namespace unveil::UNVEIL_ISA {
namespace {

// Positions worked on at once: enough for the products, few enough for the cache.
constexpr int64_t kPositions = 96;
// Sums over positions are taken in at most so many groups, which depend on the shape alone.
constexpr int64_t kGroups = 16;

enum Sampling { kNone, kDown, kUp };

// Positions [begin, end) of one row of an image.
struct Stretch {
  int64_t image, y, begin, end;
  int64_t count() const { return end - begin; }
};

struct Layout {
  const PointwiseArgs& a;
  const int64_t height, width, across;  // without patches an image is one long row
  const int64_t inputs;                 // columns of the matrix

  explicit Layout(const PointwiseArgs& args)
      : a(args), height(args.sampling == kNone ? 1 : args.height),
        width(args.sampling == kNone ? args.height * args.width : args.width),
        across((width + kPositions - 1) / kPositions),
        inputs(args.channels * (args.sampling == kDown ? 4 : args.second ? 2 : 1)) {}

  int64_t per_image() const { return height * across; }
  int64_t total() const { return a.batch * per_image(); }
  Stretch stretch(int64_t i) const {
    const int64_t x = i % across, row = i / across;
    return {row / height, row % height, width * x / across, width * (x + 1) / across};
  }

  // Runs of inputs that lie side by side in memory.
  int64_t runs() const { return a.sampling == kDown || a.second ? 2 : 1; }
  int64_t run_length() const { return inputs / runs(); }
  int64_t input_row() const { return a.sampling == kDown ? 2 * a.channels : a.channels; }
  const float* input(const Stretch& s, int64_t run) const {
    if (a.sampling == kDown) {
      const int64_t row = 2 * (s.image * a.height + s.y) + run;
      return a.x + (row * a.width + s.begin) * 2 * a.channels;
    }
    const int64_t position = (s.image * height + s.y) * width + s.begin;
    return (run ? a.second : a.x) + position * a.channels;
  }

  // Parts of the outputs that lie side by side in memory.
  int64_t parts() const { return a.sampling == kUp ? 2 : 1; }
  int64_t part_length() const { return a.outputs / parts(); }
  int64_t output(const Stretch& s, int64_t part) const {
    if (a.sampling == kUp)
      return ((2 * (s.image * a.height + s.y) + part) * a.width + s.begin) * part_length();
    return ((s.image * height + s.y) * width + s.begin) * a.outputs;
  }
};

// Distance of two runs in floats; also between arrays of their own.
inline int64_t distance(const float* from, const float* to) {
  return int64_t(reinterpret_cast<intptr_t>(to) - reinterpret_cast<intptr_t>(from)) /
         int64_t(sizeof(float));
}

void map_stretch(const Layout& layout, const float* panels, const Stretch& s, const Stretch* next,
                 float* output) {
  const PointwiseArgs& a = layout.a;
  const int64_t length = layout.run_length(), vectors = layout.part_length() / kLanes;
  const float* first = layout.input(s, 0);
  const int64_t run = layout.runs() > 1 ? distance(first, layout.input(s, 1)) : 0;
  const int64_t row = layout.input_row(), size = layout.part_length();
  for (int64_t part = 0; part < layout.parts(); ++part) {
    const int64_t at = layout.output(s, part);
    const Ahead ahead = next && part == 0
                            ? Ahead{layout.input(*next, 0), layout.runs(), next->count() * row, run,
                                    blocks_of(s.count(), vectors)}
                            : Ahead{};
    Start start;
    if (a.residual) start = {a.residual + at, size, kLanes};
    product(s.count(), vectors, {first, row, 1, run},
            {panels + part * size * layout.inputs, kLanes, kLanes * layout.inputs, kLanes * length},
            {length, layout.runs()}, start, {output + at, size, kLanes}, ahead);
  }
}

}  // namespace

void pointwise_forward(const PointwiseArgs& args, float* output) {
  const Layout layout(args);
  const int64_t size = args.outputs * layout.inputs, total = layout.total();
  const Buffer panels(args.matrices * size);
  for (int64_t m = 0; m < args.matrices; ++m)
    pack_rows(args.weight + m * size, args.outputs, layout.inputs, nullptr, panels + m * size,
              layout.inputs);
  const int64_t tasks = std::min<int64_t>(total, 32);
  const int64_t work = args.batch * args.height * args.width * size / 8;
  for_each_task(tasks, work, [&](int64_t task) {
    const int64_t end = total * (task + 1) / tasks;
    for (int64_t i = total * task / tasks; i < end; ++i) {
      const Stretch s = layout.stretch(i), next = layout.stretch(std::min(i + 1, end - 1));
      const float* matrix = panels + (args.matrices > 1 ? s.image * size : 0);
      map_stretch(layout, matrix, s, i + 1 < end ? &next : nullptr, output);
    }
  });
}

void pointwise_weight(const PointwiseArgs& args, const float* grad, float* grad_weight) {
  const Layout layout(args);
  const int64_t inputs = layout.inputs, size = args.outputs * inputs;
  const int64_t stretches = layout.total() / args.matrices;
  const int64_t groups = std::max<int64_t>(1, std::min(stretches, kGroups / args.matrices));
  const Zeros sums(args.matrices * groups * size);
  const int64_t work = args.batch * args.height * args.width * size / 8;
  for_each_task(args.matrices * groups, work, [&](int64_t task) {
    const int64_t group = task % groups, first = task / groups * stretches;
    float* own = sums + task * size;
    const int64_t rows = layout.part_length(), length = layout.run_length();
    for (int64_t i = stretches * group / groups; i < stretches * (group + 1) / groups; ++i) {
      const Stretch s = layout.stretch(first + i);
      for (int64_t part = 0; part < layout.parts(); ++part) {
        for (int64_t run = 0; run < layout.runs(); ++run) {
          float* to = own + part * rows * inputs + run * length;
          product(rows, length / kLanes, {grad + layout.output(s, part), 1, rows},
                  {layout.input(s, run), layout.input_row(), kLanes}, {s.count()},
                  {to, inputs, kLanes}, {to, inputs, kLanes});
        }
      }
    }
  });
  for (int64_t m = 0; m < args.matrices; ++m) {
    for (int64_t i = 0; i < size; i += kLanes) {
      const float* from = sums + m * groups * size + i;
      Vec total = load(from);
      for (int64_t group = 1; group < groups; ++group) total = total + load(from + group * size);
      store(grad_weight + m * size + i, total);
    }
  }
}

// x' x / pixels of every image. The matrix is symmetric: half of its blocks are computed.
void gram(const float* x, int64_t batch, int64_t pixels, int64_t channels, float* output) {
  constexpr int64_t kBlock = 16;  // rows; a multiple of kLanes
  const int64_t size = channels * channels;
  const int64_t stretches = (pixels + kPositions - 1) / kPositions;
  const int64_t groups = std::max<int64_t>(1, std::min(stretches, kGroups / batch));
  const Zeros sums(batch * groups * size);
  for_each_task(batch * groups, batch * pixels * size / 16, [&](int64_t task) {
    const int64_t group = task % groups;
    const float* image = x + task / groups * pixels * channels;
    float* own = sums + task * size;
    for (int64_t i = stretches * group / groups; i < stretches * (group + 1) / groups; ++i) {
      const int64_t begin = pixels * i / stretches, end = pixels * (i + 1) / stretches;
      const float* from = image + begin * channels;
      for (int64_t row = 0; row < channels; row += kBlock) {
        float* to = own + row * channels + row;
        product(kBlock, (channels - row) / kLanes, {from + row, 1, channels},
                {from + row, channels, kLanes}, {end - begin}, {to, channels, kLanes},
                {to, channels, kLanes});
      }
    }
  });
  const float share = 1.0f / float(pixels);
  for (int64_t b = 0; b < batch; ++b) {
    float* to = output + b * size;
    for (int64_t row = 0; row < channels; ++row) {
      for (int64_t column = row; column < channels; ++column) {
        float total = 0.0f;
        for (int64_t group = 0; group < groups; ++group)
          total += sums[(b * groups + group) * size + row * channels + column];
        to[row * channels + column] = to[column * channels + row] = total * share;
      }
    }
  }
}

}  // namespace unveil::UNVEIL_ISA
