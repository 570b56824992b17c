// Small matrix products in registers: C += A B for the blocks of a chunk, which lie in the L1 and L2
// caches, so that nothing need be packed.
#pragma once
#include <algorithm>

#include "hints.h"
#include "simd.h"

namespace unveil::UNVEIL_ISA {

// A tile of kRows x kVecs registers of C; what is left of the registers holds B and one entry of A.
#if defined(UNVEIL_ISA_AVX512) || defined(UNVEIL_ISA_NEON)
inline constexpr int kRows = 6, kVecs = 4;
#else
inline constexpr int kRows = 4, kVecs = 2;
#endif
inline constexpr int64_t kWide = kVecs * kLanes;

// A matrix in memory: entry (i, j) at data[i * row + j * column].
struct Matrix {
  const float* data;
  int64_t row, column;

  Matrix from(int64_t i, int64_t j) const { return {data + i * row + j * column, row, column}; }
  Matrix transposed() const { return {data, column, row}; }
};

// Which entries of A are read: all, those with k <= i, or those with k >= i. The others inside a
// tile must be zero.
enum class Part { kAll, kLower, kUpper };

template <int kR, int kV, bool kPartial>
inline void tile(Matrix a, const float* b, int64_t b_row, int64_t depth, float* c, int64_t c_row,
                 int last) {
  Vec sums[kR][kV];
  UNVEIL_UNROLL
  for (int r = 0; r < kR; ++r) {
    UNVEIL_UNROLL
    for (int v = 0; v < kV; ++v) {
      const float* from = c + r * c_row + v * kLanes;
      sums[r][v] = kPartial && v == kV - 1 ? load_partial(from, last) : load(from);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vec row[kV];
    UNVEIL_UNROLL
    for (int v = 0; v < kV; ++v) {
      const float* from = b + k * b_row + v * kLanes;
      row[v] = kPartial && v == kV - 1 ? load_partial(from, last) : load(from);
    }
    const float* column = a.data + k * a.column;
    UNVEIL_UNROLL
    for (int r = 0; r < kR; ++r) {
      const Vec factor = splat(column[r * a.row]);
      UNVEIL_UNROLL
      for (int v = 0; v < kV; ++v) sums[r][v] = fma(factor, row[v], sums[r][v]);
    }
  }
  UNVEIL_UNROLL
  for (int r = 0; r < kR; ++r) {
    UNVEIL_UNROLL
    for (int v = 0; v < kV; ++v) {
      float* to = c + r * c_row + v * kLanes;
      if (kPartial && v == kV - 1) {
        store_partial(to, sums[r][v], last);
      } else {
        store(to, sums[r][v]);
      }
    }
  }
}

template <int kR>
inline void stripe(Matrix a, const float* b, int64_t b_row, int64_t depth, float* c, int64_t c_row,
                   int64_t columns) {
  int64_t j = 0;
  for (; j + kWide <= columns; j += kWide)
    tile<kR, kVecs, false>(a, b + j, b_row, depth, c + j, c_row, kLanes);
  for (; j + kLanes <= columns; j += kLanes)
    tile<kR, 1, false>(a, b + j, b_row, depth, c + j, c_row, kLanes);
  if (j < columns)
    tile<kR, 1, true>(a, b + j, b_row, depth, c + j, c_row, int(columns - j));
}

// c (rows, columns) += a (rows, depth) b (depth, columns), the rows of b and c contiguous. With
// `lower_result` only the entries of c with j <= i are needed; more of them may be written.
inline void multiply_add(Matrix a, const float* b, int64_t b_row, float* c, int64_t c_row,
                         int64_t rows, int64_t columns, int64_t depth, Part part = Part::kAll,
                         bool lower_result = false) {
  for (int64_t i = 0; i < rows; i += kRows) {
    const int64_t left = std::min<int64_t>(kRows, rows - i);
    const int64_t begin = part == Part::kUpper ? i : 0;
    const int64_t end = part == Part::kLower ? std::min(depth, i + left) : depth;
    const int64_t wide = lower_result ? std::min(columns, i + left) : columns;
    const Matrix from = a.from(i, begin);
    const float* with = b + begin * b_row;
    float* to = c + i * c_row;
    switch (left) {
      case 1: stripe<1>(from, with, b_row, end - begin, to, c_row, wide); break;
      case 2: stripe<2>(from, with, b_row, end - begin, to, c_row, wide); break;
      case 3: stripe<3>(from, with, b_row, end - begin, to, c_row, wide); break;
#if defined(UNVEIL_ISA_AVX512) || defined(UNVEIL_ISA_NEON)
      case 4: stripe<4>(from, with, b_row, end - begin, to, c_row, wide); break;
      case 5: stripe<5>(from, with, b_row, end - begin, to, c_row, wide); break;
#endif
      default: stripe<kRows>(from, with, b_row, end - begin, to, c_row, wide);
    }
  }
}

// to (columns, rows) = from (rows, columns) transposed; the rows of both are contiguous.
inline void transpose_into(const float* from, int64_t from_row, int64_t rows, int64_t columns,
                           float* to, int64_t to_row) {
  for (int64_t i = 0; i < rows; i += kLanes) {
    const int high = int(std::min<int64_t>(kLanes, rows - i));
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int wide = int(std::min<int64_t>(kLanes, columns - j));
      Vec block[kLanes];
      for (int r = 0; r < kLanes; ++r)
        block[r] = r < high ? load_first(from + (i + r) * from_row + j, wide) : splat(0.0f);
      transpose(block);
      for (int r = 0; r < wide; ++r) store_first(to + (j + r) * to_row + i, block[r], high);
    }
  }
}

// Sum over `count` entries of x y.
inline float dot(const float* x, const float* y, int64_t count) {
  Vec total = splat(0.0f);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int n = int(std::min<int64_t>(kLanes, count - i));
    total = fma(load_first(x + i, n), load_first(y + i, n), total);
  }
  return sum(total);
}

// y += factor x.
inline void add_scaled(float factor, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int n = int(std::min<int64_t>(kLanes, count - i));
    store_first(y + i, fma(splat(factor), load_first(x + i, n), load_first(y + i, n)), n);
  }
}

// y = factor x.
inline void scale_into(float factor, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int n = int(std::min<int64_t>(kLanes, count - i));
    store_first(y + i, splat(factor) * load_first(x + i, n), n);
  }
}

}  // namespace unveil::UNVEIL_ISA
