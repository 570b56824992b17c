"""What the page fetches beside Gradio's own: photos in, previews and results out."""

import asyncio
import hashlib
import shutil
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, cast

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import ClientDisconnect

from unveil.imaging.write import replacing
from unveil.inference.plan import Naming
from unveil.serve.limits import IDLE_S
from unveil.serve.page.desk import Desk, Desks, Photo, Preview
from unveil.serve.page.samples import CLEAN, SAMPLES, sample_named
from unveil.serve.store import Store

_HERE = Path(__file__).parent
_STATIC = {"page.js": "text/javascript", "drop.js": "text/javascript"}
_GONE = "this photo is no longer on the server; drop it again"
# Uploads taken in side by side.
_AT_ONCE = 4
# What was written at another strength stays so long: another request may be about to send it.
_SENDING_S = 60.0

Strength = Annotated[float, Query(ge=0, le=1)]


def stamp() -> str:
    """Return a word that changes with the page's own files, so that browsers fetch new ones."""
    parts = [(_HERE / name).read_bytes() for name in _STATIC]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def page_router(desks: Desks) -> APIRouter:
    """Return the routes below ``/page``; who knows a key may have what it names."""
    router = APIRouter(prefix="/page", include_in_schema=False)
    sending = asyncio.Semaphore(_AT_ONCE)

    @router.get("/static/{name}")
    def static(name: str) -> FileResponse:
        if name not in _STATIC:
            raise HTTPException(404, "no such file")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(_HERE / name, media_type=_STATIC[name], headers=headers)

    @router.get("/samples/{name}")
    def sample(name: str) -> Response:
        found = sample_named(name, (*SAMPLES, *CLEAN))
        if found is None:
            raise HTTPException(404, "no such sample")
        headers = {"Cache-Control": "public, max-age=86400"}
        return Response(found.thumbnail(), media_type="image/png", headers=headers)

    @router.post("/photos")
    async def photos(
        request: Request, desk: str, purpose: str, name: str, choose: bool = True
    ) -> JSONResponse:
        found = desks.find(desk)
        if found is None:
            raise HTTPException(404, "this page is out of date; reload it")
        act = partial(desks.add, choose=choose) if purpose == "restore" else desks.set_clean
        async with sending:
            photo = await _receive(request, desks, name, lambda file: act(found, name, file))
        return JSONResponse({"key": photo.key})

    @router.get("/seen/{key}/{which}")
    def seen(key: str, which: Preview) -> FileResponse:
        file = _photo(desks, key).preview(which)
        if not file.exists():
            raise HTTPException(404, _GONE)
        # The address of a result changes with the result.
        return FileResponse(file, headers={"Cache-Control": "private, max-age=600"})

    @router.post("/files/{key}")
    def prepare(key: str, strength: Strength = 1.0) -> Response:
        photo = _photo(desks, key)
        _prepared(photo, strength)
        return Response(status_code=204)

    @router.get("/files/{key}")
    def file(key: str, strength: Strength = 1.0) -> FileResponse:
        photo = _photo(desks, key)
        written = _prepared(photo, strength)
        return _attachment(written, Naming()(photo.source))

    @router.post("/zip/{key}")
    def prepare_zip(key: str, strength: Strength = 1.0) -> Response:
        _zipped(desks.engine.store, _desk(desks, key), strength)
        return Response(status_code=204)

    @router.get("/zip/{key}")
    def whole(key: str, strength: Strength = 1.0) -> FileResponse:
        written = _zipped(desks.engine.store, _desk(desks, key), strength)
        return _attachment(written, "unveil.zip")

    return router


async def _receive(
    request: Request, desks: Desks, name: str, act: Callable[[BinaryIO], Photo]
) -> Photo:
    """Write a request's body to a temporary file, within limits, and do something with it."""
    limit, size = desks.engine.settings.max_bytes, 0
    with tempfile.TemporaryFile(dir=desks.engine.folder) as file:
        async for chunk in _arriving(request, name):
            size += len(chunk)
            if size > limit:
                raise HTTPException(413, f"{name}: more than {limit / 1e6:g} MB, the most taken")
            desks.engine.store.check_room()
            file.write(chunk)
        file.seek(0)
        return await asyncio.to_thread(act, cast("BinaryIO", file))


async def _arriving(request: Request, name: str) -> AsyncIterator[bytes]:
    """Yield a request's body; one that stops coming must not keep others from sending."""
    chunks = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, f"{name}: nothing came for {IDLE_S:g} s") from None
        except ClientDisconnect:
            raise HTTPException(400, f"{name}: the upload was broken off") from None
        yield chunk


def _photo(desks: Desks, key: str) -> Photo:
    photo = desks.photo(key)
    if photo is None or not photo.source.exists():
        raise HTTPException(404, _GONE)
    photo.touch()
    return photo


def _desk(desks: Desks, key: str) -> Desk:
    desk = desks.find(key)
    if desk is None:
        raise HTTPException(404, "these photos are no longer on the server; drop them again")
    desk.touch()
    return desk


def _prepared(photo: Photo, strength: float) -> Path:
    """Write a result in its own format, unless it is there already."""
    if photo.restored is None:
        raise HTTPException(409, "this photo has not been restored yet")
    mark = f"take-{photo.version}-{strength:.3f}"
    target = photo.file(mark + photo.source.suffix)
    if not target.exists():
        _remove_older(target.parent, ".page-take-*")
        photo.restored.write(target, strength=strength)
    return target


def _zipped(store: Store, desk: Desk, strength: float) -> Path:
    """Write a zip of all results of a desk, one file after the other, never in memory."""
    done = [photo for photo in [*desk.photos.values()] if photo.restored]
    if not done:
        raise HTTPException(409, "nothing has been restored yet")
    versions = "".join(f"{photo.key}{photo.version}" for photo in done)
    mark = hashlib.sha256(f"{versions}{strength:.3f}".encode()).hexdigest()[:16]
    target = done[0].file(f"all-{mark}.zip")
    if target.exists():
        return target
    _remove_older(target.parent, ".page-all-*")
    names: set[str] = set()
    with (
        store.holding(target),
        replacing(target) as half,
        # Images are compressed already.
        zipfile.ZipFile(half, "w", zipfile.ZIP_STORED) as archive,
    ):
        for photo in done:
            name = unique_name(Naming()(photo.source), names)
            written = _prepared(photo, strength)
            with written.open("rb") as source, archive.open(name, "w", force_zip64=True) as entry:
                shutil.copyfileobj(source, entry, 2**20)
    return target


def _remove_older(folder: Path, pattern: str) -> None:
    for older in folder.glob(pattern):
        # Another request may remove it, too.
        with suppress(OSError):
            if time.time() - older.stat().st_mtime > _SENDING_S:
                older.unlink()


def unique_name(name: str, taken: set[str]) -> str:
    """Return `name`, with a number where it is taken, and note it in `taken`.

    Names that differ in case only are the same on many systems.

    >>> taken = set()
    >>> [unique_name(name, taken) for name in ("a.jpg", "A.jpg", "a.jpg")]
    ['a.jpg', 'A (2).jpg', 'a (3).jpg']
    """
    path, number, wanted = Path(name), 1, name
    while wanted.lower() in taken:
        number += 1
        wanted = f"{path.stem} ({number}){path.suffix}"
    taken.add(wanted.lower())
    return wanted


def _attachment(file: Path, name: str) -> FileResponse:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return FileResponse(file, media_type="application/octet-stream", filename=name, headers=headers)
