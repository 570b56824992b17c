"""How near a restored image is to the clean one: PSNR and SSIM, in RGB and on luma."""

from unveil.metrics.luma import rgb_to_y
from unveil.metrics.psnr import psnr, psnr_y
from unveil.metrics.ssim import ssim, ssim_y

__all__ = ["psnr", "psnr_y", "rgb_to_y", "ssim", "ssim_y"]
