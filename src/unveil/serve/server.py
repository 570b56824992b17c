"""Run the application: listen, serve until a signal, answer running requests, clean up."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from unveil.errors import InputError
from unveil.process import stop_signals
from unveil.serve.app import build_app
from unveil.serve.connections import limited_connections
from unveil.serve.engine import Engine
from unveil.serve.settings import Settings

# Together below the ten seconds after which supervisors lose patience.
_GRACE_S = 5.0
_CLOSE_S = 6
# Longer than clients and proxies keep idle connections: one that the server closes first may have
# its next request under way. `PER_CLIENT` bounds their number.
_KEEP_ALIVE_S = 75
_BACKLOG = 256


def run_server(settings: Settings, ready: Callable[[str], None], *, page: bool = True) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: Options of the server.
        ready: Called with the address once it listens.
        page: Whether to serve the web page, too.

    Raises:
        InputError: If the address cannot be listened on.
        UnveilError: As `Engine`.
    """
    with contextlib.closing(_listen(settings.host, settings.port)) as listening:
        engine = Engine(settings)
        try:
            app = build_app(settings, engine=engine, page=page)
            config = uvicorn.Config(
                app,
                log_level=logging.WARNING,
                access_log=False,
                ws="none",
                http=limited_connections(),
                server_header=False,
                timeout_graceful_shutdown=_CLOSE_S,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
            server = _Server(config, engine, lambda: ready(_address(settings, listening)))
            # uvicorn raises the signal again afterwards, which must not end us before we clean.
            with stop_signals(lambda *_: None):
                asyncio.run(server.serve(sockets=[listening]))
        finally:
            engine.stop(0)


class _Server(uvicorn.Server):
    """Stops the engine's queue at once on a signal, so that waiting requests are answered."""

    def __init__(self, config: uvicorn.Config, engine: Engine, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._engine, self._ready = engine, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop serving."""
        super().handle_exit(sig, frame)
        # In a thread: a signal may have interrupted the holder of any lock.
        threading.Thread(target=self._engine.queue.stop, args=(_GRACE_S,), daemon=True).start()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"host {host}: {error.strerror or error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; give another --port "
            "(0 takes a free one) or --host"
        ) from error
    return listening


def _address(settings: Settings, listening: socket.socket) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listening.getsockname()[1]}/"
