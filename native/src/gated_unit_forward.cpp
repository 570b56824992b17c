// The gated unit: normalisation, 1x1, depth-wise 3x3, product of the halves, 1x1, residual.
#include "gated_unit.h"

namespace unveil::UNVEIL_ISA {
namespace {

struct Workspace {
  const Unit& unit;
  const int64_t rows, across;  // at once; columns of a tile with its neighbours
  Buffer normal, expanded, gated, projected, scratch;

  Workspace(const Unit& u, int64_t rows, int64_t across)
      : unit(u), rows(rows), across(across), normal((rows + 2) * across * u.outer),
        expanded((rows + 2) * across * u.wide), gated(rows * across * u.half),
        projected(u.args.project ? rows * across * u.outer : 0), scratch(across * kLanes) {}
};

// Writes one row of gated features, (column, half).
template <class Activation>
void gate_row(const Workspace& w, const Activation& activation, const Strip& strip, int64_t y,
              const Columns& columns, float* row) {
  const Unit& unit = w.unit;
  const int64_t panels = unit.half / kLanes;
  float* out = row - columns.begin * unit.half;
  for (int64_t panel = 0; panel < panels; ++panel) {
    const Block<true> block{panel * kLanes, kLanes};
    const float* taps = unit.taps + block.channel;
    const float* bias = taps + kTaps * unit.wide;
    convolve<false>(block, strip.window(panel, y), columns, taps, unit.wide, load(bias),
                    [&](int64_t column, Vec v) {
                      store(w.scratch + column * kLanes, activation.value(v));
                    });
    convolve<false>(block, strip.window(panels + panel, y), columns, taps + unit.half, unit.wide,
                    load(bias + unit.half), [&](int64_t column, Vec v) {
                      store(out + column * unit.half + block.channel,
                            v * load(w.scratch + column * kLanes));
                    });
  }
}

// Rows [from, to) of the output from `gated`.
void write_rows(const Workspace& w, const UnitTile& tile, int64_t from, int64_t to, float* output) {
  const Unit& unit = w.unit;
  const GatedUnitArgs& a = unit.args;
  const int64_t across = count(tile.columns), outputs = unit.outputs();
  if (a.project) {
    const int64_t pixels = (to - from) * across, vectors = unit.outer / kLanes;
    const float* out = output + unit.pixel(tile.image, from, tile.columns.begin) * outputs;
    product(pixels, vectors, {w.gated, unit.half, 1}, {unit.project, kLanes, kLanes * unit.half},
            {unit.half}, {}, {w.projected, unit.outer, kLanes},
            {out, to - from, across * outputs, a.width * outputs, blocks_of(pixels, vectors)});
  }
  for (int64_t y = from; y < to; ++y) {
    const int64_t pixel = unit.pixel(tile.image, y, tile.columns.begin);
    for (int64_t i = 0; i < across; ++i) {
      const int64_t at = (y - from) * across + i;
      float* out = output + (pixel + i) * outputs;
      if (!a.project) {
        copy_channels(w.gated + at * unit.half, out, outputs);
        continue;
      }
      const float *sum = w.projected + at * unit.outer, *x = a.x + (pixel + i) * outputs;
      for_vectors(outputs, [&](int64_t c, int n) {
        store_first(out + c, load_first(x + c, n) + load(sum + c), n);
      });
    }
  }
}

template <class Activation>
void forward_tile(const Workspace& w, const Activation& activation, const UnitTile& tile,
                  float* output) {
  const Unit& unit = w.unit;
  const int64_t height = unit.args.height;
  const Columns wide = widened(tile.columns, 1), local = within(tile.columns, wide);
  Strip strip{w.expanded, unit.wide / kLanes, w.rows + 2, count(wide), height, tile.top - 1};
  int64_t expanded = std::max<int64_t>(tile.top - 1, 0);
  for (int64_t y = tile.top, next; y < tile.bottom; y = next) {
    next = std::min(y + w.rows, tile.bottom);
    const int64_t to = std::min(next + 1, height);
    strip.advance(y - 1);
    const int64_t ahead = next < tile.bottom ? w.rows : 0;
    expand_rows(unit, tile.image, wide, expanded, to, ahead, w.normal, strip);
    if (unit.args.kept) {
      keep_rows(unit, tile.image, tile.columns, wide.begin, std::max(expanded, tile.top),
                std::min(to, tile.bottom), strip);
    }
    expanded = to;
    for (int64_t row = y; row < next; ++row) {
      float* gated = w.gated + (row - y) * count(tile.columns) * unit.half;
      gate_row(w, activation, strip, row, local, gated);
    }
    write_rows(w, tile, y, next, output);
  }
}

}  // namespace

void gated_unit_forward(const GatedUnitArgs& args, float* output) {
  const Unit unit(args);
  const int64_t work = args.batch * args.height * args.width * unit.wide * args.channels / 8;
  // Each output is the same whatever the tiles: without threads to share them, the fewest are best.
  const UnitTiles tiles = thread_count(work) > 1 ? UnitTiles(args) : UnitTiles(args, 1, args.height);
  const int64_t tasks = std::min<int64_t>(tiles.total(), 32);
  const int64_t widest = (args.width + tiles.across - 1) / tiles.across;
  const int64_t rows = rows_at_once(widest, args.height);
  with_gate(args, [&](auto activation) {
    for_each_task(tasks, work, [&](int64_t task) {
      const Workspace workspace(unit, rows, widest + 2);
      const int64_t end = tiles.total() * (task + 1) / tasks;
      for (int64_t i = tiles.total() * task / tasks; i < end; ++i)
        forward_tile(workspace, activation, tiles.tile(i), output);
    });
  });
}

}  // namespace unveil::UNVEIL_ISA
