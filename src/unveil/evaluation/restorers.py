"""What can be evaluated: a network, a saved file, the identity, non-local means."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unveil.errors import InputError, MissingExtraError
from unveil.evaluation.protocols import Image


class Restorer(Protocol):
    """Maps a degraded image to a restored one."""

    @property
    def name(self) -> str:
        """How reports call it."""

    @property
    def parameters(self) -> int | None:
        """Number of weights; None without a network."""

    @property
    def digest(self) -> str:
        """Of the weights; empty without a network."""

    @property
    def device(self) -> str:
        """Where it runs."""

    def __call__(self, degraded: Image, sigma_255: float | None) -> Image:
        """Restore one image.

        Args:
            degraded: (h, w, 3) float32, nominally [0, 1].
            sigma_255: Level of the noise where the protocol adds some; only `nlm` is told.

        Returns:
            Same shape, neither clipped nor rounded.
        """


@dataclass(frozen=True)
class Identity:
    """Gives back what it gets: the score of the degraded images."""

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
            raise InputError(
                "nlm must know the noise level: use a protocol that adds noise, --sigma"
            )
        try:
            from skimage import restoration  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("non-local means", "eval") from error
        denoise: Any = restoration.denoise_nl_means
        sigma = sigma_255 / 255
        settings = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": 2}
        restored = denoise(degraded, h=0.6 * sigma, sigma=sigma, **settings)
        return np.asarray(restored, np.float32)


class Network:
    """A network of this package, run on whole images unless it is given a tiling."""

    def __init__(
        self, name: str, model: Any, *, digest: str = "", device: str = "cpu", tiling: Any = None
    ) -> None:
        """Wrap a model.

        Args:
            name: How reports call it.
            model: With the interface of `unveil.models`.
            digest: Tells its weights apart.
            device: Where it runs, in torch's words.
            tiling: `unveil.inference.engine.Tiling` of a network that gathers its statistics in
                windows; None runs it on whole images.
        """
        self.name = name
        self.parameters: int | None = sum(p.numel() for p in model.parameters())
        self.digest = digest
        self.device = device
        self._model = model.eval().to(device)
        self._tiling = tiling

    def __call__(self, degraded: Image, sigma_255: float | None) -> Image:  # noqa: ARG002
        """Restore with the network; it is not told the noise level."""
        import torch  # noqa: PLC0415

        from unveil.inference.engine import Engine  # noqa: PLC0415
        from unveil.inference.padding import restore_tensor  # noqa: PLC0415

        if self._tiling:
            out = np.empty_like(degraded)
            Engine(self._model, torch.device(self.device), self._tiling).restore(degraded, out)
            return out
        batch = torch.from_numpy(np.ascontiguousarray(degraded.transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            restored = restore_tensor(self._model, batch.to(self.device))[0]
        # Copying to the processor also waits for the device, so that the time taken is whole.
        pixels: Image = restored.permute(1, 2, 0).float().cpu().contiguous().numpy()
        return pixels


def load_restorer(name: str, *, device: str = "auto") -> Restorer:
    """Find what `name` means.

    Args:
        name: ``identity``, ``nlm``, a file or folder of saved weights, the id of a model with
            bundled weights, or ``hf://owner/name``.
        device: Where a network runs: ``auto`` takes a GPU when there is one.

    Returns:
        The restorer.

    Raises:
        InputError: No model has that id, or there is no such device.
        CheckpointError: The file is not a model's, or the id has no bundled weights.

    >>> load_restorer("identity").name
    'identity'
    """
    simple: dict[str, Restorer] = {"identity": Identity(), "nlm": NonLocalMeans()}
    if name in simple:
        return simple[name]
    from unveil.inference.device import usable_device  # noqa: PLC0415
    from unveil.inference.loading import load  # noqa: PLC0415

    chosen = str(usable_device(device))
    loaded = load(name)
    window = loaded.tiling.window
    return Network(
        _short(name),
        loaded.network,
        digest=loaded.digest + (f"-window{window}" if window else ""),
        device=chosen,
        tiling=loaded.tiling if window else None,
    )


def _short(name: str) -> str:
    """Cut a path down to what tells the file: reports travel, folders of this machine do not."""
    path = Path(name)
    if name.startswith("hf://") or not path.exists():
        return name
    generic = path.stem in ("model", "best", "last", "final")
    return f"{path.resolve().parent.name}/{path.name}" if generic else path.resolve().name
