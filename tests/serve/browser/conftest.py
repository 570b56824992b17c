"""Debian's Chromium on the page of a real server, with a tiny network, in this process."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")

from tests.serve.conftest import until  # noqa: E402

from unveil.serve.app import build_app  # noqa: E402
from unveil.serve.engine import Engine  # noqa: E402
from unveil.serve.settings import Settings  # noqa: E402

# Gradio's queue sums itself up in a background task, in ways that pandas is about to drop.
GRADIO_WARNINGS = [
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated:DeprecationWarning"),
]
# Containers run as root, and with little shared memory.
_ARGS = ["--no-sandbox", "--disable-dev-shm-usage"]
WAIT_MS = 60_000
DESKTOP: "sync_api.ViewportSize" = {"width": 1280, "height": 900}


@dataclass
class Site:
    """A running server."""

    url: str
    engine: Engine


@dataclass
class Seen:
    """What a browser did that it should not do."""

    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    requests: int = 0


@contextmanager
def running(settings: Settings, folder: Path) -> Iterator[Site]:
    engine = Engine(settings, folder=folder)
    config = uvicorn.Config(
        _built(engine),
        port=0,
        log_level="warning",
        ws="none",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Site(f"http://127.0.0.1:{port}/", engine)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def _built(engine: Engine) -> FastAPI:
    """Build the application inside a loop: without one Gradio makes some and leaves them open."""

    async def build() -> FastAPI:
        return build_app(engine.settings, engine=engine)

    # Playwright's loop runs in this thread.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(build())).result()


@pytest.fixture(scope="package")
def site(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = Settings(models=(tiny_weights,), threads=1)
    with running(settings, tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture(scope="package")
def browser() -> Iterator["sync_api.Browser"]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=_ARGS)
        yield found
        found.close()


@pytest.fixture(scope="package")
def watched() -> Seen:
    return Seen()


@pytest.fixture(scope="package")
def context(
    browser: "sync_api.Browser", site: Site, watched: Seen
) -> Iterator["sync_api.BrowserContext"]:
    found = browser.new_context(viewport=DESKTOP, accept_downloads=True)
    found.set_default_timeout(WAIT_MS)
    sync_api.expect.set_options(timeout=WAIT_MS)
    found.on("request", lambda request: _note(watched, request.url, site.url))
    found.on("console", lambda m: watched.errors.append(m.text) if m.type == "error" else None)
    found.on("weberror", lambda e: watched.errors.append(str(e.error)))
    found.on("dialog", lambda d: watched.errors.append(f"dialog: {d.message}"))
    yield found
    found.close()


@pytest.fixture
def seen(watched: Seen) -> Iterator[Seen]:
    """What the browser did in this test; the test fails if it did what it should not."""
    watched.errors.clear()
    yield watched
    assert watched.errors == []
    assert watched.foreign == []


def _note(seen: Seen, url: str, home: str) -> None:
    seen.requests += 1
    if not url.startswith((home, "data:", "blob:" + home)):
        seen.foreign.append(url)


@pytest.fixture(scope="package")
def tab(context: "sync_api.BrowserContext", site: Site) -> "sync_api.Page":
    return opened(context, site)


@pytest.fixture
def page(tab: "sync_api.Page", seen: Seen) -> Iterator["sync_api.Page"]:
    """The page without photos. Loading takes seconds, so that tests share one tab."""
    yield tab
    tab.set_viewport_size(DESKTOP)
    if seen.errors or tab.locator("#unveil-cancel").is_visible():
        tab.goto(tab.url)
        _ready(tab)
    tab.get_by_role("tab", name="Restore").click()
    while tab.locator(".unveil-strip li").count():
        left = tab.locator(".unveil-strip li").count()
        tab.locator(".unveil-strip .away").first.click()
        sync_api.expect(tab.locator(".unveil-strip li")).to_have_count(left - 1)


def opened(context: "sync_api.BrowserContext", site: Site) -> "sync_api.Page":
    """Return a new tab with the page, ready to be used."""
    tab = context.new_page()
    tab.goto(site.url)
    _ready(tab)
    return tab


def _ready(tab: "sync_api.Page") -> None:
    """Wait until the page has been drawn, which is the last thing that loading does."""
    tab.get_by_role("button", name="Drop photos here").wait_for()
    tab.locator("[data-sample]").first.wait_for()


def dropped(page: "sync_api.Page", *files: tuple[str, bytes], tab: int = 0) -> None:
    """Give files to the page, as its file chooser does."""
    given = [{"name": n, "mimeType": "application/octet-stream", "buffer": b} for n, b in files]
    page.locator("unveil-drop input").nth(tab).set_input_files(given)
