"""How many connections a client may hold, and how long one may stall."""

import asyncio
from collections import defaultdict
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# Beyond that a client's oldest connection without a request in progress is closed. More than the
# requests and streams that are served at once, so that there is always one.
PER_CLIENT = 256
# A request's head has to be whole after so long, and an answer has to move.
HEAD_S = 15.0
STALL_S = 60.0


class Connection(H11Protocol):
    """An HTTP connection that gives way to newer ones and is closed when it stalls.

    Args:
        clients: Connections by client address, the oldest first; shared by all of a server.
        args: As for uvicorn's protocol.
        kwargs: Likewise.
    """

    def __init__(self, clients: dict[str, dict[H11Protocol, None]], *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._clients = clients
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def _serves(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the connection; close the client's oldest idle one if it has too many."""
        super().connection_made(transport)
        mine = self._clients[self._client_name()]
        mine[self] = None
        if len(mine) > PER_CLIENT:
            oldest = next((c for c in mine if isinstance(c, Connection) and not c._serves), self)
            oldest.transport.abort()
        self._limit("head", HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        for name in [*self._timers]:
            self._lift(name)
        mine = self._clients.get(self._client_name(), {})
        mine.pop(self, None)
        if not mine:
            self._clients.pop(self._client_name(), None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; those of a head must not drip for ever."""
        if not self._serves:
            self._limit("head", HEAD_S)
        super().data_received(data)
        if self._serves:
            self._lift("head")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; an answer in progress is given up, not sent after it."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Wait for a client that does not read its answer, for a while."""
        super().pause_writing()
        self._limit("answer", STALL_S)

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        self._lift("answer")

    def _client_name(self) -> str:
        return self.client[0] if self.client else ""

    def _limit(self, name: str, seconds: float) -> None:
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _lift(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def limited_connections() -> Any:
    """Return what uvicorn takes as its HTTP protocol, with a count of its own."""
    return partial(Connection, defaultdict(dict))
