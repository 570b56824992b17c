"""How much the server reads: bounded bodies, bounded time, bounded number at once."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unveil.errors import BusyError
from unveil.serve.engine import Engine
from unveil.serve.guard import refusal, retry_after
from unveil.serve.store import Store, disk_is_full

# Paths that take files, and how many times the largest file their bodies may be. All but those of
# jobs are put in line at once.
_JOBS = "/v1/jobs"
UPLOADS = {"/v1/restore": 1, "/v1/inspect": 1, "/v1/degrade": 1, "/v1/score": 2, _JOBS: 20}

# An upload of which nothing comes for so long is given up.
IDLE_S = 30.0
# One that drips is given up when it has been slower than that beyond those seconds.
_SLOWEST_BYTES_PER_S = 2000

_NO_FORM = (
    "expected a multipart form, as `curl -F image=@photo.jpg` sends; the body is something else"
)
_TOO_LARGE = "the upload is larger than {:g} MB, which is the most taken here"

# Beyond what is allowed: the other fields of a form, and what stands between them.
_FORM_BYTES = 64 * 1024
_MESSAGE_BYTES = 10**6
_MASK_BYTES = 16 * 10**6
_DRAIN_S = 5.0
# Requests beyond those that wait or run: they are sending, or being answered.
_MORE_AT_ONCE = 16


class Limits:
    """Middleware that refuses uploads before they cost anything.

    A refused body is read and dropped, within limits: a client that is still sending would
    otherwise see a broken connection instead of the answer.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app, self._engine = app, engine
        self._max_bytes = engine.settings.max_bytes
        self._at_once, self._max_at_once = 0, engine.settings.queue + 1 + _MORE_AT_ONCE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on with its body counted."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        path, headers = scope.get("path", ""), Headers(scope=scope)
        limit = self._limit(path)
        takes_file = scope["method"] == "POST" and (path in UPLOADS or path.endswith("/result"))
        refused = self._refused(path, headers, limit, takes_file)
        if refused is not None:
            if "expect" not in headers:
                await _drain(receive, self._max_bytes)
            await refused(scope, receive, send)
            return
        self._at_once += takes_file
        try:
            store = self._engine.store if takes_file else None
            await self._app(scope, _counted(receive, limit, store), send)
        finally:
            self._at_once -= takes_file

    def _limit(self, path: str) -> int:
        if path in UPLOADS:
            return UPLOADS[path] * self._max_bytes
        return _MASK_BYTES if path.endswith("/result") else _MESSAGE_BYTES

    def _refused(
        self, path: str, headers: Headers, limit: int, takes_file: bool
    ) -> Response | None:
        """Return the answer to a request that its head alone rules out."""
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit + _FORM_BYTES:
            return refusal(413, _TOO_LARGE.format(limit / 1e6))
        if not takes_file:
            return None
        if not headers.get("content-type", "").lower().startswith("multipart/form-data"):
            return refusal(415, _NO_FORM)
        try:
            if (path in UPLOADS and path != _JOBS) or self._engine.queue.stopping:
                self._engine.queue.check()
            if self._at_once >= self._max_at_once:
                raise BusyError(f"{self._at_once} requests are being served; try again in 1 s", 1)
        except BusyError as error:
            return refusal(503, str(error), retry_after(error))
        return None


def _counted(receive: Receive, limit: int, store: Store | None) -> Receive:
    """Pass a body on while it is not too large, and there is room where `store` has its files."""
    size, whole, began = 0, False, time.monotonic()

    async def counting() -> Message:
        nonlocal size, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), IDLE_S)
        except TimeoutError:
            raise HTTPException(408, f"nothing came for {IDLE_S:g} s; send again") from None
        size += len(message.get("body", b""))
        if time.monotonic() - began > IDLE_S + size / _SLOWEST_BYTES_PER_S:
            raise HTTPException(408, "the upload is too slow; send again over a faster connection")
        whole = not message.get("more_body", False)
        refused = None
        if size > limit + _FORM_BYTES:
            refused = HTTPException(413, _TOO_LARGE.format(limit / 1e6))
        elif store is not None and not store.has_room():
            # FastAPI takes any other error for a torn form.
            error = disk_is_full()
            refused = HTTPException(503, str(error), retry_after(error))
        if refused is not None:
            if not whole:
                await _drain(receive, limit)
            raise refused
        return message

    return counting


async def _drain(receive: Receive, limit: int) -> None:
    """Read and drop what is left of a body, up to `limit` bytes and some seconds."""
    size, end = 0, time.monotonic() + _DRAIN_S
    while size <= limit and (left := end - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(receive(), left)
        except TimeoutError:
            return
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
