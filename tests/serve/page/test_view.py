"""Whatever comes from a user is text on the page, never markup; what is seen is said plainly."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra serve")

from unveil.inference.readout import Sighting
from unveil.serve.page import view
from unveil.serve.page.desk import Desk, Photo

HOSTILE = '"><script>alert(1)</script><img src=x onerror="alert(2)">\'.png'


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _photo(name: str = HOSTILE) -> Photo:
    return Photo(name, Path("/nowhere/a.png"), (40, 30))


def test_names_and_problems_are_escaped_everywhere() -> None:
    photo = _photo()
    photo.problem = f"{HOSTILE}: damaged"
    desk = Desk(photos={photo.key: photo}, chosen=photo.key)
    drawn = [view.strip(desk), view.compare(photo), view.status(photo)]
    drawn += [view.pair(photo, (HOSTILE, HOSTILE), (HOSTILE, HOSTILE))]
    drawn += [view.progress(HOSTILE, 0.5), view.scores([(HOSTILE, 30.0, None)])]
    for text in drawn:
        tags = _Tags(text).tags
        assert "script" not in [tag for tag, _ in tags]
        assert all("onerror" not in attributes for _, attributes in tags)
    compared = dict(_Tags(view.compare(photo)).tags)["unveil-compare"]
    assert compared["name"] == HOSTILE


def test_before_a_result_there_is_nothing_to_compare_or_to_take() -> None:
    photo = _photo("a.png")
    desk = Desk(photos={photo.key: photo}, chosen=photo.key)
    assert "after" not in dict(_Tags(view.compare(photo)).tags)["unveil-compare"]
    assert view.take(desk) == ""


def test_what_the_network_sees_is_told_with_its_noise_level() -> None:
    photo = _photo("a.png")
    photo.report = Sighting({"noise": 0.98, "rain": 0.7, "haze": 0.02}, 24.6, ("noise", "rain"))
    text = view.report(photo, able=True)
    assert "Noise (σ ≈ 25) and rain." in text
    meters = [attributes for tag, attributes in _Tags(text).tags if tag == "meter"]
    assert [meter["value"] for meter in meters] == ["0.980", "0.700", "0.020"]
    photo.report = Sighting({"noise": 0.1, "rain": 0.2, "haze": 0.02}, 0.0, ("clean",))
    assert "This photo looks clean." in view.report(photo, able=True)


def test_when_no_model_can_tell_the_page_says_so() -> None:
    assert "cannot tell what is wrong" in view.report(_photo("a.png"), able=False)
