"""The page fits a phone and can be read in light and dark."""

from typing import Any

import pytest
from tests.serve.browser.conftest import GRADIO_WARNINGS, dropped, sync_api
from tests.serve.conftest import photo

expect = sync_api.expect
pytestmark = GRADIO_WARNINGS

_CONTRAST = """(element) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let ground = element;
  const fill = (e) => getComputedStyle(e).backgroundColor;
  while (ground.parentElement && parse(fill(ground))[3] === 0) ground = ground.parentElement;
  const [a, b] = [getComputedStyle(element).color, fill(ground)]
    .map(parse).map(light).sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(page: Any, scheme: str) -> None:
    # What Gradio does when the system is dark.
    page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", scheme == "dark")
    dropped(page, ("a.png", photo()))
    expect(page.locator("#unveil-go")).to_be_visible()
    # Through locators, which wait: Gradio may be drawing a part anew.
    for selector in (".unveil-head h1", ".unveil-head p", ".unveil-foot", "#unveil-go"):
        assert page.locator(selector).first.evaluate(_CONTRAST) >= 4.5, selector
    page.locator("#unveil-go").click()
    # Quiet text that stays: what became of the photo.
    assert page.locator(".unveil-quiet[role=status]").first.evaluate(_CONTRAST) >= 4.5
    page.evaluate("() => document.body.classList.remove('dark')")


def test_a_phone_shows_everything_without_scrolling_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    dropped(page, ("a-rather-long-name-of-a-photo-from-a-phone.png", photo((400, 300))))
    page.locator("#unveil-go").click()
    expect(page.locator("unveil-compare[after]").first).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    page.get_by_role("tab", name="Degrade").click()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
