"""The page without a server: the browser's engine gives what the command line gives."""

import gzip
import http.server
import io
import json
import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from tests.serve.browser.conftest import (
    PHONE,
    downloaded,
    dropped,
    kept,
    opened,
    slid,
    sync_api,
    watching,
)
from tests.serve.browser.test_look import violations
from tests.serve.conftest import until

import unveil
from unveil.errors import OutputError
from unveil.imaging import Image, read_image, write_image
from unveil.imaging.formats import format_named
from unveil.imaging.image import Metadata
from unveil.inference.bottleneck import pieces_of
from unveil.inference.inspect import inspect_image
from unveil.inference.loading import load
from unveil.inference.tiles import Grid

site_module = pytest.importorskip("unveil.serve.site", reason="needs the extra onnx")

expect = sync_api.expect
_log = logging.getLogger(__name__)
pytestmark = pytest.mark.slow
# Of what a user's browser fetches: page, runtime and network, compressed.
_BUDGET = 8e6
_MOST_MB = 2200


class _Handler(http.server.SimpleHTTPRequestHandler):
    """A static host, which may isolate the page so that it has threads."""

    isolates = False

    def end_headers(self) -> None:
        if self.isolates:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Isolating(_Handler):
    isolates = True


@pytest.fixture(scope="module")
def models(all_in_one_weights: Path, tiny_weights: Path) -> list[Path]:
    """Small networks: one that gathers statistics and inspects, one that only denoises."""
    return [all_in_one_weights, tiny_weights]


@pytest.fixture(scope="module")
def folder(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written(models, tmp_path_factory)


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site that `unveil web` writes by default."""
    return _written(["mtair_small"], tmp_path_factory)


def _written(models: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("web") / "site"
    site_module.write_site(target, [str(model) for model in models])
    return target


@contextmanager
def _serving(folder: Path, kind: type[_Handler] = _Handler) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=[_Handler, _Isolating], ids=["one thread", "isolated"])
def host(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    with _serving(folder, request.param) as url:
        yield url


@pytest.fixture
def plain_host(folder: Path) -> Iterator[str]:
    with _serving(folder) as url:
        yield url


@pytest.fixture
def bundled_host(bundled: Path) -> Iterator[str]:
    with _serving(bundled) as url:
        yield url


def _picture(size: tuple[int, int], seed: int = 0) -> Any:
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] / 40
    smooth = 128 + 80 * np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1)
    noisy = smooth + np.random.default_rng(seed).normal(0, 20, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _restored(page: Any, name: str, data: bytes) -> None:
    dropped(page, (name, data))
    expect(page.locator(".report .seen")).to_be_visible()
    page.locator("#go").click()
    page.locator("#download").wait_for(timeout=600_000)


def _pixels(file: Path) -> Any:
    return np.asarray(PIL.Image.open(file).convert("RGB"), np.int16)


def _expected(model: Any, pixels: Any, **options: Any) -> Any:
    return unveil.Restorer(model, **options).restore_image(Image(pixels)).pixels.astype(np.int16)


def test_pixels_and_estimates_are_those_of_the_command(
    browser: Any, host: str, models: list[Path], tmp_path: Path
) -> None:
    pixels = _picture((301, 200))
    with watching(browser, host) as (context, seen):
        page = context.new_page()
        opened(page, host)
        _restored(page, "a.png", _png(pixels))
        name, file = downloaded(page, "#download", tmp_path)
        assert name == "a.restored.png"
        whole = _expected(models[0], pixels)
        assert np.abs(_pixels(file) - whole).max() <= 1
        assert np.abs(whole - pixels).max() > 3
        page.locator("summary", has_text="apart").click()
        slid(page, "#luma", 0.7)
        slid(page, "#chroma", 0.2)
        _, file = downloaded(page, "#download", tmp_path)
        expected = _expected(models[0], pixels, strength_luma=0.7, strength_chroma=0.2)
        assert np.abs(_pixels(file) - expected).max() <= 1
        bars = page.locator(".report .seen li").evaluate_all(
            "all => all.map(l => [l.children[0].textContent, parseInt(l.children[2].textContent)])"
        )
        estimate = inspect_image(unveil.Restorer(models[0]), Image(pixels))
        percent = {cause: 100 * chance for cause, chance in estimate.probabilities.items()}
        assert dict(bars) == pytest.approx(percent, abs=0.6)
        kept(page, "photos[0].saved.change && photos[0].options.chroma === 0.2")
        page.reload()
        expect(page.locator(".strip .done")).to_have_count(1)
        assert downloaded(page, "#download", tmp_path)[0] == "a.restored.png"
        assert seen.foreign == []
        assert seen.errors == []


def test_threads_are_used_where_the_page_is_isolated(browser: Any, host: str) -> None:
    """The runtime has a worker for each further thread."""
    with watching(browser, host, service_workers="block") as (context, seen):
        page = context.new_page()
        page.add_init_script(
            "Object.defineProperty(Navigator.prototype, 'hardwareConcurrency', { get: () => 3 })"
        )
        opened(page, host)
        isolated = page.evaluate("crossOriginIsolated")
        _restored(page, "a.png", _png(_picture((100, 80))))
        # A call of the browser lets its events in.
        until(lambda: page.evaluate("1") and len(page.workers) == (3 if isolated else 1))
        assert seen.errors == []


def test_a_task_takes_the_network_that_does_it(
    browser: Any, plain_host: str, models: list[Path], tmp_path: Path
) -> None:
    pixels = _picture((120, 90))
    with watching(browser, plain_host) as (context, seen):
        page = context.new_page()
        opened(page, plain_host)
        dropped(page, ("a.png", _png(pixels)))
        page.locator("#settings summary").click()
        page.locator("summary", has_text="command line").click()
        tasks = page.locator("#task option").evaluate_all("all => all.map(o => o.value)")
        # The other tasks of the first network need a conditioning that its graphs do not hold.
        assert tasks == ["auto", "denoise"]
        expect(page.locator("#ensemble")).to_have_count(0)
        for task, model, name in (
            ("denoise", "", "tiny"),
            ("auto", "tiny", "tiny"),
            ("auto", "", "all"),
        ):
            page.locator("#model").select_option(model)
            page.locator("#task").select_option(task)
            words = [f"--model {name}", *([f"--task {task}"] if task != "auto" else [])]
            expect(page.locator("#command")).to_have_text(f"unveil restore a.png {' '.join(words)}")
            page.locator("#go").click()
            expect(page.locator("#go")).to_have_text("Restore again")
            _, file = downloaded(page, "#download", tmp_path)
            expected = _expected(models[name == "tiny"], pixels)
            assert np.abs(_pixels(file) - expected).max() <= 1
        assert seen.errors == []


def test_tiles_share_statistics_and_latent_as_those_of_the_command(
    browser: Any, bundled: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(bundled, copy)
    described = json.loads((copy / "site.json").read_text())
    tiling = load("mtair_small").tiling
    # Where tiles lie decides on pixels: in dense haze by several levels.
    for name in ("tile", "overlap", "whole_megapixels"):
        assert described["models"][0][name] == getattr(tiling, name)
    described["models"][0] |= {"tile": 128, "whole_megapixels": 128 * 128 / 1e6}
    (copy / "site.json").write_text(json.dumps(described))
    pixels = _picture((330, 210))
    with _serving(copy) as url, watching(browser, url) as (context, seen):
        page = context.new_page()
        opened(page, url)
        _restored(page, "a.png", _png(pixels))
        _, file = downloaded(page, "#download", tmp_path)
        assert np.abs(_pixels(file) - _expected("mtair_small", pixels, tile=128)).max() <= 1
        assert seen.errors == []


def test_tiles_and_pieces_lie_where_those_of_the_command_lie(browser: Any, plain_host: str) -> None:
    sizes = [(250, 500), (375, 500), (500, 750), (60, 6000), (1500, 2100), (20, 1300)]
    script = """async (sizes) => {
        const { piecesOf, tilesOf } = await import(`${location.origin}/tiles.js`);
        const ends = ({ start, end }) => [start, end];
        const spans = (all) => all.map(({ down, across }) => [ends(down), ends(across)]);
        const image = { tile: 512, overlap: 32, multiple: 8, even: true };
        return sizes.map(([h, w]) => [spans(piecesOf(h, w, 512)), spans(tilesOf(h, w, image))]);
    }"""
    grid = Grid(512, 32)
    with watching(browser, plain_host) as (context, _):
        page = context.new_page()
        opened(page, plain_host)
        found = page.evaluate(script, sizes)
    for size, (pieces, tiles) in zip(sizes, found, strict=True):
        cut = pieces_of(size, grid)
        expected = cut.spans(*size) if cut else [((0, size[0]), (0, size[1]))]
        assert pieces == [[[*r], [*c]] for r, c in expected]
        assert tiles == [[[*r], [*c]] for r, c in replace(grid, even=8).tiles(*size)]


def test_the_default_site_gives_the_pixels_of_the_command(
    browser: Any, bundled_host: str, tmp_path: Path
) -> None:
    pixels = _picture((301, 200))
    with watching(browser, bundled_host) as (context, seen):
        page = context.new_page()
        opened(page, bundled_host)
        expect(page.locator("header")).to_contain_text("noise, rain and haze")
        expect(page.locator("[data-sample=hazy-rocket]")).to_be_visible()
        _restored(page, "a.png", _png(pixels))
        _, file = downloaded(page, "#download", tmp_path)
        assert np.abs(_pixels(file) - _expected("mtair_small", pixels)).max() <= 1
        estimate = inspect_image(unveil.Restorer("mtair_small"), Image(pixels))
        assert f"σ ≈ {estimate.sigma_255:.0f}" in page.locator(".report").text_content()
        assert (seen.foreign, seen.errors) == ([], [])


def test_metadata_is_copied_and_sixteen_bits_are_told(
    browser: Any, plain_host: str, tmp_path: Path
) -> None:
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    metadata = Metadata(exif=exif, icc=profile, orientation=6)
    source = tmp_path / "turned.jpg"
    write_image(source, Image(_picture((60, 80)), format=format_named("jpeg"), metadata=metadata))
    deep = tmp_path / "deep.png"
    write_image(deep, Image(_picture((60, 40)).astype(np.uint16) * 257, bits=16))
    with watching(browser, plain_host) as (context, _):
        page = context.new_page()
        opened(page, plain_host)
        _restored(page, "turned.jpg", source.read_bytes())
        for kind in ("", "png"):
            page.locator("#format").select_option(kind)
            _, file = downloaded(page, "#download", tmp_path)
            made = read_image(file)
            assert made.pixels.shape == (80, 60, 3)
            assert (made.metadata.orientation, made.metadata.icc) == (1, profile)
            assert made.metadata.exif is not None
            assert len(made.metadata.exif) == len(exif)
        page.get_by_role("button", name="Remove turned.jpg").click()
        dropped(page, ("deep.png", deep.read_bytes()))
        expect(page.locator(".side")).to_contain_text("16 bits")
        dropped(page, ("scan.tif", b"II*\0" + bytes(20)))
        expect(page.locator(".problems")).to_contain_text(
            "scan.tif: the browser cannot read this format"
        )


def test_a_twelve_megapixel_photo_on_a_phone_takes_bounded_memory(
    browser: Any, bundled_host: str, tmp_path: Path
) -> None:
    """The peak of all of the browser's processes that draw pages or run scripts."""
    with watching(browser, bundled_host, viewport=PHONE) as (context, seen):
        page = context.new_page()
        opened(page, bundled_host)
        session = browser.new_browser_cdp_session()
        dropped(page, ("large.jpg", _jpeg((4000, 3000))))
        expect(page.locator(".report .seen")).to_be_visible(timeout=600_000)
        page.locator("#go").click()
        page.locator("#download").wait_for(timeout=3_600_000)
        _, file = downloaded(page, "#download", tmp_path)
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        peaks = {p["id"]: _peak_mb(p["id"]) for p in processes if p["type"] == "renderer"}
        _log.info("12 megapixels: %s MB; %s", peaks, page.locator(".told").text_content())
        assert read_image(file).pixels.shape == (3000, 4000, 3)
        assert max(peaks.values()) < _MOST_MB
        assert seen.errors == []


def _peak_mb(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return (
        int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    )


def _jpeg(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(_picture(size)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_restoring_stops_at_once_and_the_page_has_no_violation(
    browser: Any, plain_host: str
) -> None:
    with watching(browser, plain_host, viewport=PHONE) as (context, seen):
        page = context.new_page()
        opened(page, plain_host)
        assert violations(page) == []
        dropped(page, ("large.png", _png(_picture((1500, 1000)))))
        page.locator("#go").click()
        expect(page.locator("#go")).to_have_text("Cancel")
        page.wait_for_timeout(1500)
        page.locator("#go").click()
        expect(page.locator("#go")).to_have_text("Restore")
        assert violations(page) == []
        assert seen.errors == []


def test_page_runtime_and_the_default_network_fit_the_budget(bundled: Path) -> None:
    files = [f for f in bundled.rglob("*") if f.is_file() and f.parent.name != "samples"]
    size = sum(len(gzip.compress(f.read_bytes())) for f in files)
    _log.info("page, runtime and network: %.2f MB compressed", size / 1e6)
    assert size <= _BUDGET


def test_the_folder_is_replaced_only_when_it_is_a_site(
    folder: Path, models: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        site_module.write_site(tmp_path, models, force=True)
    with pytest.raises(OutputError, match="--force"):
        site_module.write_site(folder, models)
