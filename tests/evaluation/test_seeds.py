"""Intervals over images and training runs."""

import dataclasses
import json

import numpy as np
import pytest

from unveil.cli.app import main
from unveil.errors import DataError, InputError
from unveil.evaluation import Report, compare, comparison_to_json, comparison_to_markdown
from unveil.evaluation.images import Case
from unveil.evaluation.report import CaseResult, ImageScore
from unveil.evaluation.seeds import bootstrap_runs, spread_of


def report(psnr, name="m"):
    images = tuple(
        ImageScore(f"{i}", 8, 8, float(p), 0.9, 20.0 + i, 0.5, 0.1) for i, p in enumerate(psnr)
    )
    cases = (CaseResult(Case(), images),)
    return Report(name, 1, "", "rain-y", "d", len(images), "", 0, cases, {})


def runs(rng, mean, count, images=8, between=0.2):
    easy = np.linspace(-3, 3, images)
    return [
        report(mean + easy + rng.normal(0, between) + rng.normal(0, 0.05, images))
        for _ in range(count)
    ]


def psnr_of(differences):
    return next(one for one in differences if one.metric == "psnr")


def test_runs_are_averaged_and_their_spread_reported():
    rng = np.random.default_rng(0)
    a, b = runs(rng, 31.0, 3), runs(rng, 30.0, 2)
    found = psnr_of(compare(a, b))
    means = [[run.cases[0].mean("psnr") for run in side] for side in (a, b)]
    assert found.runs == (3, 2)
    assert found.mean == pytest.approx(np.mean(means[0]) - np.mean(means[1]))
    assert found.spread_a == pytest.approx(np.std(means[0], ddof=1))
    assert found.spread_b == pytest.approx(np.std(means[1], ddof=1))
    assert found.low < found.mean < found.high


def test_one_run_each_is_the_comparison_of_before():
    rng = np.random.default_rng(1)
    (a,), (b,) = runs(rng, 31.0, 1), runs(rng, 30.0, 1)
    found = psnr_of(compare([a], b))
    assert found == psnr_of(compare(a, b))
    values = np.array(
        [x.psnr - y.psnr for x, y in zip(a.cases[0].images, b.cases[0].images, strict=True)]
    )
    assert (found.low, found.high) == bootstrap_runs(
        values[None], np.zeros((1, len(values))), confidence=0.95, seed=0
    )
    assert (found.runs, found.spread_a) == ((1, 1), None)


def test_a_difference_within_the_luck_of_training_is_not_decided():
    """The images say so clearly; the runs of one side differ by more than the sides."""
    rng = np.random.default_rng(2)
    a, b = runs(rng, 30.1, 3, between=0.5), runs(rng, 30.0, 3, between=0.5)
    assert psnr_of(compare(a[0], b[0])).significant
    assert not psnr_of(compare(a, b)).significant
    clear = psnr_of(compare(runs(rng, 33.0, 3), b))
    assert clear.significant
    assert clear.mean > 0


def test_the_interval_covers_the_true_difference_nearly_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(120):
        images = rng.normal(0, 1.0, 30)
        sides = [
            images + rng.normal(0, 0.3, (4, 1)) + rng.normal(0, 0.1, (4, 30)) for _ in range(2)
        ]
        low, high = bootstrap_runs(*sides, confidence=0.9, seed=trial, resamples=500)
        hits += low <= 0 <= high
    # With four runs a side a percentile interval is a little too narrow.
    assert 0.78 <= hits / 120 <= 0.97


def test_a_single_run_is_not_varied():
    scores = np.random.default_rng(4).normal(30, 1, (1, 50))
    assert spread_of(scores) is None
    low, high = bootstrap_runs(scores, scores - 1, confidence=0.95, seed=0)
    assert (low, high) == pytest.approx((1.0, 1.0))


def test_tables_say_what_was_varied():
    rng = np.random.default_rng(5)
    a, b = runs(rng, 31.0, 2), runs(rng, 30.0, 1)
    differences = compare(a, b)
    text = comparison_to_markdown(a, b, differences, confidence=0.95)
    assert "A = m and 1 more, B = m" in text
    assert "over images and training runs (2 of A, 1 of B)" in text
    assert "B unknown (a single run)" in text
    plain = comparison_to_json(a, b, differences, confidence=0.95)
    assert len(plain["a"]["runs"]) == 2
    assert "runs" not in plain["b"]


def test_runs_on_other_images_do_not_compare():
    a, b = report([30, 31, 32]), report([30, 31])
    with pytest.raises(DataError, match="different images"):
        compare([a, b], a)
    with pytest.raises(InputError, match="no report"):
        compare([], a)
    noisier = dataclasses.replace(b, cases=())
    with pytest.raises(DataError, match="share no noise level"):
        compare([a, noisier], a)


def test_the_command_takes_runs_joined_by_commas(tmp_path, capsys):
    rng = np.random.default_rng(6)
    names = []
    for side, mean in (("a", 33.0), ("b", 30.0)):
        files = []
        for number, run in enumerate(runs(rng, mean, 3)):
            files.append(tmp_path / f"{side}{number}.json")
            files[-1].write_text(json.dumps(run.to_json()))
        names.append(",".join(map(str, files)))
    with pytest.raises(SystemExit) as stop:
        main(["compare", *names, "--json"])
    assert stop.value.code == 0
    first = json.loads(capsys.readouterr().out)["differences"][0]
    assert (first["runs"], first["significant"]) == ([3, 3], True)
    with pytest.raises(SystemExit) as stop:
        main(["compare", f"{names[0]},", names[1]])
    assert stop.value.code == 2
