"""Say what the all-in-one network sees in a picture."""

import torch

from unveil.imaging import Image
from unveil.inference.loading import read_out
from unveil.inference.readout import Sighting, look
from unveil.inference.restorer import Restorer


def inspect_image(restorer: Restorer, image: Image) -> Sighting:
    """Tell what a picture suffers from, as the network of `restorer` sees it.

    Args:
        restorer: With an all-in-one network whose weights hold a read-out.
        image: The picture.

    Returns:
        Probabilities per degradation, the estimated noise level, the verdict.

    Raises:
        CheckpointError: If the weights hold no read-out.
    """
    readout = read_out(restorer.loaded)
    with torch.inference_mode():
        context = restorer.engine.describe(image.pixels)
    return look(readout, restorer.loaded.network, context)
