// The gated unit's gradients. What lies between its input and its output is computed anew, strip by
// strip; only the input was kept and, where there is room for it, the expansion.
#include "gated_unit.h"

namespace unveil::UNVEIL_ISA {
namespace {

// What the products of the way back read on their right.
struct Turned {
  Zeros expand, project;  // panels of (wide, kLanes) and of (outputs, kLanes)

  explicit Turned(const Unit& unit)
      : expand(unit.outer * unit.wide), project(unit.args.project ? unit.half * unit.outer : 0) {
    const GatedUnitArgs& a = unit.args;
    for (int64_t row = 0; row < 2 * a.inner; ++row) {
      const float* weights = a.expand + row * a.channels;
      for_vectors(a.channels, [&](int64_t c, int n) {
        const Vec folded = load_first(weights + c, n) * load_first(a.norm_weight + c, n);
        store(expand + c * unit.wide + unit.place(row) * kLanes, folded);
      });
    }
    for (int64_t o = 0; a.project && o < a.channels; ++o) {
      for_vectors(a.inner, [&](int64_t c, int n) {
        store(project + c * a.channels + o * kLanes, load_first(a.project + o * a.inner + c, n));
      });
    }
  }
};

// Sums over pixels. `expand` and `offset` are gradients of the folded weights.
struct WeightSums {
  const Unit& unit;
  Zeros expand, offset, taps, project;  // (wide, outer), (wide), (10, wide), (channels, half)

  explicit WeightSums(const Unit& u)
      : unit(u), expand(u.wide * u.outer), offset(u.wide), taps(kSums * u.wide),
        project(u.args.project ? u.args.channels * u.half : 0) {}

  void add(const WeightSums& other) {
    add(expand, other.expand, unit.wide * unit.outer);
    add(offset, other.offset, unit.wide);
    add(taps, other.taps, kSums * unit.wide);
    if (unit.args.project) add(project, other.project, unit.args.channels * unit.half);
  }
  static void add(float* to, const float* from, int64_t size) {
    for_vectors(size, [&](int64_t i, int n) {
      store_first(to + i, load_first(to + i, n) + load_first(from + i, n), n);
    });
  }

  void write(const GatedUnitGrads& grads) const {
    const GatedUnitArgs& a = unit.args;
    std::memset(grads.norm_weight, 0, size_t(a.channels) * sizeof(float));
    std::memset(grads.norm_bias, 0, size_t(a.channels) * sizeof(float));
    for (int64_t row = 0; row < 2 * a.inner; ++row) {
      const int64_t o = unit.place(row);
      const float *sums = expand + o * unit.outer, *weights = a.expand + row * a.channels;
      for (int64_t c = 0; c < a.channels; ++c) {
        const float shift = a.norm_bias ? a.norm_bias[c] : 0.0f;
        grads.expand[row * a.channels + c] = sums[c] * a.norm_weight[c] + offset[o] * shift;
        grads.norm_weight[c] += sums[c] * weights[c];
        grads.norm_bias[c] += offset[o] * weights[c];
      }
      for (int i = 0; i < kTaps; ++i) grads.weight[row * kTaps + i] = taps[i * unit.wide + o];
      grads.bias[row] = taps[kTaps * unit.wide + o];
    }
    for (int64_t o = 0; a.project && o < a.channels; ++o)
      std::memcpy(grads.project + o * a.inner, project + o * unit.half, size_t(a.inner) * 4);
  }
};

struct Workspace {
  const Unit& unit;
  const Turned& turned;
  const int64_t rows, across;  // at once; columns of a tile without its neighbours
  Buffer normal, scales, expanded, upstream, gated, inner, slopes, spread, outer, scratch;

  Workspace(const Unit& u, const Turned& t, int64_t rows, int64_t across)
      : unit(u), turned(t), rows(rows), across(across),
        normal((rows + 4) * (across + 4) * u.outer), scales(rows * across),
        expanded(u.args.kept ? 0 : (rows + 4) * (across + 4) * u.wide),
        upstream(u.args.project ? (rows + 2) * (across + 2) * u.outer : 0),
        gated(u.args.project ? (rows + 2) * across * u.half : 0),
        inner((rows + 2) * (across + 2) * u.half), slopes((rows + 2) * (across + 2) * u.wide),
        spread(rows * across * u.wide), outer(rows * across * u.outer),
        scratch((across + 2) * kLanes) {}
};

template <class Activation>
struct BackwardTile {
  const Workspace& w;
  const GatedUnitGrads& grads;
  const Activation& activation;
  WeightSums& sums;
  const UnitTile& tile;

  const Unit& unit = w.unit;
  const GatedUnitArgs& a = unit.args;
  const int64_t panels = unit.half / kLanes, across = count(tile.columns);
  // Slopes reach one pixel beyond the tile, the expansion under them another.
  const Columns around = widened(tile.columns, 1), beyond = widened(tile.columns, 2);
  const int64_t lead = tile.columns.begin - around.begin;
  Strip expanded = a.kept ? kept_rows(unit, tile.image, beyond.begin)
                          : Strip{w.expanded, 2 * panels, w.rows + 4, count(beyond), a.height,
                                  tile.top - 2};
  Strip slopes{w.slopes, 2 * panels, w.rows + 2, count(around), a.height, tile.top - 1};

  // Room of a row in `upstream` and `gated`, whose slots are those of `slopes`.
  int64_t upstream_row() const { return count(around) * unit.outer; }
  int64_t gated_row() const { return across * unit.half; }

  // The gradient of the gated features in rows [from, to), (panel, pixel, kLanes).
  void fill_inner(int64_t from, int64_t to) const {
    const int64_t pixels = (to - from) * count(around), outputs = unit.outputs();
    for (int64_t y = from; y < to; ++y) {
      const float* grad = grads.output + unit.pixel(tile.image, y, around.begin) * outputs;
      const int64_t first = (y - from) * count(around);
      float* row = w.upstream + (y - slopes.first) * upstream_row();
      for (int64_t i = 0; i < count(around); ++i, grad += outputs) {
        if (a.project) {
          copy_channels(grad, row + i * unit.outer, outputs);
          continue;
        }
        for_vectors(outputs, [&](int64_t c, int n) {
          store(w.inner + (c / kLanes * pixels + first + i) * kLanes, load_first(grad + c, n));
        });
      }
    }
    if (!a.project) return;
    const float* upstream = w.upstream + (from - slopes.first) * upstream_row();
    product(pixels, panels, {upstream, unit.outer, 1},
            {w.turned.project, kLanes, kLanes * a.channels}, {a.channels}, {},
            {w.inner, kLanes, kLanes * pixels},
            {a.x + unit.pixel(tile.image, from, tile.columns.begin) * a.channels, to - from,
             across * a.channels, a.width * a.channels, blocks_of(pixels, panels)});
  }

  // The gradients of one row of the convolution's output, and the gated features once more.
  void fill_slopes(int64_t y, int64_t panel, const float* upstream) {
    const Columns local = within(around, beyond);
    const float* taps = unit.taps + panel * kLanes;
    const float* bias = taps + kTaps * unit.wide;
    const bool inside = y >= tile.top && y < tile.bottom;
    float *first = slopes.at(panel, y), *second = slopes.at(panels + panel, y);
    convolve<false>(Block<true>{}, expanded.window(panel, y), local, taps, unit.wide, load(bias),
                    [&](int64_t column, Vec v) {
                      store(w.scratch + (column - local.begin) * kLanes, v);
                    });
    float* gated = w.gated + (y - slopes.first) * gated_row() + panel * kLanes;
    const int64_t begin = local.begin + lead, end = begin + across;
    convolve<false>(Block<true>{}, expanded.window(panels + panel, y), local, taps + unit.half,
                    unit.wide, load(bias + unit.half), [&](int64_t column, Vec v) {
                      const int64_t at = (column - local.begin) * kLanes;
                      const Tangent gate = activation.tangent(load(w.scratch + at));
                      const Vec g = load(upstream + at);
                      store(first + at, g * v * gate.slope);
                      store(second + at, g * gate.value);
                      if (a.project && column >= begin && column < end)
                        store(gated + (column - begin) * unit.half, gate.value * v);
                    });
    if (!inside) return;
    const Columns own = within(tile.columns, beyond);
    for (int64_t half = 0; half < 2; ++half) {
      Vec totals[kSums];
      float* to = sums.taps + half * unit.half + panel * kLanes;
      for (int i = 0; i < kSums; ++i) totals[i] = load(to + i * unit.wide);
      sum_row(Block<true>{}, expanded.window(half * panels + panel, y), own,
              (half ? second : first) + lead * kLanes, totals);
      for (int i = 0; i < kSums; ++i) store(to + i * unit.wide, totals[i]);
    }
  }

  // The gradient of the expansion in rows [from, to), (pixel, wide).
  void fill_spread(int64_t from, int64_t to) const {
    const Columns local = within(tile.columns, around);
    for (int64_t panel = 0; panel < 2 * panels; ++panel) {
      const float* taps = unit.taps + panel * kLanes;
      Vec total = load(sums.offset + panel * kLanes);
      for (int64_t y = from; y < to; ++y) {
        float* out = w.spread + (y - from) * across * unit.wide + panel * kLanes;
        convolve<true>(Block<true>{}, slopes.window(panel, y), local, taps, unit.wide, splat(0.0f),
                       [&](int64_t column, Vec v) {
                         store(out + (column - local.begin) * unit.wide, v);
                         total = total + v;
                       });
      }
      store(sums.offset + panel * kLanes, total);
    }
  }

  // The weights' sums and the input's gradient of rows [from, to).
  void finish(int64_t from, int64_t to) const {
    const int64_t pixels = (to - from) * across, vectors = unit.outer / kLanes;
    const int64_t outputs = unit.outputs(), next = std::min(to + 1, a.height);
    const int64_t more = to < tile.bottom ? std::min(to + 1 + w.rows, a.height) - next : 0;
    for (int64_t y = from; y < to; ++y) {
      const float* x = a.x + unit.pixel(tile.image, y, tile.columns.begin) * a.channels;
      const int64_t first = (y - from) * across;
      normalise(a, unit.outer, x, across, w.normal + first * unit.outer, w.scales + first);
    }
    product(pixels, vectors, {w.spread, unit.wide, 1},
            {w.turned.expand, kLanes, kLanes * unit.wide}, {unit.wide}, {},
            {w.outer, unit.outer, kLanes}, kept_ahead(to, blocks_of(pixels, vectors)));
    product(unit.wide, vectors, {w.spread, 1, unit.wide}, {w.normal, unit.outer, kLanes}, {pixels},
            {sums.expand, unit.outer, kLanes}, {sums.expand, unit.outer, kLanes},
            {grads.output + unit.pixel(tile.image, next, around.begin) * outputs, more,
             count(around) * outputs, a.width * outputs, blocks_of(unit.wide, vectors)});
    if (a.project) {
      const float* upstream = w.upstream + (from - slopes.first) * upstream_row();
      product(a.channels, panels, {upstream + lead * unit.outer, 1, unit.outer, upstream_row()},
              {w.gated + (from - slopes.first) * gated_row(), unit.half, kLanes, gated_row()},
              {across, to - from}, {sums.project, unit.half, kLanes},
              {sums.project, unit.half, kLanes},
              {grads.x + unit.pixel(tile.image, from, tile.columns.begin) * a.channels, to - from,
               across * a.channels, a.width * a.channels, blocks_of(a.channels, panels)});
    }
    for (int64_t y = from; y < to; ++y) {
      const int64_t first = (y - from) * across;
      write_row(y, w.normal + first * unit.outer, w.outer + first * unit.outer, w.scales + first);
    }
  }

  // What is kept of the rows that the next ones at hand need.
  Ahead kept_ahead(int64_t to, int64_t blocks) const {
    const int64_t from = std::min(to + 2, a.height);
    const int64_t rows = to < tile.bottom ? std::min(to + 2 + w.rows, a.height) - from : 0;
    if (!a.kept || rows <= 0) return {};
    const float* first = kept_at(unit, tile.image, from, 0, beyond.begin);
    return {first, rows * 2 * panels, count(beyond) * kLanes, a.width * kLanes, blocks};
  }

  void write_row(int64_t y, const float* normal, const float* slope, const float* scales) const {
    const int64_t pixel = unit.pixel(tile.image, y, tile.columns.begin);
    const float* upstream = w.upstream + (y - slopes.first) * upstream_row() + lead * unit.outer;
    with_width(a.channels, [&](auto channels) {
      float* out = grads.x + pixel * channels;
      for (int64_t i = 0; i < across; ++i) {
        Vec total = splat(0.0f), tilt = splat(0.0f);
        for_vectors(channels, [&](int64_t c, int n) {
          const Vec s = load_first(slope + c, n);
          total = total + s;
          tilt = fma(s, load_first(normal + c, n), tilt);
        });
        const Vec mean = splat(sum(total) / float(channels));
        const Vec product = splat(sum(tilt) / float(channels)), scale = splat(scales[i]);
        for_vectors(channels, [&](int64_t c, int n) {
          const Vec centred = load(slope + c) - mean - load(normal + c) * product;
          const Vec through = a.project ? load(upstream + c) : splat(0.0f);
          store_first(out + c, fma(centred, scale, through), n);
        });
        slope += unit.outer, normal += unit.outer, upstream += unit.outer, out += channels;
      }
    });
  }

  void run() {
    int64_t have_expanded = std::max<int64_t>(tile.top - 2, 0);
    int64_t have_slopes = std::max<int64_t>(tile.top - 1, 0);
    for (int64_t y = tile.top, next; y < tile.bottom; y = next) {
      next = std::min(y + w.rows, tile.bottom);
      advance(y);
      const int64_t to = std::min(next + 2, a.height), slopes_to = std::min(next + 1, a.height);
      if (!a.kept) {
        const int64_t ahead = next < tile.bottom ? w.rows : 0;
        expand_rows(unit, tile.image, beyond, have_expanded, to, ahead, w.normal, expanded);
      }
      fill_inner(have_slopes, slopes_to);
      const int64_t pixels = (slopes_to - have_slopes) * count(around);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const float* upstream = w.inner + panel * pixels * kLanes;
        for (int64_t row = have_slopes; row < slopes_to; ++row, upstream += count(around) * kLanes)
          fill_slopes(row, panel, upstream);
      }
      have_expanded = to, have_slopes = slopes_to;
      fill_spread(y, next);
      finish(y, next);
    }
  }

  // Keeps of all strips what rows from `y` on need.
  void advance(int64_t y) {
    const int64_t gone = y - 1 - slopes.first, kept = slopes.slots - gone;
    if (gone > 0 && a.project) {
      const size_t outer = size_t(kept * upstream_row()) * 4, half = size_t(kept * gated_row()) * 4;
      std::memmove(w.upstream, w.upstream + gone * upstream_row(), outer);
      std::memmove(w.gated, w.gated + gone * gated_row(), half);
    }
    if (!a.kept) expanded.advance(y - 2);
    slopes.advance(y - 1);
  }
};

}  // namespace

void gated_unit_backward(const GatedUnitArgs& args, const GatedUnitGrads& grads) {
  const Unit unit(args);
  const Turned turned(unit);
  const UnitTiles tiles(args);
  const int64_t pixels = args.batch * args.height * args.width;
  const int64_t widest = (args.width + tiles.across - 1) / tiles.across;
  const int64_t rows = rows_at_once(widest, args.height);
  // Each group of tiles has sums of its own; adding them up must not cost more than it spares.
  const int64_t most = std::min<int64_t>(tiles.total(), 16);
  const int64_t groups = std::max<int64_t>(1, std::min(most, pixels / 512));
  WeightSums** sums = new WeightSums*[size_t(groups)];
  with_gate(args, [&](auto activation) {
    for_each_task(groups, pixels * unit.wide * args.channels / 2, [&](int64_t group) {
      sums[group] = new WeightSums(unit);
      const Workspace workspace(unit, turned, rows, widest);
      const int64_t end = tiles.total() * (group + 1) / groups;
      for (int64_t i = tiles.total() * group / groups; i < end; ++i) {
        const UnitTile tile = tiles.tile(i);
        BackwardTile<decltype(activation)>{workspace, grads, activation, *sums[group], tile}.run();
      }
    });
  });
  for (int64_t group = 1; group < groups; ++group) sums[0]->add(*sums[group]);
  sums[0]->write(grads);
  for (int64_t group = 0; group < groups; ++group) delete sums[group];
  delete[] sums;
}

}  // namespace unveil::UNVEIL_ISA
