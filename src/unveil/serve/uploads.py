"""Uploads of the API: into the store, refused where they are no image, gone when they are done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request, UploadFile
from starlette.exceptions import HTTPException

from unveil.errors import CancelledError, ImageFileError, ImageTooLargeError, TimedOutError
from unveil.serve.engine import Engine
from unveil.serve.error_responses import NotAnImageError
from unveil.serve.job_queue import QueuedJob

Result = TypeVar("Result")


async def check_form(request: Request) -> None:
    """Refuse what the parser lets pass: fields that are empty, or there twice.

    Raises:
        HTTPException: If there are any; an unset variable of a script must not mean the default.
    """
    if request.scope["route"].body_field is None:
        # The route takes no form, so nothing would close the files of one that is sent.
        return
    seen = set()
    takes_many = request.url.path.endswith("/v1/jobs")
    for name, value in (await request.form()).multi_items():
        if name in seen and not (takes_many and name == "image"):
            raise HTTPException(422, f"{name}: given more than once")
        if value == "":
            raise HTTPException(422, f"{name}: empty; give a value or leave it out")
        seen.add(name)


async def received(engine: Engine, image: UploadFile) -> Path:
    """Return an uploaded file, taken into the store.

    Args:
        engine: Whose store it goes to.
        image: The form's file.

    Raises:
        ImageTooLargeError: If it is larger than is allowed.
        NotAnImageError: If it is no image of a kind we read.
        BusyError: If there is no room for it.
    """
    try:
        return await to_thread.run_sync(engine.store.receive, named(image), image.file)
    except ImageTooLargeError:
        raise
    except ImageFileError as error:
        raise NotAnImageError(*error.args) from error
    finally:
        await image.close()


def named(image: UploadFile) -> str:
    """Return what the sender calls a file, in one line."""
    return " ".join((image.filename or "image").split())[:200] or "image"


@contextlib.asynccontextmanager
async def upload(engine: Engine, image: UploadFile) -> AsyncIterator[Path]:
    """Keep an uploaded file while its request is served; arguments and errors as `received`."""
    source = await received(engine, image)
    try:
        yield source
    finally:
        engine.store.discard(source)


async def result(request: Request, job: QueuedJob[Result]) -> Result:
    """Wait for a job as long as its client does, and no longer than jobs may take.

    Args:
        request: Of the client who waits.
        job: To wait for; cancelled where nobody waits any more.

    Raises:
        TimedOutError: If it is not done in time.
        CancelledError: If the client has gone.
        UnveilError: If the job failed.
    """
    done = asyncio.wrap_future(job.future)
    # Errors of a job that was given up need no handler.
    done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    gone = asyncio.ensure_future(_gone(request))
    try:
        either: set[asyncio.Future[Any]] = {done, gone}
        await asyncio.wait(either, timeout=job.timeout_s, return_when="FIRST_COMPLETED")
    finally:
        gone.cancel()
        if not done.done():
            job.cancel()
    if done.done():
        return done.result()
    if gone.done():
        raise CancelledError("the client has gone")
    raise TimedOutError(f"not done after {job.timeout_s:g} s; try a smaller image, or later")


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
