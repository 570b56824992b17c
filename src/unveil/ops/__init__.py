"""Operations on tensors; no modules, no parameters."""

from unveil.ops.depthwise_conv import depthwise_conv
from unveil.ops.gated_depthwise import gated_depthwise
from unveil.ops.selective_scan import ScanOrder, selective_scan, selective_scan_2d

__all__ = ["ScanOrder", "depthwise_conv", "gated_depthwise", "selective_scan", "selective_scan_2d"]
