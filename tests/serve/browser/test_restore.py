"""The page in a real browser: restore, compare, blend, download."""

import io
import re
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serve.browser.conftest import GRADIO_WARNINGS, Seen, Site, dropped, opened, sync_api
from tests.serve.conftest import photo, until, uploads

import unveil
from unveil.imaging import read_image, save_png
from unveil.inference.engine import Engine as Network

expect = sync_api.expect
pytestmark = GRADIO_WARNINGS


def _png16(folder: Path, size: tuple[int, int] = (96, 72)) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 65536, (size[1], size[0], 3), dtype=np.uint16)
    save_png(folder / "deep.png", pixels)
    return (folder / "deep.png").read_bytes()


def _expected(weights: Path, data: bytes, strength: float, folder: Path) -> Any:
    source, target = folder / "expected-in.png", folder / "expected.png"
    source.write_bytes(data)
    unveil.Restorer(weights, strength=strength).restore_file(source, target)
    return read_image(target).pixels


def _download(page: Any, link: Any, folder: Path) -> tuple[str, Path]:
    with page.expect_download() as waiting:
        link.click()
    target = folder / f"download-{time.monotonic_ns()}"
    waiting.value.save_as(target)
    return waiting.value.suggested_filename, target


def _restore(page: Any) -> None:
    page.locator("#unveil-go").click()
    expect(page.locator("unveil-compare[after]").first).to_be_visible()


def _opacity(page: Any) -> float:
    return float(page.locator("unveil-compare .after img").first.evaluate("e => e.style.opacity"))


def test_what_is_downloaded_follows_the_strength_at_full_depth(
    page: Any, site: Site, tiny_weights: Path, tmp_path: Path
) -> None:
    runs: list[Any] = []
    noting = runs.append
    site.engine.listeners.append(noting)
    data = _png16(tmp_path)
    dropped(page, ("deep.png", data))
    _restore(page)
    assert len(runs) == 1
    link = page.get_by_role("link", name="Download")
    name, file = _download(page, link, tmp_path)
    assert name == "deep.restored.png"
    whole = read_image(file).pixels
    assert whole.dtype == np.uint16
    np.testing.assert_array_equal(whole, _expected(tiny_weights, data, 1.0, tmp_path))

    assert _opacity(page) == 1
    number = page.locator("#unveil-strength input[type=number]")
    number.fill("40")
    number.press("Tab")
    page.wait_for_function(
        "() => document.querySelector('unveil-compare').images[1].style.opacity === '0.4'"
    )
    _, file = _download(page, link, tmp_path)
    half = read_image(file).pixels
    np.testing.assert_array_equal(half, _expected(tiny_weights, data, 0.4, tmp_path))
    assert not np.array_equal(half, whole)
    assert len(runs) == 1, "another strength must not run the network"
    number.fill("100")
    number.press("Tab")
    site.engine.listeners.remove(noting)


def test_the_line_moves_by_mouse_and_keyboard_and_the_view_zooms(page: Any) -> None:
    dropped(page, ("a.png", photo((160, 120))))
    _restore(page)
    view = page.locator("unveil-compare").first
    stage, line = view.locator(".stage"), view.locator("input[type=range]")

    def clip() -> float:
        style = view.locator(".after").evaluate("e => e.style.clipPath")
        return float(re.findall(r"([\d.]+)px\)$", style)[0])

    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    assert clip() == pytest.approx(box["width"] * 0.4, abs=2)

    line.focus()
    before = clip()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert clip() > before
    page.keyboard.press("Home")
    assert line.input_value() == "0"

    percent = view.locator("output")
    stage.focus()
    fitted = percent.text_content()
    page.keyboard.press("1")
    expect(percent).to_have_text("100 %")
    page.keyboard.press("0")
    expect(percent).to_have_text(fitted)
    view.get_by_role("button", name="Zoom in").click()
    expect(percent).not_to_have_text(fitted)

    def corner() -> str:
        return str(view.locator(".before img").evaluate("e => e.style.transform"))

    place = corner()
    stage.focus()
    page.keyboard.press("ArrowRight")
    assert corner() != place
    # At full size every pixel of the photo is there.
    assert view.locator(".before img").evaluate("e => e.naturalWidth") == 160


def test_what_is_no_photo_is_one_clear_line_and_names_are_harmless(page: Any, seen: Seen) -> None:
    hostile = "<img src=x onerror=alert(1)>\"&'.png"
    dropped(page, ("notes.jpg", b"just text"), (hostile, photo()), ("half.png", photo()[:2000]))
    complaints = page.locator("unveil-drop").first.locator("li span")
    expect(complaints).to_have_count(2)
    for text in complaints.all_text_contents():
        assert "notes" in text or "half.png" in text
        assert "Traceback" not in text
        assert "\n" not in text
        assert "/" not in text.replace(", ", "")
    expect(page.locator("unveil-compare .say").first).to_contain_text(hostile)
    assert page.locator(".unveil-strip img").count() == 1
    _restore(page)
    refused = [e for e in seen.errors if "status of 4" in e]
    assert len(refused) == 2
    seen.errors[:] = [e for e in seen.errors if e not in refused]


def test_two_tabs_do_not_see_each_other_and_a_closed_one_leaves_nothing(
    page: Any, context: Any, site: Site
) -> None:
    other = opened(context, site)
    dropped(page, ("mine.png", photo(seed=1)))
    dropped(other, ("yours.png", photo(seed=2)))
    for tab, name in ((page, "mine.png"), (other, "yours.png")):
        expect(tab.locator("unveil-compare .say").first).to_contain_text(name)
    for tab in (page, other):
        tab.locator("#unveil-go").click()
    for tab, name, stranger in ((page, "mine", "yours"), (other, "yours", "mine")):
        expect(tab.locator("unveil-compare[after]").first).to_be_visible()
        assert tab.locator(".unveil-strip li").count() == 1
        assert name in tab.content()
        assert stranger not in tab.content()
    before = len(uploads(site.engine))
    other.close()
    until(lambda: len(uploads(site.engine)) == before - 1)


def test_all_results_come_as_one_zip_with_names_of_their_own(
    page: Any, tiny_weights: Path, tmp_path: Path
) -> None:
    given = [photo(seed=5), photo(seed=6)]
    dropped(page, ("same.png", given[0]), ("same.png", given[1]))
    expect(page.locator(".unveil-strip li")).to_have_count(2)
    page.get_by_role("button", name="Restore 2 photos").click()
    link = page.get_by_role("link", name="Download all 2 as zip")
    name, file = _download(page, link, tmp_path)
    assert name == "unveil.zip"
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["same.restored.png", "same.restored (2).png"]
        for entry, data in zip(archive.namelist(), given, strict=True):
            (tmp_path / "one.png").write_bytes(archive.read(entry))
            expected = _expected(tiny_weights, data, 1.0, tmp_path)
            np.testing.assert_array_equal(read_image(tmp_path / "one.png").pixels, expected)
    page.get_by_role("button", name="Remove same.png").first.click()
    expect(page.locator(".unveil-strip li")).to_have_count(1)


def test_cancel_stops_the_work(page: Any, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def endless(_self: Any, _pixels: Any, _out: Any, progress: Any) -> None:
        try:
            for _ in range(2000):
                progress(0.25)
                time.sleep(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(Network, "change", endless)
    dropped(page, ("long.png", photo()))
    page.locator("#unveil-go").click()
    expect(page.locator(".unveil-progress")).to_contain_text("25 %")
    expect(page.locator(".unveil-progress")).to_contain_text("left")
    page.get_by_role("button", name="Cancel").click()
    assert ended.wait(10)
    expect(page.locator("#unveil-go")).to_be_visible()
    expect(page.locator("#unveil-cancel")).to_be_hidden()
    assert not site.engine.queue.running
    assert page.locator("unveil-compare").first.get_attribute("after") is None


def test_the_keyboard_alone_restores_a_photo(page: Any, tmp_path: Path) -> None:
    (tmp_path / "k.png").write_bytes(photo())
    area = page.get_by_role("button", name="Drop photos here")
    # Listening must have begun long before the key is pressed.
    with page.expect_file_chooser() as chooser:
        page.get_by_role("tab", name="Restore").focus()
        for _ in range(4):
            page.keyboard.press("Tab")
            if area.evaluate("e => e.getRootNode().activeElement === e"):
                break
        else:
            pytest.fail("the drop area cannot be reached by Tab")
        page.keyboard.press("Enter")
    chooser.value.set_files(tmp_path / "k.png")
    expect(page.locator("#unveil-go")).to_be_visible()
    focused = ""
    for _ in range(30):
        page.keyboard.press("Tab")
        focused = page.evaluate("() => document.activeElement.id")
        if focused == "unveil-go":
            break
    assert focused == "unveil-go"
    page.keyboard.press("Enter")
    expect(page.locator("unveil-compare[after]").first).to_be_visible()


def test_a_photo_that_is_gone_is_told_in_one_line(page: Any, site: Site, seen: Seen) -> None:
    dropped(page, ("a.png", photo()))
    _restore(page)
    for folder in uploads(site.engine):
        site.engine.discard(folder / "any")
    page.get_by_role("link", name="Download").click()
    expect(page.locator(".unveil-say").first).to_contain_text("no longer on the server")
    page.locator("#unveil-go").click()
    expect(page.locator(".unveil-problem")).to_contain_text("no longer kept here")
    seen.errors[:] = [e for e in seen.errors if "status of 404" not in e]


def test_a_sample_can_be_tried(page: Any) -> None:
    page.locator("[data-sample=noisy-cat]").click()
    expect(page.locator("unveil-compare .say").first).to_contain_text("451 × 300")
    assert page.locator("[data-sample]").first.is_hidden()


def test_files_of_the_server_cannot_be_reached_through_the_page(site: Site) -> None:
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        for path in (
            "gradio_api/file=/etc/passwd",
            f"gradio_api/file={Path(unveil.__file__)}",
            "page/static/..%2f..%2fengine.py",
            "page/static/__init__.py",
            "page/samples/..%2fREADME.md",
            "page/seen/unknown/before",
            "page/files/unknown",
            "page/zip/unknown",
        ):
            assert client.get(path).status_code in (403, 404), path
        sent = client.post("gradio_api/upload", files={"files": ("a.png", io.BytesIO(photo()))})
        assert sent.status_code == 404
        query = {"desk": "unknown", "purpose": "restore", "name": "a.png"}
        assert client.post("page/photos", params=query, content=photo()).status_code == 404
