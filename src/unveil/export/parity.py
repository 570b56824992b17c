"""Run an exported file in ONNX Runtime and compare it with the network, before it is written."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from unveil.errors import OutputError

# Height and width: no multiple of anything, smaller than any network's multiple, and a photo's.
SIZES = ((1, 1), (7, 5), (65, 47), (256, 256), (1200, 800))
LEAST_DB, MOST = 80.0, 1e-4
# Of tiles, whose skips are kept in half precision: a value on the edge is rounded either way.
MOST_OF_TILES = 1e-3

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Agreement:
    """How well the file agrees with the network on one image.

    Attributes:
        height: Of the image.
        width: Of the image.
        db: Peak signal-to-noise ratio of the file's result against the network's, peak 1.
        largest: Largest difference of a sample, 1.0 being full scale.
    """

    height: int
    width: int
    db: float
    largest: float

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.height}×{self.width}: {self.db:.1f} dB, at most {self.largest:.1e} apart"


def open_session(model: onnx.ModelProto | bytes) -> Any:
    """Return an ONNX Runtime session on the CPU, with the threads torch has."""
    import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415 (an extra)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def compare(
    exported: Forward, network: Forward, sizes: Iterable[tuple[int, int]], most: float = MOST
) -> list[Agreement]:
    """Compare the file's results with the network's.

    Args:
        exported: The file: ``(1, 3, h, w)`` to the same shape.
        network: The network, likewise.
        sizes: Height and width of the images.
        most: Largest difference of a sample.

    Raises:
        OutputError: They differ by more than `most`, or agree to less than `LEAST_DB`.
    """
    found = []
    for height, width in sizes:
        image = _noisy_image(height, width)
        with torch.no_grad():
            difference = (exported(image) - network(image)).double()
        mean = difference.square().mean().item()
        db = math.inf if mean == 0 else -10 * math.log10(mean)
        found.append(Agreement(height, width, db, difference.abs().max().item()))
        # Not "worse than": what is no number must fail.
        if not (db >= LEAST_DB and found[-1].largest <= most):
            raise OutputError(
                f"the exported network differs from the network: {found[-1]}; expected "
                f"{LEAST_DB:.0f} dB or more and {most:.0e} or less; nothing was written"
            )
    return found


def _noisy_image(height: int, width: int) -> Tensor:
    """Return smooth colours with noise of σ 0.1, ``(1, 3, h, w)``, always the same."""
    noise = np.random.default_rng(0).normal(0, 0.1, (3, height, width))
    down = np.linspace(0, 3, height)[:, None]
    across = np.linspace(0, 5, width)[None]
    waves = [0.5 + 0.4 * np.sin(down * (c + 1) + across) for c in range(3)]
    return torch.from_numpy((np.stack(waves) + noise).astype(np.float32))[None]
