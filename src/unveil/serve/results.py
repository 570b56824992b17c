"""Results of the API, written into folders of their own and sent."""

from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from unveil.imaging.formats import FORMATS, format_of_suffix
from unveil.imaging.image import Uint8Image
from unveil.inference.strength import Strength
from unveil.serve.engine import Engine
from unveil.serve.error_responses import file_of
from unveil.serve.forms import StrengthForm
from unveil.serve.restored import Restored

_HEADERS = {
    "Content-Disposition": ("string", "A name for the file."),
    "X-Unveil-Model": ("string", "Network that was used."),
    "X-Unveil-Task": ("string", "What it was asked to do."),
    "X-Unveil-Strength": ("number", "Share of its change of luminance that was applied."),
    "X-Unveil-Strength-Chroma": ("number", "Share of its change of colour that was applied."),
    "X-Unveil-Size": ("string", "Width and height in pixels, as 640x480."),
    "X-Unveil-Megapixels": ("number", "Size in millions of pixels."),
    "X-Unveil-Tiles": ("integer", "In how many parts it was done."),
    "X-Unveil-Seconds": ("number", "Time the network took."),
    "X-Unveil-Left-Out": ("string", "What the result does not keep; absent where it keeps all."),
}
RESULT: dict[str, Any] = {
    "description": "The restored picture.",
    **file_of(*(f"image/{kind.name}" for kind in FORMATS)),
    "headers": {
        name: {"description": text, "schema": {"type": kind}}
        for name, (kind, text) in _HEADERS.items()
    },
}


async def result_file(
    engine: Engine, restored: Restored, form: StrengthForm, mask: Uint8Image | None = None
) -> Response:
    """Write a result, and answer with it; the file goes once it is sent.

    Args:
        engine: Whose store takes the file.
        restored: What is written.
        form: At which strength, in which format.
        mask: As `Restored.write`.
    """
    folder = engine.store.make_folder()
    write = partial(
        restored.write, folder, strength=form.shares(), format=form.format, quality=form.quality,
        mask=mask,
    )  # fmt: skip
    try:
        target = await to_thread.run_sync(write, limiter=engine.writers)
    except BaseException:
        engine.store.discard(folder / "x")
        raise
    return _Leaving(engine, target, _headers(restored, form.shares(), target))


def _headers(restored: Restored, strength: Strength, target: Path) -> dict[str, str]:
    width, height = restored.size
    headers = {
        "X-Unveil-Model": restored.model,
        "X-Unveil-Task": restored.task,
        "X-Unveil-Strength": f"{strength.luma:g}",
        "X-Unveil-Strength-Chroma": f"{strength.chroma:g}",
        "X-Unveil-Size": f"{width}x{height}",
        "X-Unveil-Megapixels": f"{width * height / 1e6:.6f}",
        "X-Unveil-Tiles": str(restored.tiles),
        "X-Unveil-Seconds": f"{restored.seconds:.3f}",
    }
    if lost := restored.lost.pop(target, []):
        headers["X-Unveil-Left-Out"] = "; ".join(lost).encode("ascii", "replace").decode()
    return headers


class _Leaving(FileResponse):
    """A file that is sent whole, and removed with its folder however the sending ends."""

    def __init__(self, engine: Engine, file: Path, headers: dict[str, str]) -> None:
        kind = format_of_suffix(file)
        assert kind is not None
        # Parts of it cannot be asked for: it is gone once sent.
        headers = {**headers, "Accept-Ranges": "none"}
        super().__init__(file, 200, headers, f"image/{kind.name}", filename=file.name)
        self._store, self._file = engine.store, file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        finally:
            self._store.discard(self._file)
