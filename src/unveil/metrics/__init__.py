"""How near a restored image is to the clean one: PSNR, SSIM, and bands in smooth areas."""

from unveil.metrics.banding import banding
from unveil.metrics.luma import rgb_to_y
from unveil.metrics.psnr import psnr, psnr_y
from unveil.metrics.ssim import ssim, ssim_y

__all__ = ["banding", "psnr", "psnr_y", "rgb_to_y", "ssim", "ssim_y"]
