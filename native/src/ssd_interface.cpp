// The C interface of Mamba-2's scan.
#include "ssd.h"

using namespace unveil;

UNVEIL_EXPORT int64_t unveil_ssd_chunk() { return kSsdChunk; }

UNVEIL_EXPORT void unveil_ssd_forward(const float* x, const float* dt, const float* A,
                                      const float* B, const float* C, const float* D,
                                      const float* initial, const uint8_t* fresh, float* y,
                                      float* last, float* kept, int64_t batch, int64_t tokens,
                                      int64_t heads, int64_t width, int64_t groups, int64_t states) {
  const SsdArgs args{x,     dt,     A,     B,     C,      D,     initial,
                     fresh, batch, tokens, heads, width, groups, states};
  kernels().ssd->forward(args, {y, last, kept});
}

UNVEIL_EXPORT void unveil_ssd_backward(const float* x, const float* dt, const float* A,
                                       const float* B, const float* C, const float* D,
                                       const uint8_t* fresh, const float* grad_y,
                                       const float* grad_last, const float* kept, float* after,
                                       float* grad_x, float* grad_dt, float* grad_A, float* grad_B,
                                       float* grad_C, float* grad_D, float* grad_initial,
                                       int64_t batch, int64_t tokens, int64_t heads, int64_t width,
                                       int64_t groups, int64_t states) {
  const SsdArgs args{x,     dt,     A,     B,     C,      D,     nullptr,
                     fresh, batch, tokens, heads, width, groups, states};
  kernels().ssd->backward(args, {grad_y, grad_last, kept, after, grad_x, grad_dt, grad_A, grad_B,
                                 grad_C, grad_D, grad_initial});
}
