"""How near a restored image is to the clean one: PSNR, SSIM, and bands in smooth areas."""

from unveil.metrics.banding import banding
from unveil.metrics.luma import rgb_to_y
from unveil.metrics.psnr import psnr, psnr_y
from unveil.metrics.registry import Metric, metric_named, register_metric
from unveil.metrics.ssim import ssim, ssim_y

__all__ = [
    "Metric",
    "banding",
    "metric_named",
    "psnr",
    "psnr_y",
    "register_metric",
    "rgb_to_y",
    "ssim",
    "ssim_y",
]
