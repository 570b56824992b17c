"""How much the server reads: bounded bodies, bounded time, bounded number at once."""

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unveil.errors import BusyError
from unveil.serve.engine import Engine
from unveil.serve.guard import refusal
from unveil.serve.store import Store

UPLOADS = frozenset({"/v1/restore", "/v1/inspect"})

# An upload of which nothing comes for so long is given up.
IDLE_S = 30.0

# Beyond what is allowed: the other fields of a form, and what stands between them.
_FORM_BYTES = 64 * 1024
# What the page's elements tell the server: names and numbers, never a photo.
_MESSAGE_BYTES = 10**6
# Routes that bound their bodies themselves.
_OWN_LIMITS = "/page/"
_DRAIN_S = 5.0
# Requests beyond those that wait or run: they are sending, or being answered.
_MORE_AT_ONCE = 16


class Limits:
    """Middleware that refuses uploads before they cost anything.

    A refused body is read and dropped, within limits: a client that is still sending would
    otherwise see a broken connection instead of the answer.

    Args:
        app: What it protects.
        engine: Whose queue and limits count.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app, self._engine = app, engine
        self._max_bytes = engine.settings.max_bytes
        self._at_once, self._max_at_once = 0, engine.settings.queue + 1 + _MORE_AT_ONCE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on with its body counted."""
        path = scope.get("path", "")
        if scope["type"] != "http" or scope["method"] != "POST" or path.startswith(_OWN_LIMITS):
            await self._app(scope, receive, send)
            return
        limit = self._max_bytes if path in UPLOADS else _MESSAGE_BYTES
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit + _FORM_BYTES:
            if "expect" not in headers:
                await _drain(receive, self._max_bytes)
            await refusal(413, _too_large(limit))(scope, receive, send)
            return
        if path not in UPLOADS:
            await self._app(scope, _counted(receive, limit), send)
            return
        try:
            self._check()
        except BusyError as error:
            await _drain(receive, self._max_bytes)
            await refusal(503, str(error), _retry(error))(scope, receive, send)
            return
        self._at_once += 1
        try:
            await self._app(scope, _counted(receive, limit, self._engine.store), send)
        finally:
            self._at_once -= 1

    def _check(self) -> None:
        self._engine.queue.check()
        if self._at_once >= self._max_at_once:
            raise BusyError(f"{self._at_once} requests are being served; try again in 1 s", 1)


def _too_large(limit: int) -> str:
    return f"the upload is larger than {limit / 1e6:g} MB, which is the most taken here"


def _counted(receive: Receive, limit: int, store: Store | None = None) -> Receive:
    """Pass a body on while it is not too large, and there is room where `store` has its files."""
    size, whole = 0, False

    async def counting() -> Message:
        nonlocal size, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), IDLE_S)
        except TimeoutError:
            raise HTTPException(408, f"nothing came for {IDLE_S:g} s; send again") from None
        size += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        refused = _refused(size, limit, store)
        if refused is not None:
            if not whole:
                await _drain(receive, limit)
            raise refused
        return message

    return counting


def _refused(size: int, limit: int, store: Store | None) -> HTTPException | None:
    if size > limit + _FORM_BYTES:
        return HTTPException(413, _too_large(limit))
    try:
        if store is not None:
            store.check_room()
    except BusyError as error:
        return HTTPException(503, str(error), _retry(error))
    return None


def _retry(error: BusyError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_s)}


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
