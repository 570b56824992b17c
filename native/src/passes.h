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

// Layer normalisation of (rows, channels), times SiLU(gate) where there is a gate.
struct NormArgs {
  const float *x, *gate, *weight, *bias;  // gate, bias: or null
  int64_t rows, channels;
  float epsilon;
};

struct NormGrads {
  const float* output;
  float *x, *gate, *weight, *bias;  // bias is always written, gate where there is one
};

// A causal depth-wise convolution along the tokens of (b, h, w, d), in one of the scan orders.
struct CausalConvArgs {
  const float *x, *weight, *bias;  // weight (d, taps), the last tap for the present; bias or null
  int64_t batch, height, width, channels, taps;  // at most 4 taps
  int32_t by_column, reversed;
  int32_t activation;  // 0 none, 1 SiLU
};

struct CausalConvGrads {
  const float* output;
  float *x, *weight, *bias;  // bias is always written
};

// Normalisation, 1x1, depth-wise 3x3, activation(first half) * second half and, where `project` is
// given, 1x1 and the input added.
struct GatedUnitArgs {
  const float *x, *norm_weight, *norm_bias;  // x (b, h, w, c); norm_bias: or null
  const float* expand;                       // (2 inner, c)
  const float *weight, *bias;                // depth-wise, (2 inner, 9) and (2 inner) or null
  const float* project;                      // (c, inner) or null
  int64_t batch, height, width, channels, inner;
  int32_t activation;
  float epsilon;
  // Or null: where the forward keeps the expansion for the backward, which else computes it anew.
  // 2 inner floats a pixel, inner rounded up to a multiple of 16; at a multiple of 64 bytes.
  float* kept;
};

struct GatedUnitGrads {
  const float* output;
  // Both biases are always written, `project` where there is one.
  float *x, *norm_weight, *norm_bias, *expand, *weight, *bias, *project;
};

// A linear map of the channels of (b, h, w, c), by one matrix for all images or one for each.
struct PointwiseArgs {
  const float *x, *second;  // (b, h, w, c); second: more channels, as many, or null
  const float* weight;      // (matrices, outputs, inputs), matrices 1 or b
  const float* residual;    // added to the output; or null
  int64_t batch, height, width, channels, outputs, matrices;
  // 1 maps every 2x2 patch to a position: x is (b, 2h, 2w, c), inputs are 4 c in the order (row,
  // column, channel). 2 maps every position to such a patch of outputs / 4 channels.
  int32_t sampling;
};

// x gain + softmax(y keys') values' + y matrix', per pixel: attention to `tokens` of the image, the
// softmax over each head's tokens / heads. One set of matrices for all images, or one for each.
struct TokenAttentionArgs {
  const float *x, *y;                           // (b, pixels, c)
  const float *gain, *keys, *values, *matrix;   // (c), (tokens, c), (c, tokens), (c, c)
  int64_t batch, pixels, channels, tokens, heads, sets;  // sets 1 or b
};

struct TokenAttentionGrads {
  const float* output;
  float *x, *y, *gain, *keys, *values, *matrix;
};

// Attention over channels from their inner products, folded into the matrices around it; see
// gram_attention.cpp. Channels are a multiple of 16.
struct GramAttentionArgs {
  const float* gram;                          // (b, c, c), symmetric
  const float *out, *query, *key, *value;     // (outputs, c), (c, c)
  const float* temperature;                   // (heads)
  int64_t batch, channels, outputs, heads;
  // (b, c, 2 c + channels of a head, rounded up to a multiple of 16): for the backward; the forward
  // does without it.
  float* kept;
};

struct GramAttentionGrads {
  const float* output;
  float *gram, *out, *query, *key, *value, *temperature;
};

struct PassKernels {
  void (*depthwise_forward)(const DepthwiseArgs& args, float* output);
  void (*depthwise_backward)(const DepthwiseArgs& args, const DepthwiseGrads& grads);
  void (*norm_forward)(const NormArgs& args, float* output);
  void (*norm_backward)(const NormArgs& args, const NormGrads& grads);
  void (*silu_gate_forward)(const float* x, const float* gate, float* output, int64_t size);
  void (*silu_gate_backward)(const float* x, const float* gate, const float* grad, float* grad_x,
                             float* grad_gate, int64_t size);
  void (*causal_conv_forward)(const CausalConvArgs& args, float* output);
  void (*causal_conv_backward)(const CausalConvArgs& args, const CausalConvGrads& grads);
  void (*gated_unit_forward)(const GatedUnitArgs& args, float* output);
  void (*gated_unit_backward)(const GatedUnitArgs& args, const GatedUnitGrads& grads);
  void (*pointwise_forward)(const PointwiseArgs& args, float* output);
  void (*pointwise_weight)(const PointwiseArgs& args, const float* grad, float* grad_weight);
  void (*token_attention)(const TokenAttentionArgs& args, float* output);
  void (*token_attention_backward)(const TokenAttentionArgs& args,
                                   const TokenAttentionGrads& grads);
  void (*gram)(const float* x, int64_t batch, int64_t pixels, int64_t channels, float* output);
  void (*gram_attention_forward)(const GramAttentionArgs& args, float* output);
  void (*gram_attention_backward)(const GramAttentionArgs& args, const GramAttentionGrads& grads);
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
namespace unveil::neon { extern const PassKernels passes; }

#if defined(UNVEIL_ISA)
namespace unveil::UNVEIL_ISA {

void depthwise_forward(const DepthwiseArgs& args, float* output);
void depthwise_backward(const DepthwiseArgs& args, const DepthwiseGrads& grads);
void norm_forward(const NormArgs& args, float* output);
void norm_backward(const NormArgs& args, const NormGrads& grads);
void silu_gate_forward(const float* x, const float* gate, float* output, int64_t size);
void silu_gate_backward(const float* x, const float* gate, const float* grad, float* grad_x,
                        float* grad_gate, int64_t size);
void causal_conv_forward(const CausalConvArgs& args, float* output);
void causal_conv_backward(const CausalConvArgs& args, const CausalConvGrads& grads);
void gated_unit_forward(const GatedUnitArgs& args, float* output);
void gated_unit_backward(const GatedUnitArgs& args, const GatedUnitGrads& grads);
void pointwise_forward(const PointwiseArgs& args, float* output);
void pointwise_weight(const PointwiseArgs& args, const float* grad, float* grad_weight);
void token_attention(const TokenAttentionArgs& args, float* output);
void token_attention_backward(const TokenAttentionArgs& args, const TokenAttentionGrads& grads);
void gram(const float* x, int64_t batch, int64_t pixels, int64_t channels, float* output);
void gram_attention_forward(const GramAttentionArgs& args, float* output);
void gram_attention_backward(const GramAttentionArgs& args, const GramAttentionGrads& grads);

}  // namespace unveil::UNVEIL_ISA
#endif
