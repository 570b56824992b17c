"""The server's application: the API, the page, and what stands in front of both."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from unveil._version import __version__
from unveil.errors import BusyError, MissingExtraError
from unveil.serve.answers import answer_errors, described
from unveil.serve.api import api_router
from unveil.serve.docs_page import docs_page
from unveil.serve.engine import Engine
from unveil.serve.guard import Guard
from unveil.serve.limits import Limits
from unveil.serve.metrics import CONTENT_TYPE, Counted, Metrics
from unveil.serve.settings import Settings

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
    app = FastAPI(
        title="unveil",
        version=__version__,
        summary="Removes noise, rain and haze from photographs.",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(engine),
    )
    app.state.engine = engine
    metrics = Metrics(engine)
    answer_errors(app, engine.folder)
    app.include_router(api_router(engine))
    _add_service_routes(app, engine, metrics)
    _describe(app, engine)
    paths = _refuse_other_methods(app)
    if page:
        _mount_page(app, engine)
    # The last is the outermost.
    app.add_middleware(Limits, engine=engine)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Counted, metrics=metrics, paths=paths)
    return app


def _lifespan(engine: Engine) -> Any:
    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            engine.stop(_STOP_S)

    return running


def _add_service_routes(app: FastAPI, engine: Engine, metrics: Metrics) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["service"], responses=described(403, 503))
    async def healthz() -> dict[str, str]:
        """Say whether images are taken; needs no token."""
        if engine.queue.stopping:
            raise BusyError("the server is stopping", 10)
        return {"status": "ok"}

    @app.get(
        "/metrics",
        tags=["service"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **described(401, 403)},
    )
    async def show_metrics() -> Response:
        """Tell Prometheus about requests, images, the queue and memory."""
        return Response(metrics.page(), media_type=CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))


def _describe(app: FastAPI, engine: Engine) -> None:
    """Make the OpenAPI document name the models and tasks that there are."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            schemas = made["components"]["schemas"]
            for name in ("InspectForm", "RestoreForm"):
                fields = {k: _plain(field) for k, field in schemas[name]["properties"].items()}
                fields["model"]["enum"] = [offer.id for offer in engine.catalogue.offers]
                schemas[name]["properties"] = fields
            schemas["RestoreForm"]["properties"]["task"]["enum"] = list(engine.tasks())
            if engine.settings.token is not None:
                _demand_token(made)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """Return a field's schema without null, which a form cannot hold: it is left out instead."""
    choices = [c for c in field.get("anyOf", []) if c.get("type") != "null"]
    rest = {key: value for key, value in field.items() if key != "anyOf"}
    return rest | choices[0] if choices else rest


def _demand_token(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if path != "/healthz":
                operation["security"] = [{"token": []}]


def _refuse_other_methods(app: FastAPI) -> frozenset[str]:
    """Answer what the API does not know ourselves: the page behind it takes any path.

    Returns:
        The API's paths.
    """
    known = {path: list(operations) for path, operations in app.openapi()["paths"].items()}
    known |= {"/docs": ["get"], "/openapi.json": ["get"]}
    for path, methods in known.items():
        app.router.routes.append(Route(path, _Refusing(methods)))
    app.router.routes.append(Route("/v1/{rest:path}", _Refusing([])))
    return frozenset(known)


class _Refusing:
    def __init__(self, methods: list[str]) -> None:
        self._allowed = ", ".join(sorted(method.upper() for method in methods))

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        if not self._allowed:
            raise HTTPException(404, f"nothing at {scope['path']}; see /docs")
        reason = f"{scope['method']} is not for here; {self._allowed} is"
        raise HTTPException(405, reason, {"Allow": self._allowed})


def _mount_page(app: FastAPI, engine: Engine) -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(engine.folder / "page")
    try:
        from unveil.serve.page import mount_page  # noqa: PLC0415 - seconds; reads what is set above
    except ModuleNotFoundError as error:
        raise MissingExtraError("the page of unveil serve", "serve") from error
    mount_page(app, engine)
