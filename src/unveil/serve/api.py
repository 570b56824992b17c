"""The HTTP API: restore, inspect, models."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from unveil.errors import CancelledError, ImageFileError, ImageTooLargeError, TimedOutError
from unveil.imaging.formats import FORMATS, format_of_suffix
from unveil.serve.answers import NotAnImageError, described
from unveil.serve.engine import Engine, Options, Restored, Tile
from unveil.serve.jobs import Job

Result = TypeVar("Result")
FormatName = Literal["jpeg", "png", "tiff", "webp", "avif", "heic", "bmp"]

_UPLOAD_ERRORS = (400, 401, 403, 408, 413, 415, 422, 503, 504)
_TILES = r"^(auto|off|6[4-9]|[7-9][0-9]|[1-9][0-9]{2,4})$"
_HEADERS = {
    "Content-Disposition": ("string", "A name for the file."),
    "X-Unveil-Model": ("string", "Network that was used."),
    "X-Unveil-Task": ("string", "What it was asked to do."),
    "X-Unveil-Strength": ("number", "Share of its change that was applied."),
    "X-Unveil-Size": ("string", "Width and height in pixels, as 640x480."),
    "X-Unveil-Megapixels": ("number", "Size in millions of pixels."),
    "X-Unveil-Tiles": ("integer", "In how many parts it was done."),
    "X-Unveil-Seconds": ("number", "Time the network took."),
}


class InspectForm(BaseModel):
    """What a client sends to have a picture looked at."""

    model_config = ConfigDict(extra="forbid")

    image: UploadFile = Field(description="JPEG, PNG, TIFF, WebP, AVIF, HEIC or BMP.")
    model: str | None = Field(
        default=None, description="Of /v1/models; default: the server's choice."
    )


class RestoreForm(InspectForm):
    """What a client sends to have a picture restored."""

    task: str = Field(
        default="auto", description="What to do; auto lets the network see for itself."
    )
    strength: float = Field(
        default=1.0, ge=0, le=1, description="Share of the change that is applied."
    )
    tile: str = Field(
        default="auto", pattern=_TILES, description="auto, off or a tile's side in pixels."
    )
    ensemble: bool = Field(
        default=False, description="Average over 8 flips and rotations: 8 times slower."
    )
    format: FormatName | None = Field(
        default=None, description="Of the result; default: as the upload."
    )
    quality: int | None = Field(default=None, ge=1, le=100, description="Of lossy formats.")

    def options(self) -> Options:
        """Return what the engine is told."""
        tile = int(self.tile) if self.tile.isdecimal() else self.tile
        return Options(self.model, self.task, self.strength, cast("Tile", tile), self.ensemble)


class Seen(BaseModel):
    """What a network sees in a picture."""

    verdict: list[str] = Field(description="Degradations more likely than not, or clean.")
    probabilities: dict[str, float] = Field(description="Of each degradation, 0 to 1.")
    sigma_255: float = Field(description="Standard deviation of the noise, on the 0-255 scale.")


class Model(BaseModel):
    """A network on offer."""

    id: str
    tasks: list[str] = Field(description="What it does beside auto.")
    inspects: bool = Field(description="Whether it says what is wrong with a picture.")
    parameters: int
    paper: str
    default: bool = Field(description="Whether it is taken when none is named.")


class Models(BaseModel):
    """All networks on offer, and what they do together."""

    models: list[Model]
    tasks: list[str]


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
        responses={200: _image_described(), **described(*_UPLOAD_ERRORS)},
    )
    async def restore(
        request: Request, form: Annotated[RestoreForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Restore a picture: the same kind of file comes back, with its metadata."""
        await _check_form(request)
        options = form.options()
        engine.check(options)
        async with _upload(engine, form.image) as upload:
            job = upload.job = engine.submit(upload.source, options, look=False)
            restored = await _result(request, job, engine.settings.timeout_s)
            write = partial(
                restored.write,
                upload.source.parent,
                strength=options.strength,
                format=form.format,
                quality=form.quality,
            )
            target = await to_thread.run_sync(write, limiter=writers)
            upload.keep = True
            return _Leaving(engine, target, _told(restored, options.strength))

    @router.post("/inspect", responses=described(404, *_UPLOAD_ERRORS))
    async def inspect(
        request: Request, form: Annotated[InspectForm, Form(media_type="multipart/form-data")]
    ) -> Seen:
        """Say whether a picture is noisy (and how much), rainy, hazy or clean."""
        await _check_form(request)
        if engine.catalogue.inspector(form.model) is None:
            which = "no model here can" if form.model is None else f"{form.model} cannot"
            raise HTTPException(404, f"{which} say what it sees; see /v1/models")
        async with _upload(engine, form.image) as upload:
            job = upload.job = engine.submit_inspection(upload.source, form.model)
            seen = await _result(request, job, engine.settings.timeout_s)
        assert seen is not None
        return Seen(
            verdict=list(seen.verdict),
            probabilities={cause: round(p, 4) for cause, p in seen.probabilities.items()},
            sigma_255=round(seen.sigma_255, 1),
        )

    @router.get("/models", responses=described(401, 403))
    async def models() -> Models:
        """List the networks on offer, the default first."""
        found = [Model.model_validate(model) for model in engine.models()]
        return Models(models=found, tasks=list(engine.tasks()))

    return router


async def _check_form(request: Request) -> None:
    """Refuse what the parser lets pass: fields that are empty, or there twice.

    Raises:
        HTTPException: If there are any; an unset variable of a script must not mean the default.
    """
    seen = set()
    for name, value in (await request.form()).multi_items():
        if name in seen:
            raise HTTPException(422, f"{name}: given more than once")
        if value == "":
            raise HTTPException(422, f"{name}: empty; give a value or leave it out")
        seen.add(name)


class _Upload:
    """An upload while it is served: gone afterwards, once nobody works on it."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.job: Job[Any] | None = None
        self.keep = False


@contextlib.asynccontextmanager
async def _upload(engine: Engine, image: UploadFile) -> AsyncIterator[_Upload]:
    name = image.filename or "image"
    try:
        source = await to_thread.run_sync(engine.receive, name, image.file)
    except ImageTooLargeError:
        raise
    except ImageFileError as error:
        raise NotAnImageError(*error.args) from error
    finally:
        await image.close()
    upload = _Upload(source)
    try:
        yield upload
    finally:
        if upload.job is not None and not upload.job.future.done():
            upload.job.cancel()
            upload.job.future.add_done_callback(lambda _: engine.discard(source))
        elif not upload.keep:
            engine.discard(source)


async def _result(request: Request, job: Job[Result], timeout_s: float) -> Result:
    """Wait for a job as long as its client does.

    Raises:
        TimedOutError: If it is not done in time.
        CancelledError: If the client has gone.
        UnveilError: If the job failed.
    """
    done = asyncio.wrap_future(job.future)
    # What a job that was given up ends with is nobody's business.
    done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    gone = asyncio.ensure_future(_gone(request))
    try:
        either: set[asyncio.Future[Any]] = {done, gone}
        await asyncio.wait(either, timeout=timeout_s, return_when="FIRST_COMPLETED")
    finally:
        gone.cancel()
    if done.done():
        return done.result()
    job.cancel()
    if gone.done() and not gone.cancelled():
        raise CancelledError("the client has gone")
    raise TimedOutError(f"not done after {timeout_s:g} s; try a smaller image, or later")


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _told(restored: Restored, strength: float) -> dict[str, str]:
    width, height = restored.size
    return {
        "X-Unveil-Model": restored.model,
        "X-Unveil-Task": restored.task,
        "X-Unveil-Strength": f"{strength:g}",
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


def _image_described() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "description": "The restored picture.",
        "content": {f"image/{kind.name}": binary for kind in FORMATS},
        "headers": {
            name: {"description": text, "schema": {"type": kind}}
            for name, (kind, text) in _HEADERS.items()
        },
    }
