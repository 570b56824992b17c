"""Banding on named parts of test images, from the command line's words to the report."""

import json

import numpy as np
import pytest

from unveil.errors import DataError, InputError
from unveil.evaluation import Case, Report, evaluate, parse_patch, protocol_named, to_markdown
from unveil.evaluation.html_report import to_html
from unveil.imaging import save_png
from unveil.metrics import banding

PAIRED = protocol_named("paired-rgb")


class Striping:
    """Adds bands of two levels along rows."""

    name, parameters, digest, device = "striping", 7, "abc", "cpu"
    calls = 0

    def __call__(self, degraded, _sigma_255):
        self.calls += 1
        rows = np.arange(degraded.shape[0]) // 2 % 2
        return degraded + (4 / 255 * rows[:, None, None]).astype(np.float32)


@pytest.fixture
def skies(tmp_path):
    for part, change in (("input", 10), ("target", 0)):
        (tmp_path / "set" / part).mkdir(parents=True)
        for name in ("sky_1", "sky_2", "wall"):
            picture = np.full((96, 128, 3), 150 + change, np.uint8)
            save_png(tmp_path / "set" / part / f"{name}.png", picture)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10:20", "expected `all`"),
        ("sky=1:2", "expected `all`"),
        ("sky=a:b,1:2", "expected `all`"),
        ("=1:2,3:4", "expected `all`"),
        ("sky=20:10,1:2", "must rise"),
        ("sky=-1:10,1:2", "expected `all`"),
    ],
)
def test_parts_are_read_strictly(text, said):
    with pytest.raises(InputError, match=said):
        parse_patch(text)


def test_bands_are_those_of_the_scored_files(skies, tmp_path):
    patches = [parse_patch("sky*=0:64,10:100"), parse_patch("all")]
    report = evaluate(Striping(), PAIRED, skies, patches=patches, output=tmp_path / "out")
    (case,) = report.cases
    assert [sorted(image.bands) for image in case.images] == [
        ["all", "sky*=0:64,10:100"], ["all", "sky*=0:64,10:100"], ["all"],
    ]  # fmt: skip
    truth = np.full((64, 90, 3), 150.0)
    restored = truth + 10 + 4 * (np.arange(64) // 2 % 2)[:, None, None]
    ours, given = case.mean_bands("sky*=0:64,10:100")
    assert ours == pytest.approx(banding(restored, truth, data_range=255), abs=1e-4)
    assert given == pytest.approx(0, abs=1e-4)
    text = to_markdown(report)
    assert f"| sky*=0:64,10:100 | striping       | {ours:.2f}  |" in text
    assert "Banding" in to_html(report, tmp_path / "out")
    again = Report.from_json(json.loads(json.dumps(report.to_json(PAIRED.fields()))))
    assert again.cases == report.cases
    assert again.patches == report.patches


def test_bands_survive_a_kill_and_other_parts_are_another_evaluation(skies, tmp_path):
    from unveil.errors import OutputError

    patches = [parse_patch("all")]
    first, second = Striping(), Striping()
    whole = evaluate(first, PAIRED, skies, patches=patches, output=tmp_path / "out")
    resumed = evaluate(second, PAIRED, skies, patches=patches, output=tmp_path / "out")
    assert (first.calls, second.calls) == (3, 0)
    assert resumed.cases == whole.cases
    with pytest.raises(OutputError, match="another evaluation"):
        evaluate(Striping(), PAIRED, skies, output=tmp_path / "out")


@pytest.mark.parametrize(
    ("texts", "error", "said"),
    [
        (["sea=0:64,0:64"], InputError, "no image's name fits"),
        (["all", "all"], InputError, "given twice"),
        (["sky*=0:97,0:64"], DataError, "sky_1 is 128×96"),
        (["wall=0:20,0:30"], DataError, "needs a side of 64"),
    ],
)
def test_parts_that_cannot_be_measured_are_errors(skies, texts, error, said):
    with pytest.raises(error, match=said):
        evaluate(Striping(), PAIRED, skies, patches=[parse_patch(text) for text in texts])


def test_without_parts_nothing_is_measured(skies):
    report = evaluate(Striping(), PAIRED, skies, cases=(Case(),))
    assert all(image.bands == {} for image in report.cases[0].images)
    assert "Banding" not in to_markdown(report)
