// The C interface of the fused passes. All arrays are float, contiguous and not empty.
#include "passes.h"

using namespace unveil;

UNVEIL_EXPORT void unveil_depthwise_forward(const float* x, const float* weight, const float* bias,
                                            float* output, int64_t b, int64_t h, int64_t w,
                                            int64_t c, int32_t activation, float negative_slope,
                                            int32_t gated) {
  const DepthwiseArgs args{x, weight, bias, b, h, w, c, activation, negative_slope, gated};
  kernels().passes->depthwise_forward(args, output);
}

UNVEIL_EXPORT void unveil_depthwise_backward(const float* x, const float* weight, const float* bias,
                                             const float* grad_output, float* grad_x,
                                             float* grad_weight, float* grad_bias, int64_t b,
                                             int64_t h, int64_t w, int64_t c, int32_t activation,
                                             float negative_slope, int32_t gated) {
  const DepthwiseArgs args{x, weight, bias, b, h, w, c, activation, negative_slope, gated};
  kernels().passes->depthwise_backward(args, {grad_output, grad_x, grad_weight, grad_bias});
}
