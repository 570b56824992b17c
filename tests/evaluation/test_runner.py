import json
import math
import time

import numpy as np
import pytest

from unveil.errors import DataError, InputError, OutputError
from unveil.evaluation import Case, Identity, evaluate, protocol_named

GAUSSIAN, ALL_IN_ONE, PAIRED = map(protocol_named, ("gaussian-color", "all-in-one", "paired-rgb"))
CASES = (Case(sigma_255=15), Case(sigma_255=50))


class Counting:
    """Halves the distance to grey and counts its calls; dies at a given one."""

    name, parameters, digest, device = "counting", 7, "abc", "cpu"

    def __init__(self, dies_at=None):
        self.calls, self._dies_at = 0, dies_at

    def __call__(self, degraded, _sigma_255):
        self.calls += 1
        if self.calls == self._dies_at:
            raise KeyboardInterrupt
        return (degraded + np.float32(0.5)) / 2


def _scores(report):
    return [(i.name, i.psnr, i.ssim, i.input_psnr) for c in report.cases for i in c.images]


def test_every_image_of_every_case_is_scored(clean_folder):
    report = evaluate(Counting(), GAUSSIAN, clean_folder, cases=CASES)
    assert [case.case for case in report.cases] == list(CASES)
    assert [image.name for image in report.cases[1].images] == ["2", "10", "11"]
    assert report.cases[0].mean("psnr") == pytest.approx(
        np.mean([image.psnr for image in report.cases[0].images])
    )


def test_the_identity_scores_what_its_input_scores(clean_folder):
    report = evaluate(Identity(), ALL_IN_ONE, clean_folder, cases=CASES)
    for case in report.cases:
        assert case.mean("psnr") == case.mean("input_psnr")
        assert case.mean("ssim") == case.mean("input_ssim")


def test_a_killed_run_goes_on_where_it_was(clean_folder, tmp_path):
    whole = evaluate(Counting(), ALL_IN_ONE, clean_folder, cases=CASES)
    killed, second = Counting(dies_at=5), Counting()
    with pytest.raises(KeyboardInterrupt):
        evaluate(killed, ALL_IN_ONE, clean_folder, cases=CASES, output=tmp_path / "out")
    resumed = evaluate(second, ALL_IN_ONE, clean_folder, cases=CASES, output=tmp_path / "out")
    assert second.calls == 2
    assert _scores(resumed) == _scores(whole)


def test_a_torn_line_is_scored_again(clean_folder, tmp_path):
    whole = evaluate(Counting(), GAUSSIAN, clean_folder, cases=CASES, output=tmp_path)
    journal = tmp_path / "images.jsonl"
    journal.write_text(journal.read_text()[:-30])
    again = Counting()
    resumed = evaluate(again, GAUSSIAN, clean_folder, cases=CASES, output=tmp_path)
    assert again.calls == 1
    assert _scores(resumed) == _scores(whole)


@pytest.mark.parametrize("change", [{"seed": 1}, {"cases": CASES[:1]}, {"limit": 2}])
def test_scores_of_another_run_are_not_mixed_in(clean_folder, tmp_path, change):
    first = {"cases": CASES, "output": tmp_path}
    evaluate(Counting(), GAUSSIAN, clean_folder, **first)
    with pytest.raises(OutputError, match="--force"):
        evaluate(Counting(), GAUSSIAN, clean_folder, **first | change)
    forced = Counting()
    report = evaluate(forced, GAUSSIAN, clean_folder, **first | change, force=True)
    assert forced.calls == sum(len(case.images) for case in report.cases)


@pytest.mark.parametrize("change", ["name", "digest", "parameters"])
def test_scores_of_other_weights_are_not_mixed_in(clean_folder, tmp_path, change):
    evaluate(Counting(), GAUSSIAN, clean_folder, cases=CASES, output=tmp_path)
    other = Counting()
    setattr(other, change, 8)
    with pytest.raises(OutputError, match="--force"):
        evaluate(other, GAUSSIAN, clean_folder, cases=CASES, output=tmp_path)
    assert other.calls == 0


def test_scores_of_changed_images_are_not_mixed_in(paired_folder, tmp_path):
    evaluate(Counting(), PAIRED, paired_folder, output=tmp_path / "out")
    paired_folder.joinpath("input/1.png").write_bytes(
        paired_folder.joinpath("input/0.png").read_bytes()
    )
    with pytest.raises(OutputError, match="--force"):
        evaluate(Counting(), PAIRED, paired_folder, output=tmp_path / "out")


def test_scores_of_another_machine_are_kept(clean_folder, tmp_path):
    evaluate(Counting(), GAUSSIAN, clean_folder, cases=CASES, output=tmp_path)
    elsewhere = Counting()
    elsewhere.device = "cuda"
    evaluate(elsewhere, GAUSSIAN, clean_folder, cases=CASES, output=tmp_path)
    assert elsewhere.calls == 0


def test_seconds_are_those_of_the_restorer(clean_folder):
    class Slow(Counting):
        def __call__(self, degraded, sigma_255):
            time.sleep(0.05)
            return super().__call__(degraded, sigma_255)

    report = evaluate(Slow(), GAUSSIAN, clean_folder, cases=CASES[:1])
    assert all(0.05 <= image.seconds < 1 for image in report.cases[0].images)


def test_progress_counts_to_the_total(clean_folder):
    seen = []
    evaluate(
        Identity(),
        GAUSSIAN,
        clean_folder,
        cases=CASES,
        on_image=lambda done, total, _case, _score: seen.append((done, total)),
    )
    assert seen == [(k, 6) for k in range(1, 7)]


def test_clean_images_can_be_degraded_under_a_paired_protocol(clean_folder):
    cases = [Case(degradation="noise:sigma_255=25")]
    report = evaluate(Identity(), PAIRED, clean_folder, cases=cases)
    # clipping to [0, 1] lifts it a little above 20·log10(255/25) = 20.17
    assert 20 < report.cases[0].mean("psnr") < 21


@pytest.mark.parametrize(
    ("protocol", "case", "message"),
    [
        (GAUSSIAN, Case(), "--sigma"),
        (GAUSSIAN, Case(degradation="jpeg:quality=20"), "own noise"),
        (GAUSSIAN, Case(sigma_255=-1), "0 or more"),
        (PAIRED, Case(sigma_255=25), "adds no noise"),
    ],
)
def test_cases_that_do_not_fit_the_protocol_are_refused(
    clean_folder, paired_folder, protocol, case, message
):
    folder = paired_folder if protocol is PAIRED else clean_folder
    with pytest.raises(InputError, match=message):
        evaluate(Identity(), protocol, folder, cases=[case])


def test_noise_is_not_added_to_pairs(paired_folder):
    with pytest.raises(InputError, match="holds pairs"):
        evaluate(Identity(), ALL_IN_ONE, paired_folder, cases=[Case(sigma_255=25)])


def test_a_wrong_output_is_reported_with_its_image(clean_folder):
    class Broken(Counting):
        def __call__(self, degraded, _sigma_255):
            return np.full_like(degraded, np.nan)

    with pytest.raises(DataError, match=r"2: .*not finite"):
        evaluate(Broken(), GAUSSIAN, clean_folder, cases=CASES)


def test_perfect_scores_survive_the_journal(paired_folder, tmp_path):
    for name in ("0.png", "1.png"):
        clean = (paired_folder / "target" / name).read_bytes()
        (paired_folder / "input" / name).write_bytes(clean)
    for _ in range(2):
        report = evaluate(Identity(), PAIRED, paired_folder, output=tmp_path / "out")
        assert report.cases[0].mean("psnr") == math.inf
    lines = (tmp_path / "out" / "images.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["psnr"] is None


def test_the_input_of_rain100h_scores_what_its_readme_says(unveil_data):
    report = evaluate(Identity(), protocol_named("rain-rgb"), unveil_data / "rain100h" / "test")
    assert report.images_used == 25
    assert report.cases[0].mean("psnr") == pytest.approx(11.79, abs=0.005)
