"""Operations on tensors; no modules, no parameters."""

from unveil.ops import _flops as _flops
from unveil.ops.causal_conv1d import causal_conv1d
from unveil.ops.channel_gram import channel_gram
from unveil.ops.depthwise_conv import depthwise_conv
from unveil.ops.gated_depthwise import gated_depthwise
from unveil.ops.gated_unit import gated_unit
from unveil.ops.gram_attention import gram_attention
from unveil.ops.layer_norm import layer_norm
from unveil.ops.norm_gate import norm_gate
from unveil.ops.pointwise_conv import pointwise_conv
from unveil.ops.selective_scan import ScanOrder, selective_scan, selective_scan_2d
from unveil.ops.silu_gate import silu_gate
from unveil.ops.token_attention import token_attention

__all__ = [
    "ScanOrder",
    "causal_conv1d",
    "channel_gram",
    "depthwise_conv",
    "gated_depthwise",
    "gated_unit",
    "gram_attention",
    "layer_norm",
    "norm_gate",
    "pointwise_conv",
    "selective_scan",
    "selective_scan_2d",
    "silu_gate",
    "token_attention",
]
