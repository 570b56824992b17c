"""The routes below /v1/jobs: many files, progress as server-sent events, results for a while."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, UploadFile
from fastapi import Path as InPath
from starlette.responses import FileResponse, Response, StreamingResponse

from unveil.errors import BusyError, InputError, UnveilError
from unveil.imaging import load_rgb
from unveil.imaging.image import Uint8Image
from unveil.serve import forms
from unveil.serve.api import inspector, seen_in
from unveil.serve.batches import MOST_IMAGES, Batch, Batches, Item
from unveil.serve.engine import Engine
from unveil.serve.error_responses import described, file_of, sends
from unveil.serve.results import RESULT, result_file
from unveil.serve.store import plain_message
from unveil.serve.uploads import check_form, named, received, result, upload

# Of a picture, from 0.
_NUMBER = InPath(ge=0, le=MOST_IMAGES)
_TICK_S = 0.2
_ALIVE_S = 15.0
_MOST_STREAMS = 64
_MASK_MEGAPIXELS = 16
_ERRORS = (401, 403, 404, 422, 503)
_EVENTS = {
    "description": "`job` with the status, `image` with the index and status of each picture that "
    "changes, and `end` with the status once nothing waits or runs.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_JPEG = file_of("image/jpeg")
_SENDING_ERRORS = (400, 408, 413, 415, *_ERRORS)


def jobs_router(engine: Engine, batches: Batches) -> APIRouter:
    """Return the routes below ``/v1/jobs``; a job's id is all that is needed to read it.

    Args:
        engine: Does the work.
        batches: Keeps the jobs.
    """
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(check_form)])
    _add_jobs(router, engine, batches)
    _add_pictures(router, engine, batches)
    _add_results(router, engine, batches)
    return router


def _add_jobs(router: APIRouter, engine: Engine, batches: Batches) -> None:
    streams = asyncio.Semaphore(_MOST_STREAMS)

    @router.post("", status_code=201, responses=described(*_SENDING_ERRORS))
    async def create(form: Annotated[forms.JobForm, forms.MULTIPART]) -> forms.JobStatus:
        """Take pictures in, and restore them one after the other."""
        options = form.options()
        engine.check(options)
        if len(form.image) > MOST_IMAGES:
            raise InputError(f"a job holds {MOST_IMAGES} pictures, not {len(form.image)}")
        items: list[Item] = []
        try:
            for image in form.image:
                items.append(await _item(engine, image))  # noqa: PERF401
            batch = batches.add(items)
        except BaseException:
            # Nobody could ask for these files.
            engine.store.discard(*(item.source for item in items if item.source is not None))
            raise
        if form.start:
            batches.start(batch, options)
        return batch.status()

    @router.get("/{job}", responses=described(*_ERRORS))
    async def show(job: str) -> forms.JobStatus:
        """Say how far a job is."""
        return batches.job(job).status()

    @router.post("/{job}/start", responses=described(*_SENDING_ERRORS))
    async def start(job: str, form: Annotated[forms.RunForm, forms.MULTIPART]) -> forms.JobStatus:
        """Restore the pictures of a job, or restore them again with other options."""
        batch = batches.job(job)
        batches.start(batch, form.options())
        return batch.status()

    @router.post("/{job}/cancel", responses=described(*_ERRORS))
    async def cancel(job: str) -> forms.JobStatus:
        """Stop restoring; the pictures and what has been restored stay."""
        batch = batches.job(job)
        batches.cancel(batch)
        return batch.status()

    @router.delete("/{job}", status_code=204, responses=described(*_ERRORS))
    async def remove(job: str) -> Response:
        """Stop restoring, and delete the pictures and the results."""
        batches.remove(batches.job(job))
        return Response(status_code=204)

    @router.get("/{job}/events", **sends(_EVENTS, *_ERRORS))
    async def events(job: str) -> Response:
        """Send the progress of a job as server-sent events."""
        batch = batches.job(job)
        if streams.locked():
            raise BusyError(f"{_MOST_STREAMS} streams are open already; try again in 2 s", 2)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        sent = _events(engine, batch, streams)
        return StreamingResponse(sent, media_type="text/event-stream", headers=headers)


def _add_pictures(router: APIRouter, engine: Engine, batches: Batches) -> None:
    @router.get("/{job}/images/{number}/seen", responses=described(504, *_ERRORS))
    async def seen(request: Request, job: str, number: Annotated[int, _NUMBER]) -> forms.Seen:
        """Say what the network sees in a picture."""
        _, source = batches.picture(job, number)
        looking = engine.submit_inspection(source, inspector(engine))
        return seen_in(await result(request, looking))

    @router.get("/{job}/images/{number}/before", **sends(_JPEG, 413, 415, *_ERRORS))
    async def before(job: str, number: Annotated[int, _NUMBER]) -> Response:
        """Return the picture as it came, as a JPEG that browsers can show."""
        _, source = batches.picture(job, number)
        return _shown(await to_thread.run_sync(engine.preview, source, limiter=engine.writers))

    @router.get("/{job}/images/{number}/after", **sends(_JPEG, *_ERRORS))
    async def after(job: str, number: Annotated[int, _NUMBER]) -> Response:
        """Return the restored picture at full strength, as a JPEG that browsers can show."""
        preview = batches.restored(job, number).preview
        return _shown(await to_thread.run_sync(preview, limiter=engine.writers))


def _add_results(router: APIRouter, engine: Engine, batches: Batches) -> None:
    @router.get("/{job}/images/{number}/result", **sends(RESULT, *_ERRORS))
    async def fetch(
        job: str, number: Annotated[int, _NUMBER], form: Annotated[forms.StrengthForm, Query()]
    ) -> Response:
        """Return a restored picture at any strength; the network does not run again."""
        return await result_file(engine, batches.restored(job, number), form)

    @router.post("/{job}/images/{number}/result", **sends(RESULT, *_SENDING_ERRORS))
    async def fetch_masked(
        job: str,
        number: Annotated[int, _NUMBER],
        form: Annotated[forms.ResultForm, forms.MULTIPART],
    ) -> Response:
        """Return a restored picture, with parts kept as they were."""
        made = batches.restored(job, number)
        mask = None if form.mask is None else await _mask(engine, form.mask)
        return await result_file(engine, made, form, mask)


async def _item(engine: Engine, image: UploadFile) -> Item:
    name = named(image)
    try:
        return Item(name, await received(engine, image))
    except BusyError:
        raise
    except UnveilError as error:
        return Item(name, None, plain_message(error, engine.store.folder), state="failed")


async def _events(engine: Engine, batch: Batch, streams: asyncio.Semaphore) -> AsyncIterator[str]:
    async with streams:
        last = batch.status()
        yield _event("job", last.model_dump())
        quiet, running = 0.0, True
        # Once more after its end, so that the last changes are sent.
        while running:
            running = batch.running and not engine.queue.stopping
            if running:
                await asyncio.sleep(_TICK_S)
            quiet += _TICK_S
            now = batch.status()
            for i, image in enumerate(now.images):
                if image != last.images[i]:
                    quiet = 0.0
                    yield _event("image", {"index": i, **image.model_dump()})
            last = now
            if quiet > _ALIVE_S:
                quiet = 0.0
                batch.touch()
                yield ": waiting\n\n"
        yield _event("end", batch.status().model_dump())


def _event(kind: str, data: object) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


async def _mask(engine: Engine, mask: UploadFile) -> Uint8Image:
    async with upload(engine, mask) as source:

        def read() -> Uint8Image:
            with engine.store.holding(source):
                return load_rgb(source, max_megapixels=_MASK_MEGAPIXELS)[..., 0].copy()

        return await to_thread.run_sync(read)


def _shown(file: Path) -> Response:
    # The address of a result changes with the result.
    return FileResponse(file, headers={"Cache-Control": "private, no-cache"})
