"""Operations on tensors; no modules, no parameters."""

from unveil.ops.selective_scan import ScanOrder, selective_scan, selective_scan_2d

__all__ = ["ScanOrder", "selective_scan", "selective_scan_2d"]
