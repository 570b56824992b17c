"""Metrics for Prometheus: requests, images, the queue, memory."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unveil.serve.engine import Engine
from unveil.serve.restored import Restored

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters of one server and of its engine's queue, in a registry of their own."""

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
        gauges: dict[tuple[str, str], Callable[[], float]] = {
            ("unveil_waiting", "Images in line."): lambda: engine.queue.waiting,
            ("unveil_running", "Images being restored."): lambda: int(engine.queue.running),
        }
        for names, value in gauges.items():
            Gauge(*names, registry=self._registry).set_function(value)
        engine.listeners.append(self._restored)

    def page(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self._registry)

    def counting(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with answers counted by route and status; what is no route is the page."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", "page")
                    self._requests.labels(route, str(message["status"])).inc()
                await send(message)

            await app(scope, receive, sending)

        return counted

    def _restored(self, restored: Restored) -> None:
        width, height = restored.size
        self._images.inc()
        self._megapixels.inc(width * height / 1e6)
        self._seconds.observe(restored.seconds)
