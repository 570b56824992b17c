"""The selective scan of Mamba, in 1-D and over images, with several backends."""

from unveil.ops.selective_scan.contract import ScanOrder
from unveil.ops.selective_scan.interface import selective_scan, selective_scan_2d

__all__ = ["ScanOrder", "selective_scan", "selective_scan_2d"]
