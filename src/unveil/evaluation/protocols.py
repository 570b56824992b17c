"""The named protocols: the input of the network, and the score of its output.

A number means something only beside its protocol, so every report prints all of its fields.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unveil.errors import InputError
from unveil.imaging.convert import from_levels, to_levels
from unveil.metrics import psnr, rgb_to_y, ssim

Image = NDArray[np.float32]


@dataclass(frozen=True)
class PsnrSsim:
    """One image against its clean partner: PSNR in dB, mean SSIM."""

    psnr: float
    ssim: float


# The name of version 0.1.
Scores = PsnrSsim


@dataclass(frozen=True)
class Protocol:
    """How test images are degraded and scored.

    Attributes:
        name: As given on the command line.
        data: Whether the folder holds clean images, pairs, or either.
        noise: Noise that the protocol adds to clean images: ``"float"`` is added in floating point
            and never clipped, each image starting from the seed; ``"gray"`` likewise, but one noise
            for all channels of an image made gray; ``"uint8"`` is clipped to 0–255 and truncated,
            one stream running through the images in the order of their names.
        crop_multiple: Sides are cut to a multiple of this, around the centre; 1 keeps all pixels.
        rounded: Whether the network's output is rounded to 8 bits before scoring; it is always
            clipped to [0, 1].
        colour: ``"rgb"``; ``"y"``: luma of MATLAB's rgb2ycbcr on the 8-bit image, rounded; or
            ``"gray"``: the mean of the channels, one channel.
        ssim_window: As in `unveil.metrics.ssim`.
        source: Whose scoring code this follows.
    """

    name: str
    data: Literal["clean", "pairs", "clean or pairs"]
    noise: Literal["float", "gray", "uint8"] | None
    crop_multiple: int
    rounded: bool
    colour: Literal["rgb", "y", "gray"]
    ssim_window: Literal["gaussian", "uniform"]
    source: str

    def crop(self, image: Image) -> Image:
        """Cut the sides of an ``(h, w, c)`` image to the protocol's multiple, around the centre."""
        height, width = image.shape[:2]
        top, left = (side % self.crop_multiple // 2 for side in (height, width))
        height, width = (side - side % self.crop_multiple for side in (height, width))
        return image[top : top + height, left : left + width]

    def score(self, restored: Image, clean: Image) -> PsnrSsim:
        """Score one image.

        Args:
            restored: ``(h, w, 3)`` RGB, nominally [0, 1], as the network gave it.
            clean: Same shape, in [0, 1].

        Returns:
            PSNR in dB and mean SSIM.

        Raises:
            InputError: The images cannot be compared or are smaller than the SSIM window.
        """
        if not np.isfinite(restored).all():
            raise InputError("the restored image has values that are not finite")
        pair = [image.astype(np.float64) for image in (restored, clean)]
        if self.colour == "gray":
            pair = [image.mean(axis=2) for image in pair]
        pair = [np.clip(image, 0, 1) for image in pair]
        data_range = 1.0
        if self.rounded:
            pair, data_range = [to_levels(image) for image in pair], 255.0
        if self.colour == "y":
            pair = [np.rint(rgb_to_y(image, data_range=data_range)) for image in pair]
        return PsnrSsim(
            psnr(*pair, data_range=data_range),
            ssim(*pair, data_range=data_range, window=self.ssim_window),
        )

    def as_scored(self, image: Image) -> Image:
        """Clip an image and, where the protocol does, round it to 8 bits.

        Args:
            image: ``(h, w, 3)``, nominally [0, 1].

        Returns:
            Same shape, in [0, 1].
        """
        clipped: Image = np.clip(image, 0, 1)
        return from_levels(to_levels(clipped)) if self.rounded else clipped

    def describe(self) -> dict[str, str]:
        """Describe every field in words, for people to read."""
        noise = {
            "float": "Gaussian, float, not clipped; RandomState(seed) anew for every image",
            "gray": (
                "Gaussian, float, not clipped, one for all channels of the image made gray (BT.601,"
                " 8 bits); RandomState(seed) anew for every image"
            ),
            "uint8": "Gaussian, clipped, truncated to uint8; one RandomState(seed) for all images",
            None: "none added",
        }
        windows = {
            "gaussian": "Gaussian 11×11, standard deviation 1.5 (Wang et al. 2004)",
            "uniform": "uniform 7×7 (scikit-image's defaults)",
        }
        colours = {
            "rgb": "RGB",
            "y": "Y of YCbCr (MATLAB's rgb2ycbcr, 16–235), rounded to 8 bits",
            "gray": "mean of the channels, one channel",
        }
        whole = self.crop_multiple == 1
        return {
            "data": self.data,
            "noise": noise[self.noise],
            "crop": "none" if whole else f"centre, to a multiple of {self.crop_multiple}",
            "output": "clipped, rounded to uint8" if self.rounded else "clipped, float",
            "colour": colours[self.colour],
            "SSIM window": windows[self.ssim_window],
            "mean": "over images",
            "follows": self.source,
        }

    def fields(self) -> dict[str, object]:
        """Return the fields as plain values, for JSON."""
        return asdict(self)


_ALL = (
    Protocol(
        name="gaussian-color",
        data="clean",
        noise="float",
        crop_multiple=1,
        rounded=True,
        colour="rgb",
        ssim_window="gaussian",
        source="test code of Restormer and KAIR (colour Gaussian denoising)",
    ),
    Protocol(
        name="gaussian-gray",
        data="clean",
        noise="gray",
        crop_multiple=1,
        rounded=True,
        colour="gray",
        ssim_window="gaussian",
        source="test code of DnCNN and KAIR (gray Gaussian denoising)",
    ),
    Protocol(
        name="all-in-one",
        data="clean or pairs",
        noise="uint8",
        crop_multiple=16,
        rounded=False,
        colour="rgb",
        ssim_window="uniform",
        source="test code of AirNet and PromptIR, which MTAIR uses",
    ),
    Protocol(
        name="rain-y",
        data="pairs",
        noise=None,
        crop_multiple=1,
        rounded=True,
        colour="y",
        ssim_window="gaussian",
        source="MATLAB scoring code of MPRNet and Restormer (deraining)",
    ),
    Protocol(
        name="paired-rgb",
        data="pairs",
        noise=None,
        crop_multiple=1,
        rounded=True,
        colour="rgb",
        ssim_window="gaussian",
        source="common practice for real noise, blur, rain and haze: 8-bit files, RGB",
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
# Two names of version 0.1 for one way of scoring.
ALIASES = {"rain-rgb": "paired-rgb"}


def protocol_named(name: str) -> Protocol:
    """Look a protocol up by a key of `PROTOCOLS` or `ALIASES`.

    Raises:
        InputError: There is none of that name.

    >>> protocol_named("all-in-one").crop_multiple
    16
    """
    name = ALIASES.get(name, name)
    if name not in PROTOCOLS:
        raise InputError(f"no protocol {name!r}: expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
