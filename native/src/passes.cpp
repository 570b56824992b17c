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

UNVEIL_EXPORT void unveil_norm_forward(const float* x, const float* gate, const float* weight,
                                       const float* bias, float* output, int64_t rows,
                                       int64_t channels, float epsilon) {
  kernels().passes->norm_forward({x, gate, weight, bias, rows, channels, epsilon}, output);
}

UNVEIL_EXPORT void unveil_norm_backward(const float* x, const float* gate, const float* weight,
                                        const float* bias, const float* grad_output, float* grad_x,
                                        float* grad_gate, float* grad_weight, float* grad_bias,
                                        int64_t rows, int64_t channels, float epsilon) {
  kernels().passes->norm_backward({x, gate, weight, bias, rows, channels, epsilon},
                                  {grad_output, grad_x, grad_gate, grad_weight, grad_bias});
}

UNVEIL_EXPORT void unveil_silu_gate_forward(const float* x, const float* gate, float* output,
                                            int64_t size) {
  kernels().passes->silu_gate_forward(x, gate, output, size);
}

UNVEIL_EXPORT void unveil_silu_gate_backward(const float* x, const float* gate, const float* grad,
                                             float* grad_x, float* grad_gate, int64_t size) {
  kernels().passes->silu_gate_backward(x, gate, grad, grad_x, grad_gate, size);
}

UNVEIL_EXPORT void unveil_causal_conv_forward(const float* x, const float* weight,
                                              const float* bias, float* output, int64_t b,
                                              int64_t h, int64_t w, int64_t d, int64_t taps,
                                              int32_t by_column, int32_t reversed,
                                              int32_t activation) {
  const CausalConvArgs args{x, weight, bias, b, h, w, d, taps, by_column, reversed, activation};
  kernels().passes->causal_conv_forward(args, output);
}

UNVEIL_EXPORT void unveil_causal_conv_backward(const float* x, const float* weight,
                                               const float* bias, const float* grad_output,
                                               float* grad_x, float* grad_weight, float* grad_bias,
                                               int64_t b, int64_t h, int64_t w, int64_t d,
                                               int64_t taps, int32_t by_column, int32_t reversed,
                                               int32_t activation) {
  const CausalConvArgs args{x, weight, bias, b, h, w, d, taps, by_column, reversed, activation};
  kernels().passes->causal_conv_backward(args, {grad_output, grad_x, grad_weight, grad_bias});
}

UNVEIL_EXPORT void unveil_unit_forward(
    const float* x, const float* norm_weight, const float* norm_bias, const float* expand,
    const float* weight, const float* bias, const float* project, float* kept, float* output,
    int64_t b, int64_t h, int64_t w, int64_t c, int64_t inner, int32_t activation, float epsilon) {
  kernels().passes->gated_unit_forward({x, norm_weight, norm_bias, expand, weight, bias, project,
                                        b, h, w, c, inner, activation, epsilon, kept},
                                       output);
}

UNVEIL_EXPORT void unveil_unit_backward(
    const float* x, const float* norm_weight, const float* norm_bias, const float* expand,
    const float* weight, const float* bias, const float* project, float* kept,
    const float* grad_output, float* grad_x, float* grad_norm_weight, float* grad_norm_bias, float* grad_expand,
    float* grad_weight, float* grad_bias, float* grad_project, int64_t b, int64_t h, int64_t w,
    int64_t c, int64_t inner, int32_t activation, float epsilon) {
  kernels().passes->gated_unit_backward({x, norm_weight, norm_bias, expand, weight, bias, project,
                                         b, h, w, c, inner, activation, epsilon, kept},
                                        {grad_output, grad_x, grad_norm_weight, grad_norm_bias,
                                         grad_expand, grad_weight, grad_bias, grad_project});
}

UNVEIL_EXPORT void unveil_pointwise_forward(const float* x, const float* second,
                                            const float* weight, const float* residual,
                                            float* output, int64_t b, int64_t h, int64_t w,
                                            int64_t c, int64_t outputs, int64_t matrices,
                                            int32_t sampling) {
  kernels().passes->pointwise_forward(
      {x, second, weight, residual, b, h, w, c, outputs, matrices, sampling}, output);
}

UNVEIL_EXPORT void unveil_pointwise_weight(const float* x, const float* second, const float* grad,
                                           float* grad_weight, int64_t b, int64_t h, int64_t w,
                                           int64_t c, int64_t outputs, int64_t matrices,
                                           int32_t sampling) {
  kernels().passes->pointwise_weight(
      {x, second, nullptr, nullptr, b, h, w, c, outputs, matrices, sampling}, grad, grad_weight);
}

UNVEIL_EXPORT void unveil_gram(const float* x, float* output, int64_t b, int64_t pixels,
                               int64_t channels) {
  kernels().passes->gram(x, b, pixels, channels, output);
}

UNVEIL_EXPORT void unveil_token_attention(const float* x, const float* y, const float* gain,
                                          const float* keys, const float* values,
                                          const float* matrix, float* output, int64_t b,
                                          int64_t pixels, int64_t c, int64_t tokens, int64_t heads,
                                          int64_t sets) {
  kernels().passes->token_attention(
      {x, y, gain, keys, values, matrix, b, pixels, c, tokens, heads, sets}, output);
}

UNVEIL_EXPORT void unveil_token_attention_backward(
    const float* x, const float* y, const float* gain, const float* keys, const float* values,
    const float* matrix, const float* grad_output, float* grad_x, float* grad_y, float* grad_gain,
    float* grad_keys, float* grad_values, float* grad_matrix, int64_t b, int64_t pixels, int64_t c,
    int64_t tokens, int64_t heads, int64_t sets) {
  kernels().passes->token_attention_backward(
      {x, y, gain, keys, values, matrix, b, pixels, c, tokens, heads, sets},
      {grad_output, grad_x, grad_y, grad_gain, grad_keys, grad_values, grad_matrix});
}

UNVEIL_EXPORT void unveil_gram_attention_forward(
    const float* gram, const float* out, const float* query, const float* key, const float* value,
    const float* temperature, float* kept, float* output, int64_t b, int64_t c, int64_t outputs,
    int64_t heads) {
  kernels().passes->gram_attention_forward(
      {gram, out, query, key, value, temperature, b, c, outputs, heads, kept}, output);
}

UNVEIL_EXPORT void unveil_gram_attention_backward(
    const float* gram, const float* out, const float* query, const float* key, const float* value,
    const float* temperature, float* kept, const float* grad_output, float* grad_gram,
    float* grad_out, float* grad_query, float* grad_key, float* grad_value,
    float* grad_temperature, int64_t b, int64_t c, int64_t outputs, int64_t heads) {
  kernels().passes->gram_attention_backward(
      {gram, out, query, key, value, temperature, b, c, outputs, heads, kept},
      {grad_output, grad_gram, grad_out, grad_query, grad_key, grad_value, grad_temperature});
}
