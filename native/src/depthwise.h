// The depth-wise 3x3 convolution of a row, kLanes channels at a time, and its weights' gradients.
#pragma once
#include <algorithm>

#include "simd.h"

namespace unveil::UNVEIL_ISA {

inline constexpr int kTaps = 9;
inline constexpr int kSums = kTaps + 1;  // the taps' gradients, then the bias's

// kLanes channels from `channel` on, or all of fewer.
template <bool kWhole>
struct Block {
  int64_t channel;
  int count;

  Vec get(const float* p) const { return kWhole ? load(p) : load_partial(p, count); }
  void put(float* p, Vec v) const {
    if (kWhole) {
      store(p, v);
    } else {
      store_partial(p, v, count);
    }
  }
};

// The last block overlaps its neighbour and repeats a part of its work, which costs less than masks.
template <class Body>
void for_blocks(int64_t channels, const Body& body) {
  if (channels < kLanes) return body(Block<false>{0, int(channels)});
  for (int64_t c = 0; c < channels; c += kLanes)
    body(Block<true>{std::min(c, channels - kLanes), kLanes});
}

// The values of one block along a row; `step` is 0 for rows of zeros outside the image.
struct Row {
  const float* data;
  int64_t step;
};

struct Window {
  Row rows[3];
  const float* at(int row, int64_t column) const {
    return rows[row].data + column * rows[row].step;
  }
};

alignas(64) inline constexpr float kZeros[kLanes] = {};

// Columns [begin, end) of an image `width` wide.
struct Columns {
  int64_t begin, end, width;
};

// Calls emit(column, value) with the 3x3 correlation; `kTurned` rotates the kernel by 180 degrees.
template <bool kTurned, class Block, class Emit>
void convolve(const Block& block, const Window& in, const Columns& columns, const float* taps,
              int64_t step, Vec start, const Emit& emit) {
  Vec k[kTaps];
  for (int i = 0; i < kTaps; ++i) k[i] = block.get(taps + (kTurned ? kTaps - 1 - i : i) * step);
  const int64_t first = std::max<int64_t>(columns.begin - 1, 0);
  const int64_t last = std::min(columns.end, columns.width - 1);
  const float *top = in.at(0, first), *middle = in.at(1, first), *bottom = in.at(2, first);
  Vec before = start, here = start;
  for (int64_t column = first; column <= last; ++column) {
    const Vec a = block.get(top), b = block.get(middle), c = block.get(bottom);
    top += in.rows[0].step, middle += in.rows[1].step, bottom += in.rows[2].step;
    before = fma(c, k[8], fma(b, k[5], fma(a, k[2], before)));
    here = fma(c, k[7], fma(b, k[4], fma(a, k[1], here)));
    const Vec after = fma(c, k[6], fma(b, k[3], fma(a, k[0], start)));
    if (column > columns.begin) emit(column - 1, before);
    before = here;
    here = after;
  }
  if (columns.end == columns.width) emit(columns.width - 1, before);
}

// Adds one row's share to the gradients of the taps and the bias; `grad` is (columns, kLanes).
template <class Block>
void sum_row(const Block& block, const Window& in, const Columns& columns, const float* grad,
             Vec* sums) {
  const Vec zero = splat(0.0f);
  Vec k[kTaps], bias = zero, before = zero, here = zero;
  for (Vec& sum : k) sum = zero;
  const int64_t first = std::max<int64_t>(columns.begin - 1, 0);
  const int64_t last = std::min(columns.end, columns.width - 1);
  if (first == columns.begin) here = load(grad);
  const float *top = in.at(0, first), *middle = in.at(1, first), *bottom = in.at(2, first);
  for (int64_t column = first; column <= last; ++column) {
    const int64_t next = column + 1 - columns.begin;
    const Vec after = column + 1 < columns.end ? load(grad + next * kLanes) : zero;
    const Vec a = block.get(top), b = block.get(middle), c = block.get(bottom);
    top += in.rows[0].step, middle += in.rows[1].step, bottom += in.rows[2].step;
    k[0] = fma(a, after, k[0]), k[1] = fma(a, here, k[1]), k[2] = fma(a, before, k[2]);
    k[3] = fma(b, after, k[3]), k[4] = fma(b, here, k[4]), k[5] = fma(b, before, k[5]);
    k[6] = fma(c, after, k[6]), k[7] = fma(c, here, k[7]), k[8] = fma(c, before, k[8]);
    bias = bias + here;
    before = here;
    here = after;
  }
  for (int i = 0; i < kTaps; ++i) sums[i] = sums[i] + k[i];
  sums[kTaps] = sums[kTaps] + bias;
}

}  // namespace unveil::UNVEIL_ISA
