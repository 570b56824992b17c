"""A widget for napari: restore an image layer (`napari.yaml` beside the package declares it)."""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from unveil.models.checkpoint import bundled_weights

if TYPE_CHECKING:
    from collections.abc import Generator

    from unveil.imaging.image import Array
    from unveil.inference.tiling import Progress


class _StoppedError(Exception):
    """The user pressed Cancel."""


def restore_layer(
    image: "Array",
    model: str = "mtair_small",
    strength: float = 1.0,
    progress: "Progress | None" = None,
) -> "Array":
    """Return a restored copy of an image layer's data.

    Args:
        image: ``(h, w)`` or ``(h, w, 3)``, or a stack ``(n, h, w)`` of grey images; 8 or 16 bits,
            or floats, which are scaled to [0, 1] by their range while they are restored.
        model: The network's id.
        strength: Share of the change that is applied, 0 to 1.
        progress: Called with the share that is done; what it raises ends the work.

    >>> restore_layer(np.zeros((8, 9), np.uint8), "cu_mamba_small").shape
    (8, 9)
    """
    from unveil.inference.restorer import Restorer  # noqa: PLC0415 (napari imports this at start)

    restorer = Restorer(model, strength=strength)
    pixels = np.asarray(image)
    stack = pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)
    frames = list(pixels if stack else [pixels])
    made = []
    for i, frame in enumerate(frames):

        def advance(share: float, done: int = i) -> None:
            if progress is not None:
                progress((done + share) / len(frames))

        made.append(_restored(restorer, frame, advance))
    return np.stack(made) if stack else made[0]


def _restored(restorer: Any, pixels: "Array", progress: "Progress") -> "Array":
    if pixels.dtype.kind != "f":
        restored: Array = restorer(pixels, progress=progress)
        return restored
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    span = high - low or 1.0
    scaled = ((pixels - low) / span).astype(np.float32)
    made: Array = restorer(scaled, progress=progress)
    return (made * span + low).astype(pixels.dtype)


def _reported(
    data: "Array", model: str, strength: float, stopped: threading.Event
) -> "Generator[float, None, Array | None]":
    """Restore in a thread, and yield the share that is done; return None once `stopped` is set."""
    share = [0.0]
    made: list[Any] = []
    news = threading.Event()

    def advance(done: float) -> None:
        share[0] = done
        news.set()
        if stopped.is_set():
            raise _StoppedError

    def restore() -> None:
        try:
            made.append(restore_layer(data, model, strength, advance))
        except Exception as error:
            made.append(error)
        news.set()

    threading.Thread(target=restore, daemon=True).start()
    while not made:
        news.wait()
        news.clear()
        yield share[0]
    if isinstance(made[0], _StoppedError):
        return None
    if isinstance(made[0], Exception):
        raise made[0]
    restored: Array = made[0]
    return restored


def restore_widget() -> Any:
    """Return the controls: layer, network, strength, a button, progress, and a way to stop.

    The network runs in a thread of its own, so that the window stays usable. Results are added to
    the viewer in which the controls were opened.
    """
    from magicgui import widgets  # type: ignore[import-not-found]  # noqa: PLC0415 (napari's)
    from napari import current_viewer  # type: ignore[import-not-found]  # noqa: PLC0415
    from napari.layers import Image  # type: ignore[import-not-found]  # noqa: PLC0415
    from napari.qt.threading import create_worker  # type: ignore[import-not-found]  # noqa: PLC0415

    layer = widgets.create_widget(annotation=Image, label="image", name="image")
    model = widgets.ComboBox(name="model", choices=list(bundled_weights()), value="mtair_small")
    strength = widgets.FloatSlider(name="strength", value=1.0, min=0.0, max=1.0)
    start = widgets.PushButton(name="restore", text="Restore")
    stop = widgets.PushButton(name="cancel", text="Cancel", enabled=False)
    bar = widgets.ProgressBar(name="progress", label="", min=0, max=100, value=0)
    stopped, viewer = threading.Event(), current_viewer()

    def begin() -> None:
        source = layer.value
        if source is None:
            return
        stopped.clear()
        start.enabled, stop.enabled = False, True
        data = np.array(source.data)
        worker = create_worker(_reported, data, model.value, strength.value, stopped)
        worker.yielded.connect(lambda share: setattr(bar, "value", round(100 * share)))
        worker.returned.connect(lambda made: add(source, made))
        worker.finished.connect(end)
        worker.start()

    def add(source: Any, made: "Array | None") -> None:
        if made is not None:
            like = {"rgb": source.rgb, "scale": source.scale, "translate": source.translate}
            viewer.add_image(made, name=f"{source.name} restored", **like)

    def end() -> None:
        start.enabled, stop.enabled, bar.value = True, False, 0

    start.clicked.connect(begin)
    stop.clicked.connect(stopped.set)
    return widgets.Container(widgets=[layer, model, strength, start, stop, bar])
