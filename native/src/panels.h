// Room for the operands of the products, and matrices as the products read them.
#pragma once
#include <algorithm>
#include <cstring>

#include "simd.h"

namespace unveil::UNVEIL_ISA {

// Floats at a cache line's start.
class Buffer {
 public:
  explicit Buffer(int64_t size) : held_(new float[size_t(size) + kLine]) {
    const auto address = reinterpret_cast<uintptr_t>(held_);
    data_ = held_ + (kLine - address / sizeof(float) % kLine) % kLine;
  }
  ~Buffer() { delete[] held_; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator float*() const { return data_; }

 private:
  static constexpr size_t kLine = 16;
  float *held_, *data_;
};

// The same, zero at first.
struct Zeros : Buffer {
  explicit Zeros(int64_t size) : Buffer(size) {
    std::memset(static_cast<float*>(*this), 0, size_t(size) * sizeof(float));
  }
};

// Writes rows of (count, columns) as panels of kLanes rows: (panel, column, kLanes). `factors`, of
// the columns: or null.
inline void pack_rows(const float* rows, int64_t count, int64_t columns, const float* factors,
                      float* panels, int64_t length) {
  for (int64_t row = 0; row < count; row += kLanes) {
    float* panel = panels + row * length;
    const int64_t lanes = std::min<int64_t>(kLanes, count - row);
    for (int64_t c = 0; c < columns; c += kLanes) {
      const int n = int(std::min<int64_t>(kLanes, columns - c));
      const Vec factor = factors ? load_first(factors + c, n) : splat(1.0f);
      Vec square[kLanes];
      for (int i = 0; i < kLanes; ++i)
        square[i] = i < lanes ? load_first(rows + (row + i) * columns + c, n) * factor : splat(0.0f);
      transpose(square);
      for (int i = 0; i < n; ++i) store(panel + (c + i) * kLanes, square[i]);
    }
  }
}

inline int64_t padded(int64_t channels) { return (channels + kLanes - 1) / kLanes * kLanes; }

}  // namespace unveil::UNVEIL_ISA
