"""Methods to evaluate: a network, a saved file, the identity, non-local means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unveil.errors import InputError, MissingExtraError
from unveil.evaluation.protocols import Image


class Method(Protocol):
    """Maps a degraded image to a restored one."""

    @property
    def name(self) -> str:
        """Name in reports."""

    @property
    def parameters(self) -> int | None:
        """Number of weights; None without a network."""

    @property
    def digest(self) -> str:
        """Digest of the weights; empty without a network."""

    @property
    def device(self) -> str:
        """Device, as torch names it."""

    def __call__(self, degraded: Image, sigma_255: float | None) -> Image:
        """Restore one image.

        Args:
            degraded: ``(h, w, 3)`` float32, nominally [0, 1].
            sigma_255: Level of the noise where the protocol adds some; only `nlm` uses it.

        Returns:
            Same shape, neither clipped nor rounded.
        """


@dataclass(frozen=True)
class Identity:
    """Returns its input: the score of the degraded images."""

    name: str = "identity"
    parameters: None = None
    digest: str = ""
    device: str = "cpu"

    def __call__(self, degraded: Image, sigma_255: float | None) -> Image:  # noqa: ARG002
        """Return the input."""
        return degraded


@dataclass(frozen=True)
class NonLocalMeans:
    """Colour non-local means of scikit-image, given the noise level.

    5×5 patches within 13×13 pixels, the fast form, h = 0.6·σ: on clean photos for training this
    scored best among h = 0.4–1.0·σ at 15 and 50 taken together, above the library example's 0.8·σ.

    Source: Buades, Coll, Morel, "A non-local algorithm for image denoising", CVPR 2005.
    """

    name: str = "nlm"
    parameters: None = None
    digest: str = ""
    device: str = "cpu"

    def __call__(self, degraded: Image, sigma_255: float | None) -> Image:
        """Denoise; needs `sigma_255`."""
        if sigma_255 is None:
            raise InputError("nlm needs the noise level: use a protocol that adds noise, --sigma")
        try:
            from skimage import restoration  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("non-local means", "eval") from error
        denoise: Any = restoration.denoise_nl_means
        sigma = sigma_255 / 255
        settings = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": 2}
        restored = denoise(degraded, h=0.6 * sigma, sigma=sigma, **settings)
        return np.asarray(restored, np.float32)


class NetworkMethod:
    """A network, run by `unveil.Restorer` on whole images."""

    def __init__(
        self, name: str, model: Any, *, digest: str = "", device: str = "cpu", tile: Any = "off"
    ) -> None:
        """Wrap a model.

        Args:
            name: Its name in reports.
            model: A network, or all that `unveil.Restorer` takes.
            digest: Identifies its weights.
            device: Its device, as torch names it.
            tile: As `unveil.Restorer`; ``"auto"`` for a network whose statistics are gathered in
                windows.
        """
        from unveil.inference import Restorer  # noqa: PLC0415 - imports torch

        self._restorer = Restorer(model, device=device, tile=tile)
        network = self._restorer.engine.model
        self.name = name
        self.parameters: int | None = sum(p.numel() for p in network.parameters())
        self.digest = digest
        self.device = str(self._restorer.engine.device)

    def __call__(self, degraded: Image, sigma_255: float | None) -> Image:  # noqa: ARG002
        """Restore with the network; it is not given the noise level."""
        out = np.empty_like(degraded)
        self._restorer.engine.restore(degraded, out)
        return out


def load_method(name: str, *, device: str = "auto") -> Method:
    """Return the method of a name.

    Args:
        name: ``identity``, ``nlm``, a file or folder of saved weights, the id of a model with
            bundled weights, or ``hf://owner/name``.
        device: Device of a network: ``auto`` takes a GPU when there is one.

    Raises:
        InputError: No model has that id, or there is no such device.
        CheckpointError: The file is not a model's, or the id has no bundled weights.

    >>> load_method("identity").name
    'identity'
    """
    simple: dict[str, Method] = {"identity": Identity(), "nlm": NonLocalMeans()}
    if name in simple:
        return simple[name]
    from unveil.inference.device import usable_device  # noqa: PLC0415
    from unveil.inference.loading import load  # noqa: PLC0415

    chosen = str(usable_device(device))
    loaded = load(name)
    window = loaded.tiling.window
    return NetworkMethod(
        _short(name),
        name if window else loaded.network,
        digest=loaded.digest + (f"-window{window}" if window else ""),
        device=chosen,
        tile="auto" if window else "off",
    )


# The name of version 0.1.
load_restorer = load_method


def _short(name: str) -> str:
    """Return the last parts of a path: reports must not hold folders of this machine."""
    path = Path(name)
    if name.startswith("hf://") or not path.exists():
        return name
    generic = path.stem in ("model", "best", "last", "final")
    return f"{path.resolve().parent.name}/{path.name}" if generic else path.resolve().name
