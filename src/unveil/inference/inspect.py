"""Degradation estimate of an image file."""

import torch

from unveil.imaging import Image
from unveil.imaging.convert import normalised
from unveil.inference.conditioning import probe_of
from unveil.inference.diagnosis import DegradationEstimate, estimate_degradation
from unveil.inference.image_files import check_range
from unveil.inference.restorer import Restorer
from unveil.inference.visible import visible_part


def inspect_image(restorer: Restorer, image: Image) -> DegradationEstimate:
    """Predict the degradations of an image from statistics of the network of `restorer`.

    Args:
        restorer: With an all-in-one network whose weights hold a linear probe.
        image: The image.

    Returns:
        Probabilities per degradation, the estimated noise level, the verdict.

    Raises:
        CheckpointError: If the weights hold no linear probe.
        InputError: If the file holds floats that run from 0 to 255 or so.
    """
    probe = probe_of(restorer.loaded)
    check_range(image)
    with torch.inference_mode():
        part = visible_part(image.pixels, image.alpha)
        pixels = image.pixels if part is None else part.pixels
        scaled = normalised(pixels, image.white)
        statistics = restorer.engine.collect_statistics(scaled)
    return estimate_degradation(probe, restorer.loaded.network, statistics)
