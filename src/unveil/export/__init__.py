"""Networks as files for other programs: ONNX, and darktable's packages of it."""

from unveil.export.darktable import export_darktable
from unveil.export.onnx import Exported, export_onnx

__all__ = ["Exported", "export_darktable", "export_onnx"]
