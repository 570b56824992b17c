"""The page in a real browser, over the server's engine."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.serve.browser.conftest import (
    PHONE,
    Site,
    downloaded,
    dropped,
    kept,
    opened,
    restored,
    slid,
    sync_api,
)
from tests.serve.conftest import photo, stuck, until, uploads

import unveil
from unveil.imaging import Image, read_image, write_image
from unveil.imaging.formats import format_named
from unveil.imaging.image import Metadata

expect = sync_api.expect
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x04\0\0\0abc\0\0\0\0\0"


def _png16(folder: Path) -> bytes:
    pixels = np.random.default_rng(5).integers(0, 65536, (50, 70, 3), dtype=np.uint16)
    write_image(folder / "deep.png", Image(pixels))
    return (folder / "deep.png").read_bytes()


def _expected(weights: Path, data: bytes, folder: Path, **options: Any) -> Any:
    source, target = folder / "expected-in.png", folder / "expected.png"
    source.write_bytes(data)
    unveil.Restorer(weights, **options).restore_file(source, target)
    return read_image(target).pixels


def _shows(page: Any, image: str, name: str, value: str) -> None:
    """Wait until a picture of the right side has a style; the page draws at the next frame."""
    expect(page.locator(f"#view .after {image}")).to_have_css(name, value)


def test_what_is_saved_follows_the_strengths_at_full_depth_without_another_run(
    page: Any, site: Site, tiny_weights: Path, tmp_path: Path
) -> None:
    runs: list[Any] = []
    site.engine.listeners.append(runs.append)
    data = _png16(tmp_path)
    dropped(page, ("deep.png", data))
    restored(page)
    name, file = downloaded(page, "#download", tmp_path)
    assert name == "deep.restored.png"
    whole = read_image(file).pixels
    assert whole.dtype == np.uint16
    np.testing.assert_array_equal(whole, _expected(tiny_weights, data, tmp_path))

    slid(page, "#strength", 0.4)
    _shows(page, ".luma", "opacity", "0.4")
    _, file = downloaded(page, "#download", tmp_path)
    expected = _expected(tiny_weights, data, tmp_path, strength=0.4)
    np.testing.assert_array_equal(read_image(file).pixels, expected)

    page.locator("summary", has_text="apart").click()
    slid(page, "#chroma", 0.9)
    _shows(page, ".luma", "mix-blend-mode", "luminosity")
    _shows(page, ".chroma", "opacity", "0.9")
    _, file = downloaded(page, "#download", tmp_path)
    shares = {"strength_luma": 0.4, "strength_chroma": 0.9}
    expected = _expected(tiny_weights, data, tmp_path, **shares)
    np.testing.assert_array_equal(read_image(file).pixels, expected)
    assert len(runs) == 1
    page.locator("summary", has_text="command line").click()
    expect(page.locator("#command")).to_have_text(
        f"unveil restore deep.png --model {tiny_weights} --strength 0.4 --strength-chroma 0.9"
    )
    site.engine.listeners.clear()


def test_what_is_shown_is_what_is_saved(page: Any, tiny_weights: Path, tmp_path: Path) -> None:
    """The blend modes of the browser against the restorer, at luminance 1 and colour 0."""
    rows, columns = np.mgrid[0:48, 0:64] / 64
    pixels = np.stack([90 + 60 * rows, 150 - 50 * columns, 100 + 40 * rows * columns], -1)
    write_image(tmp_path / "a.png", Image(pixels.astype(np.uint8)))
    data = (tmp_path / "a.png").read_bytes()
    dropped(page, ("a.png", data))
    restored(page)
    page.locator("summary", has_text="apart").click()
    slid(page, "#chroma", 0)
    _shows(page, ".chroma", "opacity", "0")
    page.locator("#view").evaluate("v => { v.split = 0; v.act('full'); }")
    expected = _expected(tiny_weights, data, tmp_path, strength_chroma=0).astype(np.int16)
    assert np.median(np.abs(pixels - expected).max(-1)) > 10

    def difference() -> float:
        left, top = (round(v) for v in page.locator("#view").evaluate("v => v.corner"))
        shown = _picture(page.locator("#view .stage").screenshot(animations="disabled"))
        part = np.asarray(shown.crop((left, top, left + 64, top + 48)), np.int16)
        return float(np.median(np.abs(part - expected).max(-1)))

    # Previews are JPEGs, and the line covers an edge. Pictures are decoded when they are drawn.
    until(lambda: difference() <= 3)


def _picture(data: bytes) -> Any:
    import PIL.Image

    return PIL.Image.open(io.BytesIO(data)).convert("RGB")


def test_the_line_the_zoom_and_the_original_by_mouse_and_keyboard(page: Any) -> None:
    dropped(page, ("a.png", photo((160, 120))))
    restored(page)
    stage, line = page.locator("#view .stage"), page.locator("#view .split")

    def clip() -> float:
        style = page.locator("#view .after").evaluate("e => e.style.clipPath")
        return float(re.findall(r"([\d.]+)px\)$", style)[0])

    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    until(lambda: clip() == pytest.approx(box["width"] * 0.4, abs=2))
    line.focus()
    before = clip()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    until(lambda: clip() > before)
    stage.focus()
    percent = page.locator("#view output")
    page.keyboard.press("1")
    expect(percent).to_have_text("100 %")
    page.keyboard.press("+")
    expect(percent).to_have_text("125 %")
    page.keyboard.press("0")
    expect(percent).not_to_have_text(re.compile("^1(00|25) %$"))
    page.keyboard.down("o")
    expect(page.locator("#view.held")).to_be_visible()
    page.keyboard.up("o")
    expect(page.locator("#view.held")).to_have_count(0)
    page.get_by_role("button", name="Hold for original").dispatch_event("pointerdown")
    expect(page.locator("#view .after")).to_be_hidden()
    page.get_by_role("button", name="Hold for original").dispatch_event("pointerup")
    expect(page.locator("#view .after")).to_be_visible()
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("() => document.fullscreenElement?.id === 'view'")
    page.get_by_role("button", name="Full screen").click()
    page.wait_for_function("() => !document.fullscreenElement")


def test_the_brush_keeps_parts_as_they_were(page: Any, tmp_path: Path) -> None:
    data = photo((160, 120))
    dropped(page, ("a.png", data))
    restored(page)
    page.get_by_role("button", name="Brush over parts that stay").click()
    box = page.locator("#view .stage").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.45, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.55, middle, steps=4)
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('#view .luma').style.maskImage")
    _, file = downloaded(page, "#download", tmp_path)
    source = tmp_path / "before.png"
    source.write_bytes(data)
    before, kept = read_image(source).pixels, read_image(file).pixels
    assert np.array_equal(before[60, 80], kept[60, 80])
    assert not np.array_equal(before[5:20], kept[5:20])
    page.get_by_role("button", name="Restore every part again").click()
    _, file = downloaded(page, "#download", tmp_path)
    assert not np.array_equal(read_image(file).pixels[60, 70:90], before[60, 70:90])


def test_options_are_each_photos_own_and_all_come_as_a_zip(page: Any, tmp_path: Path) -> None:
    dropped(page, ("a.png", photo(seed=1)), ("A.png", photo(seed=2)), ("c.png", photo(seed=3)))
    expect(page.locator("#go")).to_have_text("Restore 3 photos")
    page.locator("#go").click()
    expect(page.locator(".strip .done")).to_have_count(3)
    slid(page, "#strength", 0)
    page.locator(".thumb").nth(1).click()
    expect(page.locator("#strength")).to_have_value("1")
    name, file = downloaded(page, "#zip", tmp_path)
    assert name == "unveil.zip"
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["a.restored.png", "A.restored (2).png", "c.restored.png"]
        for i, entry in enumerate(archive.namelist()):
            before, after = _picture(photo(seed=i + 1)), _picture(archive.read(entry))
            assert (before.tobytes() == after.tobytes()) == (i == 0)
    page.get_by_role("button", name="Remove a.png", exact=True).click()
    expect(page.locator(".strip li")).to_have_count(2)


def test_the_format_and_metadata_of_what_is_saved(page: Any, tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    image = Image(
        read_image(_written(tmp_path / "b.png")).pixels,
        format=format_named("jpeg"),
        metadata=Metadata(exif=EXIF),
    )
    write_image(source, image)
    dropped(page, ("a.jpg", source.read_bytes()))
    restored(page)
    name, file = downloaded(page, "#download", tmp_path)
    assert name == "a.restored.jpg"
    assert b"abc" in (read_image(file).metadata.exif or b"")
    page.locator("#format").select_option("webp")
    page.locator("#quality").fill("31")
    name, file = downloaded(page, "#download", tmp_path)
    assert name == "a.restored.webp"
    assert read_image(file).format.name == "webp"


def _written(path: Path) -> Path:
    path.write_bytes(photo())
    return path


def test_the_list_survives_a_reload_and_its_results_are_found_again(
    page: Any, site: Site, tmp_path: Path
) -> None:
    runs: list[Any] = []
    dropped(page, ("a.png", photo(seed=1)), ("b.png", photo(seed=2)))
    page.locator("#go").click()
    expect(page.locator(".strip .done")).to_have_count(2)
    slid(page, "#strength", 0.3)
    kept(page, "photos[0].options.strength === 0.3 && photos[1].saved.version === 1")
    site.engine.listeners.append(runs.append)
    page.reload()
    expect(page.locator(".strip .done")).to_have_count(2)
    expect(page.locator("#strength")).to_have_value("0.3")
    assert downloaded(page, "#download", tmp_path)[0] == "a.restored.png"
    # A server that has forgotten them gets them again.
    page.seen.expected.append("404")
    for folder in uploads(site.engine):
        site.engine.store.discard(folder / "x")
    page.reload()
    expect(page.locator(".strip .waiting")).to_have_count(2)
    restored(page)
    expect(page.locator(".strip .done")).to_have_count(2)
    assert len(runs) == 2
    site.engine.listeners.clear()


def test_a_result_that_has_gone_is_said_and_made_again(page: Any, site: Site) -> None:
    dropped(page, ("a.png", photo()))
    restored(page)
    for folder in uploads(site.engine):
        site.engine.store.discard(folder / "x")
    page.seen.expected.append("404")
    page.locator("#download").click()
    expect(page.locator(".strip .waiting")).to_have_count(1)
    restored(page)


def test_the_focus_stays_where_the_keyboard_is(page: Any) -> None:
    page.locator("[data-sample=noisy-cat]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#go")).to_be_focused()
    expect(page.locator("#view .say")).to_contain_text("451 × 300")
    page.keyboard.press("Enter")
    expect(page.locator("#download")).to_be_visible()
    expect(page.locator("#go")).to_be_focused()
    page.get_by_role("button", name="Remove noisy-cat.png").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#drop")).to_be_focused()


def test_restoring_can_be_cancelled(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with stuck(monkeypatch) as events:
        dropped(page, ("a.png", photo()))
        page.locator("#go").click()
        expect(page.locator(".progress")).to_contain_text("25 %")
        # A double click must not cancel what it began.
        page.wait_for_timeout(450)
        page.locator("#go").click()
        expect(page.locator("#go")).to_have_text("Restore")
        expect(page.locator("#download")).to_have_count(0)
        assert events == ["begun", "cancelled"]


def test_a_run_is_followed_after_a_reload_and_other_options_make_another(
    page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stuck(monkeypatch) as events:
        dropped(page, ("a.png", photo()))
        page.locator("#go").click()
        expect(page.locator(".progress")).to_contain_text("25 %")
        page.reload()
        expect(page.locator(".progress")).to_contain_text("25 %")
        expect(page.locator("#go")).to_have_text("Cancel")
        page.locator("#settings summary").click()
        page.locator("#model").select_option("cu_mamba_small")
        events.append("let go")
        expect(page.locator("#go")).to_have_text("Restore")
        expect(page.locator(".told")).to_contain_text("tiny")
        expect(page.locator(".strip .waiting")).to_have_count(1)
        restored(page)
        expect(page.locator(".told")).to_contain_text("cu_mamba_small")
        assert events == ["begun", "let go", "begun"]
        page.locator("#model").select_option("")
        expect(page.locator(".strip .waiting")).to_have_count(1)


def test_a_bad_file_is_named_whole_and_stops_no_other(page: Any) -> None:
    page.seen.expected.append("422")
    dropped(page, ("notes<b>.txt", b"hello"), ("cut.PNG", photo()[:-200]), ("a.png", photo()))
    expect(page.locator(".strip li")).to_have_count(1)
    told = page.locator(".problems li")
    expect(told).to_have_count(2)
    expect(told.first).to_contain_text("notes<b>.txt")
    expect(told.nth(1)).to_contain_text("cut.PNG")
    told.first.get_by_role("button").click()
    expect(told).to_have_count(1)
    restored(page)


def test_files_come_by_drop_folder_and_clipboard(page: Any, tmp_path: Path) -> None:
    give = """([kind, name, bytes]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
      const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
        : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    }"""
    for i, kind in enumerate(("drop", "paste")):
        page.evaluate(give, [kind, f"{kind}.png", list(photo())])
        expect(page.locator(".strip li")).to_have_count(i + 1)
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo())
    (folder / "notes.txt").write_text("no photo")
    page.locator("#folder").set_input_files(folder)
    expect(page.locator(".strip li")).to_have_count(3)
    expect(page.locator(".problems li")).to_have_count(0)


def test_the_texts_are_there_in_both_languages(page: Any) -> None:
    page.locator(".language select").select_option("zh")
    expect(page.locator("#drop strong")).to_have_text("将照片或文件夹拖到此处")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.reload()
    expect(page.locator("#drop strong")).to_have_text("将照片或文件夹拖到此处")
    web = Path(unveil.__file__).parent / "serve/web"
    keys = re.findall(r'^  "?([\w-]+)"?: \[', (web / "texts.js").read_text(), re.MULTILINE)
    table = page.evaluate(
        "async (keys) => (await import('./texts.js')).setLanguage('zh') ||"
        " Promise.all(keys.map(async (k) => [k, (await import('./texts.js')).t(k)]))",
        keys,
    )
    assert len(table) > 90
    latin = [key for key, text in table if re.fullmatch(r"[ -~]*", text) and key != "progress"]
    assert latin == []
    used: set[str] = set()
    for file in web.glob("*.js"):
        used |= set(re.findall(r'\bt\("([\w-]+)"', file.read_text()))
    assert used <= {key for key, _ in table}


def test_noise_is_added_by_the_slider_and_measured(page: Any) -> None:
    page.get_by_role("tab", name="Degrade").click()
    page.locator("[data-sample=cat]").click()
    expect(page.locator("#degrade-go")).to_be_focused()
    level = page.locator(".scores td").nth(1)
    first = level.text_content()
    slid(page, "#degrade-noise", 50)
    expect(level).not_to_have_text(first)
    assert float(level.text_content().removesuffix(" dB")) < float(first.removesuffix(" dB"))
    told = [level.text_content()]
    for name in ("rain", "haze"):
        slid(page, f"#degrade-{name}", 0.6)
        expect(level).not_to_have_text(told[-1])
        told.append(level.text_content())
    page.locator("#degrade-go").click()
    expect(page.locator(".scores tbody tr")).to_have_count(2)
    for left, right in (("Degraded", "Restored"), ("Clean", "Restored"), ("Clean", "Degraded")):
        page.get_by_role("radio", name=f"{left} | {right}").check()
        expect(page.locator("#trial .tag.left")).to_have_text(left)
        expect(page.locator("#trial .tag.right")).to_have_text(right)
    page.wait_for_function(
        "() => document.querySelector('#trial .before img').naturalWidth === 451"
    )


def test_tabs_are_chosen_by_keyboard(page: Any) -> None:
    page.get_by_role("tab", name="Restore").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Degrade")).to_be_focused()
    expect(page.locator("#clean")).to_be_attached()


def test_a_phone_shows_everything_without_scrolling_sideways(page: Any) -> None:
    page.set_viewport_size(PHONE)
    dropped(page, ("a-rather-long-name-of-a-photo-from-a-phone.png", photo((400, 300))))
    restored(page)
    for tab in ("Restore", "Degrade"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        expect(page.locator("#view" if tab == "Restore" else "#drop-clean")).to_be_visible()
        page.wait_for_function(
            "() => document.documentElement.scrollWidth <= 390"
            " && [...document.querySelectorAll('button')].filter(b => b.offsetParent)"
            ".every(b => b.getBoundingClientRect().left >= 0"
            " && b.getBoundingClientRect().right <= 390)"
        )


def test_it_can_be_installed_and_opens_without_the_server(page: Any, site: Site) -> None:
    manifest = httpx.get(f"{site.url}manifest.webmanifest", trust_env=False).json()
    assert manifest["display"] == "standalone"
    page.evaluate("() => navigator.serviceWorker.ready")
    page.reload()
    page.locator("#drop").wait_for()
    cached = """async () => {
          const own = performance.getEntriesByType("resource").map((entry) => entry.name)
            .filter((url) => !url.includes("/v1/") && !url.startsWith("blob:"));
          const found = await Promise.all([location.href, ...own].map((url) => caches.match(url)));
          return own.length > 5 && found.every(Boolean);
        }"""
    until(lambda: bool(page.evaluate(cached)))
    page.seen.expected.append("ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    page.reload()
    expect(page.locator("#app")).to_contain_text("the server does not answer")
    page.context.set_offline(False)


def test_nothing_but_the_api_and_the_pages_files_is_asked_for(page: Any, site: Site) -> None:
    dropped(page, ("a.png", photo()))
    restored(page)
    urls = [url for url in page.seen.urls if not url.startswith("blob:")]
    paths = {url.removeprefix(site.url).split("?")[0] for url in urls}
    web = Path(unveil.__file__).parent / "serve/web"
    assert all(p.startswith("v1/") or p == "" or (web / p).is_file() for p in paths)


def test_paths_of_the_old_page_are_not_there(site: Site) -> None:
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        for path in (
            "gradio_api/file=/etc/passwd", "gradio_api/upload", "gradio_api/queue/join",
            "page/photos",
            "page/static/page.js", "gradio_api/", "page/", "page", "..%2fapi.py", "%2e%2e/api.py",
            "vendor/..%2f..%2fapi.py", "config", "sample_images/coffee.jpg",
        ):  # fmt: skip
            assert client.get(path).status_code == 404, path
            assert client.post(path, content=b"x").status_code in (404, 405), path


def test_a_second_tab_shows_the_photos_of_the_first(page: Any, site: Site) -> None:
    dropped(page, ("a.png", photo()))
    expect(page.locator("#view .say")).to_contain_text("a.png")
    kept(page, "photos.length === 1")
    other = page.context.new_page()
    opened(other, site.url)
    expect(other.locator(".strip li")).to_have_count(1)
