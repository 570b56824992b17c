// What both directions of the gated unit share: its weights in panels, tiles, strips of rows.
//
// A tile is worked through a few rows at a time, from normalisation to the last product, so that
// nothing in between leaves the second-level cache. Rows lie in strips, panel by panel of kLanes
// channels: what the products write and the convolution reads in one stream. Channels are padded to
// whole vectors.
#pragma once
#include <cstring>

#include "activation.h"
#include "depthwise.h"
#include "norm.h"
#include "panels.h"
#include "passes.h"
#include "product.h"

namespace unveil::UNVEIL_ISA {

// An image's rows from `first` on: (panel, row, column, kLanes), or with other distances of rows and
// panels.
struct Strip {
  float* data;
  int64_t panels, slots, across, height;
  int64_t first = 0;
  int64_t row = across * kLanes, panel = slots * row;

  float* at(int64_t index, int64_t y) const { return data + index * panel + (y - first) * row; }
  Window window(int64_t index, int64_t y) const {
    Window in;
    for (int i = 0; i < 3; ++i) {
      const int64_t from = y + i - 1;
      const bool outside = from < 0 || from >= height;
      in.rows[i] = outside ? Row{kZeros, 0} : Row{at(index, from), kLanes};
    }
    return in;
  }
  void advance(int64_t y) {
    const int64_t gone = y - first;
    for (int64_t i = 0; gone > 0 && i < panels; ++i) {
      float* begin = data + i * panel;
      std::memmove(begin, begin + gone * row, size_t((slots - gone) * row) * 4);
    }
    first = y;
  }
};

// Columns [begin, end) of an image; widened by what its neighbours need.
inline Columns widened(const Columns& columns, int64_t by) {
  return {std::max<int64_t>(columns.begin - by, 0), std::min(columns.end + by, columns.width),
          columns.width};
}

inline int64_t count(const Columns& columns) { return columns.end - columns.begin; }

// Columns of the image as columns of a strip that begins with `strip`.
inline Columns within(const Columns& columns, const Columns& strip) {
  return {columns.begin - strip.begin, columns.end - strip.begin, count(strip)};
}

struct UnitTile {
  int64_t image, top, bottom;
  Columns columns;
};

// Tiles depend on the shape alone, so that the order of sums does not depend on the threads.
struct UnitTiles {
  static constexpr int64_t kColumns = 96, kWanted = 16, kLeastRows = 16, kMostRows = 128;

  int64_t batch, height, width, down, across;

  // `wanted` tiles in all, if rows suffice, of at most `most_rows`.
  explicit UnitTiles(const GatedUnitArgs& a, int64_t wanted = kWanted,
                     int64_t most_rows = kMostRows)
      : batch(a.batch), height(a.height), width(a.width) {
    across = (width + kColumns - 1) / kColumns;
    const int64_t most = std::max<int64_t>(1, height / kLeastRows);
    down = std::min(most, wanted / (batch * across));
    down = std::max(down, (height + most_rows - 1) / most_rows);
  }
  int64_t total() const { return batch * down * across; }
  UnitTile tile(int64_t i) const {
    const int64_t x = i % across, y = i / across % down;
    return {i / across / down, height * y / down, height * (y + 1) / down,
            {width * x / across, width * (x + 1) / across, width}};
  }
};

// The weights as the products read them. The normalisation's own are folded into the expansion:
// W (w n + b) = (W diag w) n + W b.
struct Unit {
  const GatedUnitArgs& args;
  const int64_t outer, half, wide;  // channels, of one half, of both halves
  Zeros expand, offset, taps, project;

  explicit Unit(const GatedUnitArgs& a)
      : args(a), outer(padded(a.channels)), half(padded(a.inner)), wide(2 * half),
        expand(wide * a.channels), offset(wide), taps(kSums * wide),
        project(a.project ? outer * half : 0) {
    for (int64_t part = 0; part < 2; ++part) {
      pack_rows(a.expand + part * a.inner * a.channels, a.inner, a.channels, a.norm_weight,
                expand + part * half * a.channels, a.channels);
    }
    for (int64_t row = 0; row < 2 * a.inner; ++row) {
      const int64_t o = place(row);
      const float* weights = a.expand + row * a.channels;
      Vec shift = splat(0.0f);
      for_vectors(a.norm_bias ? a.channels : 0, [&](int64_t c, int n) {
        shift = fma(load_first(weights + c, n), load_first(a.norm_bias + c, n), shift);
      });
      offset[o] = sum(shift);
      for (int i = 0; i < kTaps; ++i) taps[i * wide + o] = a.weight[row * kTaps + i];
      if (a.bias) taps[kTaps * wide + o] = a.bias[row];
    }
    if (a.project) pack_rows(a.project, a.channels, a.inner, nullptr, project, half);
  }

  // Where a row of the expansion lies: each half begins with a vector of its own.
  int64_t place(int64_t row) const { return row < args.inner ? row : half + row - args.inner; }
  int64_t pixel(int64_t image, int64_t y, int64_t x) const {
    return (image * args.height + y) * args.width + x;
  }
  int64_t outputs() const { return args.project ? args.channels : args.inner; }
};

// Copies a pixel's channels; the padding of `to` is left alone.
inline void copy_channels(const float* from, float* to, int64_t channels) {
  for_vectors(channels, [&](int64_t c, int n) { store_first(to + c, load_first(from + c, n), n); });
}

// Writes (x - mean) / deviation of `pixels` pixels, padded; and 1 / deviation if asked for.
inline void normalise(const GatedUnitArgs& a, int64_t outer, const float* x, int64_t pixels,
                      float* normal, float* scales) {
  with_width(a.channels, [&](auto channels) {
    for (int64_t i = 0; i < pixels; ++i, x += channels, normal += outer) {
      const Moments m = moments(x, channels, a.epsilon);
      for_vectors(channels, [&](int64_t c, int n) {
        store_first(normal + c, (load_first(x + c, n) - m.mean) * m.scale, n);
      });
      if (scales) store_first(scales + i, m.scale, 1);
    }
  });
}

// Rows [from, to) of the expansion, `columns` wide, into a strip. `normal` is room for them; `ahead`
// more rows of the input will follow.
inline void expand_rows(const Unit& unit, int64_t image, const Columns& columns, int64_t from,
                        int64_t to, int64_t ahead, float* normal, const Strip& strip) {
  const GatedUnitArgs& a = unit.args;
  const int64_t across = count(columns);
  for (int64_t y = from; y < to; ++y) {
    const float* x = a.x + unit.pixel(image, y, columns.begin) * a.channels;
    normalise(a, unit.outer, x, across, normal + (y - from) * across * unit.outer, nullptr);
  }
  const int64_t pixels = (to - from) * across, vectors = unit.wide / kLanes;
  const int64_t more = std::min(to + ahead, a.height) - to, width = a.width * a.channels;
  product(pixels, vectors, {normal, unit.outer, 1}, {unit.expand, kLanes, kLanes * a.channels},
          {a.channels}, {unit.offset, 0, kLanes}, {strip.at(0, from), kLanes, strip.panel},
          {a.x + unit.pixel(image, to, columns.begin) * a.channels, more, across * a.channels, width,
           blocks_of(pixels, vectors)});
}

// The expansion as it is kept: (b, h, panel, w, kLanes).
inline float* kept_at(const Unit& unit, int64_t image, int64_t y, int64_t panel, int64_t x) {
  const int64_t row = (image * unit.args.height + y) * (unit.wide / kLanes) + panel;
  return unit.args.kept + (row * unit.args.width + x) * kLanes;
}

// Keeps rows [from, to) of `columns`, of a strip that begins with column `first`.
inline void keep_rows(const Unit& unit, int64_t image, const Columns& columns, int64_t first,
                      int64_t from, int64_t to, const Strip& strip) {
  for (int64_t y = from; y < to; ++y) {
    for (int64_t panel = 0; panel < strip.panels; ++panel) {
      float* kept = kept_at(unit, image, y, panel, columns.begin);
      const float* row = strip.at(panel, y) + (columns.begin - first) * kLanes;
      for (int64_t i = 0; i < count(columns); ++i)
        store_past(kept + i * kLanes, load(row + i * kLanes));
    }
  }
  end_stores_past();
}

// All that is kept of an image from column `first` on, where it lies.
inline Strip kept_rows(const Unit& unit, int64_t image, int64_t first) {
  const int64_t panels = unit.wide / kLanes, row = unit.args.width * kLanes;
  return {kept_at(unit, image, 0, 0, first), panels, 0, 0, unit.args.height, 0, panels * row, row};
}

// Calls body(activation) with the gate's.
template <class Body>
void with_gate(const GatedUnitArgs& args, const Body& body) {
  with_activation(args.activation, 0.0f, body);
}

// Rows worked on at once: enough pixels for the products, few enough for the cache.
inline int64_t rows_at_once(int64_t across, int64_t height) {
  return std::min(height, std::max<int64_t>(2, 96 / across));
}

}  // namespace unveil::UNVEIL_ISA
