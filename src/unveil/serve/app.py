"""The server's application: the API, the page, and what stands in front of both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from unveil._version import __version__
from unveil.errors import BusyError
from unveil.serve.api import api_router
from unveil.serve.batches import Batches
from unveil.serve.docs_page import docs_page
from unveil.serve.engine import Engine
from unveil.serve.error_responses import answer_errors, described, sends
from unveil.serve.guard import Guard
from unveil.serve.jobs_api import jobs_router
from unveil.serve.limits import Limits
from unveil.serve.metrics import Metrics
from unveil.serve.settings import Settings
from unveil.serve.tools_api import tools_router

WEB = Path(__file__).parent / "web"
_STOP_S = 1.0


def build_app(settings: Settings, *, engine: Engine | None = None, page: bool = True) -> FastAPI:
    """Assemble the application.

    Args:
        settings: Options of the server.
        engine: Does the work, and is stopped with the application; None makes one.
        page: Whether to serve the web page, too.

    Returns:
        An ASGI application; ``app.state.engine`` is its engine.
    """
    engine = engine or Engine(settings)
    batches = Batches(engine)

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            engine.stop(_STOP_S)
            await batches.close()

    app = FastAPI(
        title="unveil",
        version=__version__,
        summary="Removes noise, rain and haze from photographs.",
        docs_url=None,
        redoc_url=None,
        lifespan=running,
    )
    app.state.engine = engine
    metrics = Metrics(engine)
    answer_errors(app, engine.store.folder)
    app.include_router(api_router(engine))
    app.include_router(jobs_router(engine, batches))
    app.include_router(tools_router(engine))
    _add_service_routes(app, engine, metrics)
    _describe(app, engine)
    if page:
        # Not mounted, as that would take unknown methods from the routes.
        app.router.default = _Page(directory=WEB, html=True)
    # The last is the outermost.
    app.add_middleware(Limits, engine=engine)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(metrics.counting)
    return app


def _add_service_routes(app: FastAPI, engine: Engine, metrics: Metrics) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["service"], responses=described(403, 503))
    async def healthz() -> dict[str, str]:
        """Say whether images are taken; needs no token."""
        if engine.queue.stopping:
            raise BusyError("the server is stopping", 10)
        return {"status": "ok"}

    @app.get("/metrics", tags=["service"], **sends({"content": {"text/plain": {}}}, 401, 403))
    async def show_metrics() -> Response:
        """Tell Prometheus about requests, images, the queue and memory."""
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))


def _describe(app: FastAPI, engine: Engine) -> None:
    """Make the OpenAPI document name the models and tasks that there are."""
    made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    for schema in made["components"]["schemas"].values():
        # Forms alone refuse other fields.
        if schema.get("additionalProperties") is False:
            fields = schema["properties"]
            if "model" in fields:
                fields["model"]["enum"] = [offer.id for offer in engine.catalogue.offers]
            if "task" in fields:
                fields["task"]["enum"] = list(engine.catalogue.tasks)
    if engine.settings.root_path:
        made["servers"] = [{"url": engine.settings.root_path}]
    if engine.settings.token is not None:
        made["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, methods in made["paths"].items():
            for operation in methods.values():
                if path != "/healthz":
                    operation["security"] = [{"token": []}]
    app.openapi = lambda: made  # type: ignore[method-assign]


class _Page(StaticFiles):
    """The page's files; browsers check on each visit whether they have changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
