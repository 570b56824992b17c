"""The web page: two tabs over the engine, in Gradio, with a few elements of its own."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from fastapi import FastAPI, HTTPException

from unveil._version import __version__
from unveil.serve.page import look, view
from unveil.serve.page.degrade_tab import DegradeTab, removed
from unveil.serve.page.desk import Desks
from unveil.serve.page.restore_tab import RestoreTab
from unveil.serve.page.routes import page_router, stamp
from unveil.serve.settings import is_loopback

if TYPE_CHECKING:
    from unveil.serve.engine import Engine

__all__ = ["build_page", "mount_page"]

_CSS = Path(__file__).parent / "page.css"


def build_page(engine: "Engine", desks: Desks | None = None) -> gr.Blocks:
    """Lay the page out.

    Args:
        engine: Restores.
        desks: Photos of all tabs; `mount_page` shares them with the routes the page needs.
    """
    desks = desks or Desks(engine)
    with gr.Blocks(
        title="unveil", analytics_enabled=False, fill_width=False, delete_cache=(600, 600)
    ) as page:
        place = "this machine" if is_loopback(engine.settings.host) else "this server"
        head = view.header(removed(engine.tasks()), place)
        gr.HTML(head, elem_classes="unveil-plain")
        with gr.Tabs(elem_id="unveil-tabs"):
            with gr.Tab("Restore", id="restore"):
                RestoreTab(desks).build(page)
            with gr.Tab("Degrade", id="degrade"):
                DegradeTab(desks).build(page)
        gr.HTML(view.footer(__version__, engine.settings.keep_s), elem_classes="unveil-plain")
    page.queue(max_size=64, api_open=False)
    laid_out: gr.Blocks = page
    return laid_out


def mount_page(app: FastAPI, engine: "Engine") -> FastAPI:
    """Mount the page at the root of `app`, after the routes that `app` already has.

    Args:
        app: Gets the page and its routes below ``/page``.
        engine: Restores.

    Returns:
        `app`.
    """
    desks = Desks(engine)
    app.include_router(page_router(desks))
    _close_upload(app)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(engine, desks),
        path="/",
        server_name=engine.settings.host,
        server_port=engine.settings.port,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=look.theme(),
        css_paths=_CSS,
        head=look.head(stamp()),
    )
    # Every click would be logged otherwise.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return mounted


def _close_upload(app: FastAPI) -> None:
    """Shut Gradio's own ways for files: photos come in and go out by ``/page`` alone."""

    @app.api_route("/gradio_api/upload", methods=["POST"], include_in_schema=False)
    @app.api_route("/gradio_api/file={path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    @app.api_route("/gradio_api/file/{path:path}", methods=["GET"], include_in_schema=False)
    def closed() -> None:
        raise HTTPException(404, "not here")
