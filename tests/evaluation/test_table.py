import dataclasses

import pytest

from unveil.evaluation import Case, CaseResult, ImageScore, Report, to_markdown
from unveil.evaluation.table import notes, rows


def _report(sigmas=(15, 25, 50), images=68, **changes):
    score = ImageScore("x", 500, 200, 31.0, 0.9, 20.0, 0.4, 0.05)
    result = tuple(
        CaseResult(Case(s), tuple(dataclasses.replace(score, name=str(k)) for k in range(images)))
        for s in sigmas
    )
    values = {
        "model": "ours",
        "parameters": 1_234_567,
        "digest": "",
        "protocol": "gaussian-color",
        "dataset": "cbsd68",
        "images_found": images,
        "files_digest": "",
        "seed": 0,
        "cases": result,
        "environment": {"threads": 1, "device": "cpu"},
    }
    return Report(**values | changes)


def test_published_results_of_the_protocol_stand_beside_ours_and_are_marked():
    table = rows(_report())
    by_method = {row.method: row for row in table}
    assert by_method["ours"].cells == ("31.00 / 0.9000",) * 3
    assert by_method["ours"].kind == "measured"
    assert by_method["Restormer"].cells == ("34.40", "31.79", "28.60")
    assert {row.kind for row in table[2:]} == {"published"}
    assert "MTAIR" not in by_method


def test_the_all_in_one_family_has_its_own_published_results():
    by_method = {row.method: row for row in rows(_report(protocol="all-in-one"))}
    assert by_method["MTAIR"].cells == ("34.14 / 0.936", "31.50 / 0.893", "28.24 / 0.805")
    assert "Restormer" not in by_method


def test_levels_nobody_published_bring_no_published_results():
    assert [row.method for row in rows(_report(sigmas=(10,)))] == ["degraded input", "ours"]


def test_missing_levels_are_dashes():
    by_method = {row.method: row for row in rows(_report(sigmas=(10, 25)))}
    assert by_method["Restormer"].cells == ("–", "31.79")


def test_the_identity_is_the_input_row_alone():
    assert [row.method for row in rows(_report(model="identity"))][:2] == [
        "degraded input",
        "CBM3D",
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"images": 8}, ["not to be compared"]),
        ({"images": 8, "images_found": 68}, ["first 8 of 68", "not to be compared"]),
        ({"seed": 3}, ["seed 3"]),
        ({"dataset": "Kodak24", "images": 24}, ["500×500"]),
        ({"dataset": "holiday", "seed": 3}, []),
    ],
)
def test_notes_say_what_forbids_comparing(changes, expected):
    lines = notes(_report(**changes))
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))


def test_markdown_prints_every_field_of_the_protocol():
    text = to_markdown(_report())
    for part in ("clipped, rounded to uint8", "not clipped", "RGB", "Gaussian 11×11", "seed: 0"):
        assert part in text
    assert "0.50 / 0.50 / 0.50 seconds per megapixel with 1 thread." in text
    assert "1.23 M" in text


def test_synthetic_degradations_are_named():
    report = _report(sigmas=(None,), protocol="paired-rgb")
    rain = dataclasses.replace(report.cases[0], case=Case(degradation="rain:heavy"))
    text = to_markdown(dataclasses.replace(report, cases=(rain,)))
    assert "rain:heavy" in text
    assert "- data: clean images, degraded as the columns say" in text


def test_a_report_survives_json():
    report = _report(images=2)
    assert Report.from_json(report.to_json({"name": "gaussian-color"})) == report
