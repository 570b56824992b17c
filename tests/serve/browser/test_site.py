"""The page without a server: the browser's engine gives what the command line gives."""

import http.server
import io
import json
import shutil
import threading
from collections.abc import Iterator
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
    opened,
    slid,
    sync_api,
    watching,
)
from tests.serve.browser.test_look import violations

import unveil
from unveil.imaging import Image, read_image, write_image
from unveil.imaging.formats import format_named
from unveil.imaging.image import Metadata

site_module = pytest.importorskip("unveil.serve.site", reason="needs the extra onnx")

expect = sync_api.expect
pytestmark = pytest.mark.slow
# Of what a user's browser fetches: page, runtime and network, compressed.
_BUDGET = 8e6


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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("web") / "site"
    site_module.write_site(target)
    return target


def _serving(folder: Path, kind: type[_Handler]) -> Any:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(params=[_Handler, _Isolating], ids=["one thread", "isolated"])
def host(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    server = _serving(folder, request.param)
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def plain_host(folder: Path) -> Iterator[str]:
    server = _serving(folder, _Handler)
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


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


def test_pixels_and_estimates_are_those_of_the_command(
    browser: Any, host: str, tmp_path: Path
) -> None:
    pixels = _picture((301, 200))
    with watching(browser, host) as (context, seen):
        page = context.new_page()
        opened(page, host)
        _restored(page, "a.png", _png(pixels))
        name, file = downloaded(page, "#download", tmp_path)
        assert name == "a.restored.png"
        expected = unveil.Restorer("mtair_small").restore_image(Image(pixels)).pixels
        assert np.abs(_pixels(file) - expected).max() <= 1
        page.locator("summary", has_text="apart").click()
        slid(page, "#luma", 0.7)
        slid(page, "#chroma", 0.2)
        _, file = downloaded(page, "#download", tmp_path)
        restorer = unveil.Restorer("mtair_small", strength_luma=0.7, strength_chroma=0.2)
        assert np.abs(_pixels(file) - restorer.restore_image(Image(pixels)).pixels).max() <= 1
        told = page.locator(".report").text_content()
        from unveil.inference.inspect import inspect_image

        estimate = inspect_image(restorer, Image(pixels))
        assert f"σ ≈ {estimate.sigma_255:.0f}" in told
        page.wait_for_timeout(500)
        page.reload()
        expect(page.locator(".strip .done")).to_have_count(1)
        assert downloaded(page, "#download", tmp_path)[0] == "a.restored.png"
        assert seen.foreign == []
        assert seen.errors == []


def test_tiles_share_statistics_and_latent_as_those_of_the_command(
    browser: Any, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "site"
    shutil.copytree(folder, copy)
    described = json.loads((copy / "site.json").read_text())
    described |= {"tile": 128, "whole_megapixels": 128 * 128 / 1e6}
    (copy / "site.json").write_text(json.dumps(described))
    pixels = _picture((330, 210))
    server = _serving(copy, _Handler)
    url = f"http://127.0.0.1:{server.server_port}/"
    with watching(browser, url) as (context, seen):
        page = context.new_page()
        opened(page, url)
        _restored(page, "a.png", _png(pixels))
        _, file = downloaded(page, "#download", tmp_path)
        expected = unveil.Restorer("mtair_small", tile=128).restore_image(Image(pixels)).pixels
        assert np.abs(_pixels(file) - expected).max() <= 1
        assert seen.errors == []
    server.shutdown()
    server.server_close()


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
        expect(page.locator(".problems")).to_contain_text("scan.tif: the browser cannot read TIFF")


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
        expect(page.locator("#go")).to_have_text("Restore", timeout=5000)
        assert violations(page) == []
        assert seen.errors == []


def test_page_runtime_and_network_fit_the_budget(folder: Path) -> None:
    import gzip

    files = [f for f in folder.rglob("*") if f.is_file() and f.parent.name != "samples"]
    assert sum(len(gzip.compress(f.read_bytes())) for f in files) <= _BUDGET


def test_the_folder_is_replaced_only_when_it_is_a_site(folder: Path, tmp_path: Path) -> None:
    from unveil.errors import OutputError

    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        site_module.write_site(tmp_path, force=True)
    with pytest.raises(OutputError, match="--force"):
        site_module.write_site(folder)
