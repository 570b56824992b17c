"""The HTTP API for single pictures: restore, inspect, models."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from unveil.imaging.formats import BMP, FORMATS, HEIC, JXL, PPM, Format, format_of_suffix
from unveil.inference.strength import Strength
from unveil.serve.answers import described
from unveil.serve.engine import Engine, Report, Restored
from unveil.serve.forms import InspectForm, Model, Models, RestoreForm, Seen, ServerLimits
from unveil.serve.settings import is_loopback
from unveil.serve.uploads import check_form, result, upload

_UPLOAD_ERRORS = (400, 401, 403, 408, 413, 415, 422, 503, 504)
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


def api_router(engine: Engine) -> APIRouter:
    """Return the routes below ``/v1``.

    Args:
        engine: Does the work.
    """
    router = APIRouter(prefix="/v1", tags=["api"])
    # Results are written one at a time: who waits for it must not hold a thread the page needs.
    writers = CapacityLimiter(2)

    @router.post(
        "/restore",
        response_class=Response,
        responses={200: image_described(), **described(*_UPLOAD_ERRORS)},
    )
    async def restore(
        request: Request, form: Annotated[RestoreForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Restore a picture: the same kind of file comes back, with its metadata."""
        await check_form(request)
        options = form.options()
        engine.check(options)
        async with upload(engine, form.image) as held:
            job = held.job = engine.submit(held.source, options, look=False)
            restored = await result(request, job, engine.settings.timeout_s)
            write = partial(
                restored.write,
                held.source.parent,
                strength=form.shares(),
                format=form.format,
                quality=form.quality,
            )
            target = await to_thread.run_sync(write, limiter=writers)
            held.keep = True
            return image_response(engine, target, restored, form.shares())

    @router.post("/inspect", responses=described(404, *_UPLOAD_ERRORS))
    async def inspect(
        request: Request, form: Annotated[InspectForm, Form(media_type="multipart/form-data")]
    ) -> Seen:
        """Say whether a picture is noisy (and how much), rainy, hazy or clean."""
        await check_form(request)
        if engine.catalogue.inspector(form.model) is None:
            which = "no model here can" if form.model is None else f"{form.model} cannot"
            raise HTTPException(404, f"{which} say what it sees; see /v1/models")
        async with upload(engine, form.image) as held:
            job = held.job = engine.submit_inspection(held.source, form.model)
            seen = await result(request, job, engine.settings.timeout_s)
        return report_of(seen)

    @router.get("/models", responses=described(401, 403))
    async def models() -> Models:
        """List the networks on offer, the default first."""
        found = [Model.model_validate(model) for model in engine.models()]
        settings = engine.settings
        limits = ServerLimits(
            max_bytes=settings.max_bytes,
            max_megapixels=settings.max_megapixels,
            keep_s=settings.keep_s,
            formats=[kind.name for kind in FORMATS if _is_readable(kind)],
            local=is_loopback(settings.host),
        )
        return Models(models=found, tasks=list(engine.tasks()), limits=limits)

    return router


def report_of(seen: Report | None) -> Seen:
    """Return what a network sees in a picture, as clients get it."""
    assert seen is not None
    return Seen(
        verdict=list(seen.verdict),
        probabilities={cause: round(p, 4) for cause, p in seen.probabilities.items()},
        sigma_255=round(seen.sigma_255, 1),
    )


def _is_readable(kind: Format) -> bool:
    needed = {HEIC: "pillow_heif", BMP: "PIL", JXL: "imagecodecs", PPM: "netpbmfile"}.get(kind)
    return needed is None or find_spec(needed) is not None


def image_response(engine: Engine, file: Path, restored: Restored, strength: Strength) -> Response:
    """Send a result, whose folder goes with it.

    Args:
        engine: Whose store holds the file.
        file: In a folder of its own.
        restored: What was written.
        strength: At which strength.
    """
    return _Leaving(engine, file, _told(restored, strength, restored.lost.pop(file, [])))


def _told(restored: Restored, strength: Strength, lost: list[str]) -> dict[str, str]:
    width, height = restored.size
    left_out = "; ".join(lost).encode("ascii", "replace").decode()
    return ({"X-Unveil-Left-Out": left_out} if lost else {}) | {
        "X-Unveil-Model": restored.model,
        "X-Unveil-Task": restored.task,
        "X-Unveil-Strength": f"{strength.luma:g}",
        "X-Unveil-Strength-Chroma": f"{strength.chroma:g}",
        "X-Unveil-Size": f"{width}x{height}",
        "X-Unveil-Megapixels": f"{width * height / 1e6:.6f}",
        "X-Unveil-Tiles": str(restored.tiles),
        "X-Unveil-Seconds": f"{restored.seconds:.3f}",
    }


class _Leaving(FileResponse):
    """A file that is sent whole, and removed however the sending ends."""

    def __init__(self, engine: Engine, file: Path, headers: dict[str, str]) -> None:
        kind = format_of_suffix(file)
        assert kind is not None
        # Parts of it cannot be asked for: it is gone once sent.
        headers = {**headers, "Accept-Ranges": "none"}
        super().__init__(file, 200, headers, f"image/{kind.name}", filename=file.name)
        self._engine, self._file = engine, file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        try:
            await super().__call__({**scope, "headers": headers}, receive, send)
        finally:
            self._engine.discard(self._file)


def image_described() -> dict[str, Any]:
    """Return what the OpenAPI document says about a result."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "description": "The restored picture.",
        "content": {f"image/{kind.name}": binary for kind in FORMATS},
        "headers": {
            name: {"description": text, "schema": {"type": kind}}
            for name, (kind, text) in _HEADERS.items()
        },
    }
