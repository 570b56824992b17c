"""Metrics for Prometheus: requests, images, the queue, memory."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unveil.serve.engine import Engine
from unveil.serve.restored import Restored

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one server, in a registry of their own.

    Args:
        engine: Whose queue and files are shown.
    """

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "unveil_requests", "Answered requests.", ["path", "status"], registry=self._registry
        )
        self._images = Counter(
            "unveil_images", "Restored images, over API and page.", registry=self._registry
        )
        self._megapixels = Counter(
            "unveil_megapixels", "Restored megapixels.", registry=self._registry
        )
        self._seconds = Histogram(
            "unveil_restore_seconds",
            "Time the network took per image.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._gauge("unveil_waiting", "Images in line.", lambda: engine.queue.waiting)
        self._gauge("unveil_running", "Images being restored.", lambda: int(engine.queue.running))
        engine.listeners.append(self._restored)

    def page(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self._registry)

    def request(self, path: str, status: int) -> None:
        """Count an answer.

        Args:
            path: The route, not what clients put into it.
            status: Of HTTP.
        """
        self._requests.labels(path, str(status)).inc()

    def _restored(self, restored: Restored) -> None:
        width, height = restored.size
        self._images.inc()
        self._megapixels.inc(width * height / 1e6)
        self._seconds.observe(restored.seconds)

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        gauge = Gauge(name, text, registry=self._registry)
        gauge.set_function(value)


class Counted:
    """Middleware that counts answers by route and status; all but the API's routes are the page.

    Args:
        app: What it counts.
        metrics: Where.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on and count."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "page")
                self._metrics.request(route, message["status"])
            await send(message)

        await self._app(scope, receive, sending)
