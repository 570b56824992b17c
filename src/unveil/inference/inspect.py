"""Say what the all-in-one network sees in a picture."""

import torch

from unveil.imaging import Image
from unveil.imaging.convert import normalised
from unveil.inference.loading import read_out
from unveil.inference.readout import Sighting, look
from unveil.inference.restorer import Restorer, check_range
from unveil.inference.visible import visible_part


def inspect_image(restorer: Restorer, image: Image) -> Sighting:
    """Tell what a picture suffers from, as the network of `restorer` sees it.

    Args:
        restorer: With an all-in-one network whose weights hold a read-out.
        image: The picture.

    Returns:
        Probabilities per degradation, the estimated noise level, the verdict.

    Raises:
        CheckpointError: If the weights hold no read-out.
        InputError: If the file holds floats that run from 0 to 255 or so.
    """
    readout = read_out(restorer.loaded)
    check_range(image)
    with torch.inference_mode():
        part = visible_part(image.pixels, image.alpha)
        pixels = image.pixels if part is None else part.pixels
        scaled = normalised(pixels, image.white)
        context = restorer.engine.describe(scaled)
    return look(readout, restorer.loaded.network, context)
