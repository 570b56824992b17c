// Moves a few tokens of strided, half-precision or reordered tensors into small float buffers in
// the L1 cache and back, so that the loops of the scan see nothing but [token][lane].
#pragma once
#include <cstdlib>

#include "scan.h"
#include "simd.h"

namespace unveil::UNVEIL_ISA {

constexpr int64_t kTokens = kSegment;

// Scratch memory of one thread, aligned for the widest register.
class Scratch {
 public:
  explicit Scratch(int64_t floats) {
    memory_ = std::malloc(size_t(floats) * sizeof(float) + kAlign);
    if (memory_ == nullptr) std::abort();
    next_ = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory_) + kAlign) & ~(kAlign - 1));
  }
  ~Scratch() { std::free(memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  float* take(int64_t floats) {
    float* taken = next_;
    next_ += (floats + 15) / 16 * 16;
    return taken;
  }

 private:
  static constexpr uintptr_t kAlign = 64;
  void* memory_;
  float* next_;
};

// Tokens [start, start + count) of one direction: where each lies in the image.
struct Tokens {
  int64_t row[kTokens], column[kTokens];
  int64_t count, start, step_row, width;
  bool row_major;

  Tokens(const ScanArgs& args, int64_t direction, int64_t begin, int64_t size)
      : count(size), start(begin), width(args.width) {
    const int64_t order = (args.orders >> (2 * direction)) & 3;
    const int64_t length = args.height * args.width;
    row_major = order == 0;
    for (int64_t i = 0; i < size; ++i) {
      const int64_t t = order & 2 ? length - 1 - (begin + i) : begin + i;
      row[i] = order & 1 ? t % args.height : t / args.width;
      column[i] = order & 1 ? t / args.height : t % args.width;
    }
  }

  int64_t offset(const View& view, int64_t i) const {
    return row[i] * view.h + column[i] * view.w;
  }
  // Whether consecutive tokens are consecutive elements.
  bool contiguous(const View& view) const {
    return row_major && view.w == 1 && (view.h == width || row[0] == row[count - 1]);
  }
};

inline float load_one(const View& view, int64_t offset) {
  if (view.dtype == kFloat32) return reinterpret_cast<const float*>(view.data)[offset];
  uint16_t halves[kLanes] = {reinterpret_cast<const uint16_t*>(view.data)[offset]};
  float wide[kLanes];
  store(wide, view.dtype == kBfloat16 ? load_bf16(halves) : load_fp16(halves));
  return wide[0];
}

inline Vec load_row(const View& view, int64_t offset, int count) {
  if (view.dtype == kFloat32) {
    return load_first(reinterpret_cast<const float*>(view.data) + offset, count);
  }
  const uint16_t* p = reinterpret_cast<const uint16_t*>(view.data) + offset;
  uint16_t halves[kLanes] = {};
  if (count < kLanes) {
    for (int i = 0; i < count; ++i) halves[i] = p[i];
    p = halves;
  }
  return view.dtype == kBfloat16 ? load_bf16(p) : load_fp16(p);
}

inline void store_row(const View& view, int64_t offset, Vec value, int count) {
  if (view.dtype == kFloat32) {
    store_first(reinterpret_cast<float*>(view.data) + offset, value, count);
    return;
  }
  uint16_t* p = reinterpret_cast<uint16_t*>(view.data) + offset;
  uint16_t halves[kLanes];
  uint16_t* to = count == kLanes ? p : halves;
  if (view.dtype == kBfloat16) {
    store_bf16(to, value);
  } else {
    store_fp16(to, value);
  }
  if (to == halves) {
    for (int i = 0; i < count; ++i) p[i] = halves[i];
  }
}

// Reads `lanes` channels beginning at element `base` of all tokens to buffer[token][kLanes].
void stage(const View& view, int64_t base, const Tokens& tokens, int lanes, float* buffer);

// Writes (or adds, for sums over directions) buffer[token][kLanes] back.
void unstage(const View& view, int64_t base, const Tokens& tokens, int lanes, const float* buffer,
             bool add);

// Reads a parameter (channel-strided by g, state-strided by c) to buffer[state][kLanes].
void stage_parameter(const View& view, int64_t base, int64_t states, int lanes, float scale,
                     float* buffer);
void unstage_parameter(const View& view, int64_t base, int64_t states, int lanes,
                       const float* buffer);

// One register of channels: `block` of the blocks all groups are cut into.
struct Lanes {
  int64_t group, channel;
  int count;
};

inline int64_t blocks_per_group(const ScanArgs& args) {
  return (args.channels / args.groups + kLanes - 1) / kLanes;
}

inline Lanes lanes_of(const ScanArgs& args, int64_t block) {
  const int64_t per_group = blocks_per_group(args), in_group = args.channels / args.groups;
  const int64_t group = block / per_group, first = (block % per_group) * kLanes;
  const int64_t left = in_group - first;
  return {group, group * in_group + first, int(left < kLanes ? left : kLanes)};
}

// `view` at the channels of one block, 0 if it is absent.
inline Vec load_channels(const View& view, int64_t k, Lanes lanes) {
  float values[kLanes] = {};
  if (view.data != nullptr) {
    for (int i = 0; i < lanes.count; ++i) {
      values[i] = load_one(view, k * view.k + (lanes.channel + i) * view.g);
    }
  }
  return load(values);
}

// raw[token] = sum over r of weight[r] * factor[token][r].
inline void multiply_factors(const float* factors, const float* weight, int64_t rank,
                             int64_t count, float* raw) {
  for (int64_t t = 0; t < count; ++t) {
    Vec total = splat(0.0f);
    for (int64_t r = 0; r < rank; ++r) {
      const float factor = factors[r / kLanes * kTokens * kLanes + t * kLanes + r % kLanes];
      total = fma(splat(factor), load(weight + r * kLanes), total);
    }
    store(raw + t * kLanes, total);
  }
}

inline int64_t scan_updates(const ScanArgs& args) {
  return args.batch * args.directions * args.height * args.width * args.channels * args.states;
}

// Parts to cut `blocks` into, at least `least`, so that batch x parts keep `threads` busy.
inline int64_t split(int64_t blocks, int64_t batch, int64_t threads, int64_t least) {
  int64_t parts = least;
  for (; parts < blocks; ++parts) {
    const int64_t rounds = (batch * parts + threads - 1) / threads;
    const int64_t largest = (blocks + parts - 1) / parts;
    // Time of the slowest thread against the ideal, within a tenth.
    if (10 * batch * blocks >= 9 * rounds * largest * threads) break;
  }
  return parts;
}

// States are handled kLanes at a time in the staged B and C: [tile][token][kLanes].
inline int64_t state_tiles(const ScanArgs& args) { return (args.states + kLanes - 1) / kLanes; }

}  // namespace unveil::UNVEIL_ISA
