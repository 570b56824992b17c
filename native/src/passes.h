// The fused channels-last passes: arguments, and the table each instruction set fills.
#pragma once
#include "kernels.h"

namespace unveil {

// A depth-wise 3x3 convolution of (b, h, w, c) and what follows it. With `gated` the first half of
// the channels goes through the activation and multiplies the second half.
struct DepthwiseArgs {
  const float *x, *weight, *bias;  // weight (c, 9); bias (c) or null
  int64_t batch, height, width, channels;
  int32_t activation;  // 0 none, 1 SiLU, 2 GELU, 3 leaky ReLU
  float negative_slope;
  int32_t gated;
};

struct DepthwiseGrads {
  const float* output;
  float *x, *weight, *bias;  // bias is always written
};

struct PassKernels {
  void (*depthwise_forward)(const DepthwiseArgs& args, float* output);
  void (*depthwise_backward)(const DepthwiseArgs& args, const DepthwiseGrads& grads);
};

// `parallel_for` for a callable of one index.
template <class Task>
void for_each_task(int64_t count, int64_t updates, const Task& task) {
  const RangeFunction run = [](int64_t begin, int64_t end, void* context) {
    for (int64_t i = begin; i < end; ++i) (*static_cast<const Task*>(context))(i);
  };
  parallel_for(count, updates, run, const_cast<Task*>(&task));
}

}  // namespace unveil

namespace unveil::portable { extern const PassKernels passes; }
namespace unveil::avx2 { extern const PassKernels passes; }
namespace unveil::avx512 { extern const PassKernels passes; }

#if defined(UNVEIL_ISA)
namespace unveil::UNVEIL_ISA {

void depthwise_forward(const DepthwiseArgs& args, float* output);
void depthwise_backward(const DepthwiseArgs& args, const DepthwiseGrads& grads);

}  // namespace unveil::UNVEIL_ISA
#endif
