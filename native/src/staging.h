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
  int64_t count = 0, start = 0, height = 0, width = 0, order = 0;

  Tokens() = default;
  Tokens(const ScanArgs& args, int64_t direction, int64_t begin, int64_t size)
      : count(size), start(begin), height(args.height), width(args.width) {
    order = (args.orders >> (2 * direction)) & 3;
    const bool by_columns = order & 1, reversed = order & 2;
    const int64_t inner = by_columns ? height : width, first = reversed ? height * width - 1 - begin : begin;
    int64_t slow = first / inner, fast = first % inner;
    for (int64_t i = 0; i < size; ++i) {
      row[i] = by_columns ? fast : slow;
      column[i] = by_columns ? slow : fast;
      fast += reversed ? -1 : 1;
      if (fast == inner) fast = 0, ++slow;
      if (fast < 0) fast = inner - 1, --slow;
    }
  }

  bool empty() const { return count <= 0; }

  int64_t offset(const View& view, int64_t i) const {
    return row[i] * view.h + column[i] * view.w;
  }
  // The distance between consecutive tokens, if it is the same for all of them; otherwise 0.
  int64_t stride(const View& view) const {
    const bool by_columns = order & 1;
    const int64_t fast = by_columns ? view.h : view.w, slow = by_columns ? view.w : view.h;
    const int64_t inner = by_columns ? height : width;
    const bool one_run = by_columns ? column[0] == column[count - 1] : row[0] == row[count - 1];
    if (!one_run && slow != fast * inner) return 0;
    return order & 2 ? -fast : fast;
  }
  // Whether consecutive tokens are consecutive elements.
  bool contiguous(const View& view) const { return stride(view) == 1; }
};

// The segment that begins at token `start`; empty outside the sequence.
inline Tokens segment_at(const ScanArgs& args, int64_t direction, int64_t start) {
  const int64_t left = args.height * args.width - start;
  if (start < 0 || left <= 0) return Tokens();
  return Tokens(args, direction, start, left < kTokens ? left : kTokens);
}

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

// Channels (or states) of consecutive tokens: data[token * stride + lane].
struct Strip {
  float* data;
  int64_t stride;
};

// Copies `lanes` channels beginning at element `base` to buffer[token * row], kLanes floats each.
void stage(const View& view, int64_t base, const Tokens& tokens, int lanes, float* buffer,
           int64_t row);

// Writes (or adds, for sums over directions) what `stage` would read.
void unstage(const View& view, int64_t base, const Tokens& tokens, int lanes, const float* buffer,
             int64_t row, bool add);

// Writes whole lines of memory past the caches. False where rows are not made of such: it wrote none.
bool unstage_past(const View& view, int64_t base, const Tokens& tokens, int lanes,
                  const float* buffer);

// Whether memory already looks like a strip, so that nothing need be copied.
inline bool is_strip(const View& view, const Tokens& tokens) {
  return view.dtype == kFloat32 && view.c == 1 && tokens.stride(view) != 0;
}
inline Strip strip_of(const View& view, int64_t base, const Tokens& tokens) {
  return {reinterpret_cast<float*>(view.data) + base + tokens.offset(view, 0),
          tokens.stride(view)};
}

// Addresses that will be needed soon. Rows of channels lie too far apart for the hardware to see them
// coming, and asking for all at once would stall, so the loops over tokens ask for some at a time.
struct Ahead {
  static constexpr int64_t kMost = 32 * kTokens;
  const char* address[kMost];
  int64_t count = 0;

  void add(const char* p) {
    if (count < kMost) address[count++] = p;
  }
};

// Adds what `stage` or `unstage` will touch.
void look_ahead(const View& view, int64_t base, const Tokens& tokens, int lanes, Ahead& ahead);

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
inline void multiply_factors(Strip factors, const float* weight, int64_t rank, int64_t count,
                             float* raw, int64_t row) {
  for (int64_t t = 0; t < count; ++t) {
    Vec total = splat(0.0f);
    for (int64_t r = 0; r < rank; ++r) {
      total = fma(splat(factors.data[t * factors.stride + r]), load(weight + r * kLanes), total);
    }
    store(raw + t * row, total);
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

// States of one token in a staged B or C, rounded up to whole registers.
inline int64_t padded(int64_t states) { return (states + kLanes - 1) / kLanes * kLanes; }

// Reads B, C or the factors of delta: `count` values per token from element `base` on.
inline Strip stage_states(const View& view, int64_t base, const Tokens& tokens, int64_t count,
                          float* buffer) {
  if (is_strip(view, tokens)) return strip_of(view, base, tokens);
  for (int64_t n = 0; n < count; n += kLanes) {
    const int left = int(count - n < kLanes ? count - n : kLanes);
    stage(view, base + n * view.c, tokens, left, buffer + n, padded(count));
  }
  return {buffer, padded(count)};
}

}  // namespace unveil::UNVEIL_ISA
