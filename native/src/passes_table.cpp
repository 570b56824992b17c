// The fused passes of one instruction set.
#include "passes.h"
#include "table.h"

namespace unveil::UNVEIL_ISA {

const PassKernels passes = {
    depthwise_forward,
    depthwise_backward,
    norm_forward,
    norm_backward,
    silu_gate_forward,
    silu_gate_backward,
    causal_conv_forward,
    causal_conv_backward,
    gated_unit_forward,
    gated_unit_backward,
    pointwise_forward,
    pointwise_weight,
    token_attention,
    token_attention_backward,
    gram,
    gram_attention_forward,
    gram_attention_backward,
};

}  // namespace unveil::UNVEIL_ISA
