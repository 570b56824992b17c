"""The degrade tab in a real browser: what is measured is what is shown."""

import re
from typing import Any

from tests.serve.browser.conftest import GRADIO_WARNINGS, dropped, sync_api
from tests.serve.conftest import photo

expect = sync_api.expect
pytestmark = GRADIO_WARNINGS


def _scores(page: Any, name: str) -> tuple[float, float]:
    row = page.locator(".unveil-scores tr", has_text=name)
    psnr, ssim = (row.locator("td").nth(i).text_content() for i in (0, 1))
    return float(re.sub(r" dB$", "", psnr)), float(ssim)


def test_noise_is_added_by_the_slider_and_measured(page: Any) -> None:
    page.get_by_role("tab", name="Degrade").click()
    page.locator("[data-sample=cat]").click()
    expect(page.locator(".unveil-scores")).to_contain_text("Degraded")
    first, _ = _scores(page, "Degraded")
    slider = page.get_by_role("slider", name="Noise").first
    slider.focus()
    # Once: of many moves the last is drawn after the first has been seen.
    page.keyboard.press("PageUp")
    rows = page.locator(".unveil-scores td").first
    expect(rows).not_to_have_text(f"{first:.2f} dB")
    second, similarity = _scores(page, "Degraded")
    assert second < first
    assert 0 < similarity < 1
    page.locator("#unveil-degrade-go").click()
    expect(page.locator(".unveil-scores")).to_contain_text("Restored")
    view = page.locator("unveil-compare:visible")
    for pair in ("Clean | Restored", "Degraded | Restored", "Clean | Degraded"):
        page.get_by_role("radio", name=pair).check()
        left, right = pair.split(" | ")
        expect(view.locator(".tag.left")).to_have_text(left)
        expect(view.locator(".tag.right")).to_have_text(right)
        page.wait_for_function(
            "() => [...document.querySelectorAll('unveil-compare')]"
            ".filter(v => v.checkVisibility())"
            ".every(v => v.images.every(i => i.complete && i.naturalWidth === 451))"
        )


def test_rain_and_haze_change_the_picture(page: Any) -> None:
    page.get_by_role("tab", name="Degrade").click()
    dropped(page, ("clean.png", photo((120, 90))), tab=1)
    expect(page.locator("unveil-compare:visible .say")).to_contain_text("clean.png")
    cell = page.locator(".unveil-scores td").first
    told = [cell.text_content()]
    for name in ("Rain", "Haze"):
        box = page.get_by_label(re.compile(f"number input for {name}"))
        box.fill("60")
        box.press("Tab")
        expect(cell).not_to_have_text(told[-1])
        told.append(cell.text_content())
    assert len(set(told)) == 3
