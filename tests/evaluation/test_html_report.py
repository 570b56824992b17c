import base64
import json
import re
from html.parser import HTMLParser
from typing import ClassVar

import pytest

from unveil.evaluation import Case, Identity, Report, evaluate, protocol_named, write_report


def _written(folder, output):
    cases = [Case(sigma_255=25), Case(sigma_255=50)]
    report = evaluate(
        Identity(), protocol_named("gaussian-color"), folder, cases=cases, output=output
    )
    write_report(report, output)
    return report, (output / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_no_other_file(clean_folder, tmp_path):
    _, page = _written(clean_folder, tmp_path / "out")
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "http" not in page


def test_every_image_has_its_scores_and_a_crop(clean_folder, tmp_path):
    report, page = _written(clean_folder, tmp_path / "out")
    for case in report.cases:
        for image in case.images:
            assert f'data-value="{image.psnr}"' in page
    crops = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(crops) == 6
    assert all(base64.b64decode(crop).startswith(b"\x89PNG") for crop in crops)


def test_crops_of_a_resumed_run_are_there(clean_folder, tmp_path):
    _, first = _written(clean_folder, tmp_path / "out")
    _, again = _written(clean_folder, tmp_path / "out")
    crops = 'data:image/png;base64,([^"]+)'
    assert re.findall(crops, first) == re.findall(crops, again)


def test_every_tag_is_closed_in_order(clean_folder, tmp_path):
    class Checker(HTMLParser):
        open_tags: ClassVar[list[str]] = []

        def handle_starttag(self, tag, attrs):  # noqa: ARG002
            if tag not in ("meta", "img"):
                self.open_tags.append(tag)

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    _, page = _written(clean_folder, tmp_path / "out")
    checker = Checker()
    checker.feed(page)
    assert checker.open_tags == []


def test_infinite_scores_sort_as_numbers(paired_folder, tmp_path):
    for name in ("0.png", "1.png"):
        clean = (paired_folder / "target" / name).read_bytes()
        (paired_folder / "input" / name).write_bytes(clean)
    output = tmp_path / "out"
    report = evaluate(Identity(), protocol_named("paired-rgb"), paired_folder, output=output)
    write_report(report, output)
    assert 'data-value="Infinity"' in (output / "report.html").read_text(encoding="utf-8")
    json.loads((output / "results.json").read_text(), parse_constant=pytest.fail)


def test_names_are_escaped(clean_folder, tmp_path):
    (clean_folder / "2.png").rename(clean_folder / "<b>2&.png")
    _, page = _written(clean_folder, tmp_path / "out")
    assert "<b>2" not in page
    assert "&lt;b&gt;2&amp;" in page


def test_json_beside_the_page_reads_back(clean_folder, tmp_path):
    report, _ = _written(clean_folder, tmp_path / "out")
    assert Report.read(tmp_path / "out") == report
    assert Report.read(tmp_path / "out" / "results.json") == report
    assert "## identity on clean_set" in (tmp_path / "out" / "report.md").read_text("utf-8")
