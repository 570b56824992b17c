"""Debian's Chromium on the page of a real server, with a tiny network, in this process."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")

from tests.serve.conftest import WAIT_S, until  # noqa: E402

from unveil.serve.app import build_app  # noqa: E402
from unveil.serve.engine import Engine  # noqa: E402
from unveil.serve.settings import Settings  # noqa: E402

# Containers run as root, and with little shared memory.
_ARGS = ["--no-sandbox", "--disable-dev-shm-usage"]
WAIT_MS = 1000 * WAIT_S
DESKTOP: "sync_api.ViewportSize" = {"width": 1440, "height": 900}
PHONE: "sync_api.ViewportSize" = {"width": 390, "height": 844}


@dataclass
class Site:
    """A running server."""

    url: str
    engine: Engine


@dataclass
class Seen:
    """What a browser did that it should not do.

    Attributes:
        expected: Parts of messages that a test brings about; they may come late.
    """

    messages: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        return [m for m in self.messages if not any(part in m for part in self.expected)]


@contextmanager
def running(settings: Settings, folder: Path) -> Iterator[Site]:
    engine = Engine(settings, folder=folder)
    config = uvicorn.Config(
        build_app(settings, engine=engine),
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
        thread.join(WAIT_S)
        assert not thread.is_alive()


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


@contextmanager
def watching(
    browser: "sync_api.Browser", home: str, **options: object
) -> Iterator[tuple["sync_api.BrowserContext", Seen]]:
    """Open a browser's profile of its own, and note what it should not do."""
    seen = Seen()
    given = {"viewport": DESKTOP, "accept_downloads": True, "locale": "en-GB", **options}
    found = browser.new_context(**given)
    found.set_default_timeout(WAIT_MS)
    sync_api.expect.set_options(timeout=WAIT_MS)

    def note(url: str) -> None:
        seen.urls.append(url)
        if not url.startswith((home, "data:", f"blob:{home}")):
            seen.foreign.append(url)

    found.on("request", lambda request: note(request.url))
    found.on("console", lambda m: seen.messages.append(m.text) if m.type == "error" else None)
    found.on("weberror", lambda e: seen.messages.append(str(e.error)))
    found.on("dialog", lambda d: seen.messages.append(f"dialog: {d.message}"))
    yield found, seen
    found.close()


@pytest.fixture
def seen(page: "sync_api.Page") -> Seen:
    """What the browser did in this test."""
    return page.seen


@pytest.fixture
def page(browser: "sync_api.Browser", site: Site) -> Iterator["sync_api.Page"]:
    """The page in a new profile; the test fails if the browser did what it should not."""
    with watching(browser, site.url) as (context, seen):
        tab = context.new_page()
        tab.seen = seen
        opened(tab, site.url)
        yield tab
        assert seen.errors == []
        assert seen.foreign == []


def opened(tab: "sync_api.Page", url: str) -> None:
    """Open the page and wait until it can be used."""
    tab.goto(url)
    tab.locator(".area").first.wait_for()


def dropped(page: "sync_api.Page", *files: tuple[str, bytes], field: str = "#files") -> None:
    """Give files to the page, as its file chooser does."""
    given = [{"name": n, "mimeType": "application/octet-stream", "buffer": b} for n, b in files]
    page.locator(field).set_input_files(given)


def restored(page: "sync_api.Page") -> None:
    """Restore what waits, and wait for it."""
    page.locator("#go").click()
    sync_api.expect(page.locator("#download")).to_be_visible()
    sync_api.expect(page.locator("#go")).to_have_text("Restore again")


def downloaded(page: "sync_api.Page", button: str, folder: Path) -> tuple[str, Path]:
    """Press a button that saves a file; return its name and where it lies."""
    with page.expect_download() as waiting:
        page.locator(button).click()
    target = folder / f"{len(list(folder.iterdir()))}-{waiting.value.suggested_filename}"
    waiting.value.save_as(target)
    return waiting.value.suggested_filename, target


def kept(page: "sync_api.Page", condition: str) -> None:
    """Wait until the browser has stored a list of `photos` for which `condition` is true.

    Not by `wait_for_function`, which takes the promise of an asynchronous function for true.
    """
    script = (
        "async () => { const photos = await (await import('./store.js')).kept();"
        f" return Boolean({condition}); }}"
    )
    until(lambda: bool(page.evaluate(script)))


def slid(page: "sync_api.Page", slider: str, value: float) -> None:
    """Move a slider to a value, as its user does."""
    page.locator(slider).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )
