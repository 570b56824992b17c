// Matrix products whose panels stay in the nearest caches and whose sums stay in registers.
#pragma once
#include <algorithm>

#include "hints.h"
#include "simd.h"

namespace unveil::UNVEIL_ISA {

// Rows and vectors of the sums held at once: with one row of the right side and one factor of the
// left they fill the registers.
#if defined(UNVEIL_ISA_AVX512) || defined(UNVEIL_ISA_NEON)
inline constexpr int kSumRows = 8, kSumVectors = 3;
#elif defined(UNVEIL_ISA_AVX2)
inline constexpr int kSumRows = 4, kSumVectors = 3;
#else
inline constexpr int kSumRows = 4, kSumVectors = 2;
#endif

// The inner index k goes through `runs` runs of `length`; strides are in floats.
struct Inner {
  int64_t length, runs = 1;
};

struct Left {
  const float* data;
  int64_t row, inner, run = 0;
};

// Vectors of kLanes columns.
struct Right {
  const float* data;
  int64_t inner, vector, run = 0;
};

// Where sums begin: at zero, at a vector for all rows (row 0), or at what the output holds.
struct Start {
  const float* data = nullptr;
  int64_t row = 0, vector = 0;
};

struct Sums {
  float* data;
  int64_t row, vector;
};

// Rows of memory that will be needed soon. The products ask for a few lines at a time while they
// compute, so that what follows them finds these rows in the cache.
class Ahead {
 public:
  Ahead() = default;
  // `blocks` calls of `fetch` cover all rows.
  Ahead(const float* first, int64_t rows, int64_t width, int64_t stride, int64_t blocks)
      : row_(reinterpret_cast<const char*>(first)), rows_(rows), bytes_(4 * width),
        stride_(4 * stride) {
    const int64_t lines = rows * ((bytes_ + kLine - 1) / kLine);
    share_ = (lines + blocks - 1) / std::max<int64_t>(blocks, 1);
  }
  void fetch() {
    for (int64_t i = 0; i < share_ && rows_ > 0; ++i) {
      prefetch(row_ + at_);
      at_ += kLine;
      if (at_ < bytes_) continue;
      at_ = 0, row_ += stride_, --rows_;
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* row_ = nullptr;
  int64_t rows_ = 0, bytes_ = 0, stride_ = 0, share_ = 0, at_ = 0;
};

// Blocks of sums that a product of this size is made of, about.
inline int64_t blocks_of(int64_t rows, int64_t vectors) {
  return std::max<int64_t>(1, rows / kSumRows) * ((vectors + kSumVectors - 1) / kSumVectors);
}

template <int kRows, int kVectors>
void sum_block(const Left& left, const Right& right, const Inner& inner, const Start& start,
               const Sums& out) {
  Vec sum[kRows][kVectors];
  UNVEIL_UNROLL
  for (int i = 0; i < kRows; ++i) {
    UNVEIL_UNROLL
    for (int v = 0; v < kVectors; ++v)
      sum[i][v] = start.data ? load(start.data + i * start.row + v * start.vector) : splat(0.0f);
  }
  for (int64_t run = 0; run < inner.runs; ++run) {
    const float *a[kRows], *b[kVectors];
    UNVEIL_UNROLL
    for (int i = 0; i < kRows; ++i) a[i] = left.data + run * left.run + i * left.row;
    UNVEIL_UNROLL
    for (int v = 0; v < kVectors; ++v) b[v] = right.data + run * right.run + v * right.vector;
    int64_t at = 0, from = 0;
    for (int64_t k = 0; k < inner.length; ++k, at += left.inner, from += right.inner) {
      Vec column[kVectors];
      UNVEIL_UNROLL
      for (int v = 0; v < kVectors; ++v) column[v] = load(b[v] + from);
      UNVEIL_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const Vec factor = splat(a[i][at]);
        UNVEIL_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[i][v] = fma(factor, column[v], sum[i][v]);
      }
    }
  }
  UNVEIL_UNROLL
  for (int i = 0; i < kRows; ++i) {
    UNVEIL_UNROLL
    for (int v = 0; v < kVectors; ++v) store(out.data + i * out.row + v * out.vector, sum[i][v]);
  }
}

// Rows from `first` on, in blocks of kRows; what is left in smaller ones.
template <int kRows, int kVectors>
void sum_rows(int64_t first, int64_t rows, Left left, const Right& right, const Inner& inner,
              Start start, Sums out, Ahead& ahead) {
  const float *a = left.data, *from = start.data;
  float* to = out.data;
  int64_t i = first;
  for (; i + kRows <= rows; i += kRows) {
    left.data = a + i * left.row;
    start.data = from ? from + i * start.row : nullptr;
    out.data = to + i * out.row;
    ahead.fetch();
    sum_block<kRows, kVectors>(left, right, inner, start, out);
  }
  if constexpr (kRows > 1) {
    left.data = a, start.data = from, out.data = to;
    if (i < rows) sum_rows<kRows / 2, kVectors>(i, rows, left, right, inner, start, out, ahead);
  }
}

// out = start + left right, while `ahead` is fetched; for `rows` rows and `vectors` vectors of columns.
inline void product(int64_t rows, int64_t vectors, const Left& left, Right right,
                    const Inner& inner, Start start, Sums out, Ahead ahead = {}) {
  while (vectors > 0) {
    // 2 + 2 keeps more sums in flight than 3 + 1.
    const int64_t count = vectors == 4 ? 2 : vectors < kSumVectors ? vectors : kSumVectors;
    if (count == 1) sum_rows<kSumRows, 1>(0, rows, left, right, inner, start, out, ahead);
    if (count == 2) sum_rows<kSumRows, 2>(0, rows, left, right, inner, start, out, ahead);
    if constexpr (kSumVectors > 2) {
      if (count == 3) sum_rows<kSumRows, 3>(0, rows, left, right, inner, start, out, ahead);
    }
    vectors -= count;
    right.data += count * right.vector;
    out.data += count * out.vector;
    if (start.data) start.data += count * start.vector;
  }
}

}  // namespace unveil::UNVEIL_ISA
