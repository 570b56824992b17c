// The scan of Mamba-2 (one decay per head): arguments, and the table each instruction set fills.
//
//   H_t = exp(dt_t A) H_{t-1} + dt_t B_t x_t^T,   y_t = H_t^T C_t + D x_t
//
// All arrays are float and contiguous. States are kept before every chunk, as (b, chunk, h, n, p).
#pragma once
#include "kernels.h"

namespace unveil {

// Tokens of a chunk: within it the scan is a product of matrices.
constexpr int64_t kSsdChunk = 64;

struct SsdArgs {
  const float *x, *dt, *A, *B, *C, *D;  // (b, l, h, p), (b, l, h), (h), 2 x (b, l, g, n), (h, p)
  const float* initial;                 // (b, h, p, n) or null
  const uint8_t* fresh;                 // (b, l) or null: nonzero where nothing is remembered
  int64_t batch, tokens, heads, width, groups, states;

  int64_t chunks() const { return (tokens + kSsdChunk - 1) / kSsdChunk; }
  int64_t state_size() const { return states * width; }
  int64_t work() const { return batch * tokens * heads * width * (states + kSsdChunk / 2); }
};

struct SsdResults {
  float *y, *last, *kept;  // (b, l, h, p), (b, h, p, n), the states before the chunks
};

struct SsdGrads {
  const float *y, *last, *kept;        // gradients of y and of the last state (or null); the states
  float* after;                        // scratch like `kept`: gradients of the states after chunks
  float *x, *dt, *A, *B, *C, *D;       // A (b, chunk, h) and D (b, chunk, h, p) in parts
  float* initial;                      // (b, h, p, n)
};

struct SsdKernels {
  void (*forward)(const SsdArgs& args, const SsdResults& results);
  void (*backward)(const SsdArgs& args, const SsdGrads& grads);
};

}  // namespace unveil

namespace unveil::portable { extern const SsdKernels ssd; }
namespace unveil::avx2 { extern const SsdKernels ssd; }
namespace unveil::avx512 { extern const SsdKernels ssd; }
namespace unveil::neon { extern const SsdKernels ssd; }
