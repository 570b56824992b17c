// Arguments of the selective scan; filled by `unveil/ops/selective_scan/native.py` as one array of
// 64-bit integers, so the order of the fields is the interface.
#pragma once
#include <cstdint>

namespace unveil {

// Tokens between two states kept for the backward.
constexpr int64_t kSegment = 32;

enum Dtype : int64_t { kFloat32, kBfloat16, kFloat16 };

// A strided tensor over the axes (b, h, w, k, g, c); strides in elements, 0 where an axis is absent
// or broadcast. `c` is the channel of u-like tensors, the state of B and C (whose groups, or
// channels when constant, are `g`), the state of A-like parameters (`g` is the channel).
struct View {
  char* data;
  int64_t dtype;
  int64_t b, h, w, k, g, c;
};

struct ScanArgs {
  int64_t batch, height, width, directions, channels, states, groups, rank;
  int64_t orders;        // two bits per direction: 1 = by columns, 2 = reversed
  int64_t softplus;
  int64_t shared_decay;  // delta and A are the same for all channels
  int64_t B_per_channel, C_per_channel;
  int64_t delta_is_shared;  // its gradient is summed over channels
  // Backward: dB, dC and the gradient of a shared delta or of delta's factors come in this many
  // partial sums, each so many elements after the one before.
  int64_t parts, B_part, C_part, delta_part;
  View u, delta, A, B, C, D, z, bias, weight, initial, out, last, states_kept;
  View dout, dlast, du, ddelta, dA, dB, dC, dD, dz, dbias, dweight, dinitial;
};

}  // namespace unveil
