import dataclasses
import json
import math

import numpy as np
import pytest

from unveil.errors import DataError, InputError
from unveil.evaluation import (
    Case,
    Identity,
    compare,
    comparison_to_json,
    comparison_to_markdown,
    evaluate,
    protocol_named,
)
from unveil.evaluation.seeds import bootstrap_runs

GAUSSIAN = protocol_named("gaussian-color")


class Shrink:
    """Mixes in some grey: a restorer that is a little better than nothing."""

    name, parameters, digest, device = "shrink", None, "", "cpu"

    def __call__(self, degraded, _sigma_255):
        return np.float32(0.9) * degraded + np.float32(0.05)


def _reports(folder, restorer, **options):
    cases = (Case(sigma_255=25), Case(sigma_255=50))
    return evaluate(restorer, GAUSSIAN, folder, **{"cases": cases} | options)


def test_differences_are_paired_means(clean_folder):
    a, b = _reports(clean_folder, Shrink()), _reports(clean_folder, Identity())
    differences = compare(a, b)
    assert [(d.case.sigma_255, d.metric) for d in differences] == [
        (25, "psnr"),
        (25, "ssim"),
        (50, "psnr"),
        (50, "ssim"),
    ]
    first = differences[0]
    each = [x.psnr - y.psnr for x, y in zip(a.cases[0].images, b.cases[0].images, strict=True)]
    assert first.mean == pytest.approx(np.mean(each))
    assert first.mean == pytest.approx(first.mean_a - first.mean_b)
    assert min(each) <= first.low <= first.mean <= first.high <= max(each)
    assert {name for name, _ in first.extremes} <= {"2", "10", "11"}


def test_swapping_the_two_flips_the_sign(clean_folder):
    a, b = _reports(clean_folder, Shrink()), _reports(clean_folder, Identity())
    forth, back = compare(a, b)[0], compare(b, a)[0]
    assert (back.mean, back.a_better) == pytest.approx((-forth.mean, 1 - forth.a_better))
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low))


def test_a_model_is_not_better_than_itself(clean_folder):
    report = _reports(clean_folder, Shrink())
    for difference in compare(report, report):
        assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
        assert difference.a_better == 0.5
        assert not difference.significant
    assert "is better" not in comparison_to_markdown(
        report, report, compare(report, report), confidence=0.95
    )


def test_a_few_images_decide_nothing(clean_folder):
    a, b = _reports(clean_folder, Shrink()), _reports(clean_folder, Identity())
    few = compare(a, b)[0]
    assert few.images == 3
    assert few.low > 0
    assert not few.significant
    six = dataclasses.replace(few, images=6)
    assert six.significant
    for difference, verdict in ((few, "too few images"), (six, "A is better")):
        assert verdict in comparison_to_markdown(a, b, [difference], confidence=0.95)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for k in range(200):
        values = rng.normal(1.0, 2.0, 40)
        low, high = bootstrap_runs(
            values[None], np.zeros((1, len(values))), confidence=0.9, seed=k, resamples=1000
        )
        hits += low <= 1.0 <= high
    # 200 draws at 0.9 have a standard deviation of 0.021; percentile intervals run a little narrow
    assert 0.83 < hits / 200 < 0.96


def test_the_interval_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).exponential(1.0, 50)
    theirs = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2)
    ).confidence_interval
    ours = bootstrap_runs(values[None], np.zeros((1, len(values))), confidence=0.95, seed=3)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_evaluations_of_different_noise_do_not_compare(clean_folder):
    a, b = _reports(clean_folder, Shrink()), _reports(clean_folder, Identity(), seed=1)
    with pytest.raises(DataError, match="degraded differently"):
        compare(a, b)


def test_evaluations_of_different_images_do_not_compare(clean_folder):
    a, b = _reports(clean_folder, Shrink()), _reports(clean_folder, Identity(), limit=2)
    with pytest.raises(DataError, match="different images"):
        compare(a, b)


def test_evaluations_under_different_protocols_do_not_compare(clean_folder):
    a = _reports(clean_folder, Shrink())
    b = dataclasses.replace(a, protocol="all-in-one")
    with pytest.raises(DataError, match="protocols differ"):
        compare(a, b)


def test_evaluations_without_a_common_case_do_not_compare(clean_folder):
    a = _reports(clean_folder, Shrink())
    b = _reports(clean_folder, Identity(), cases=[Case(sigma_255=5)])
    with pytest.raises(DataError, match="share no"):
        compare(a, b)


def test_infinite_scores_are_left_out_or_ties(clean_folder):
    a = _reports(clean_folder, Shrink(), cases=[Case(sigma_255=25)])
    perfect = [dataclasses.replace(image, psnr=math.inf) for image in a.cases[0].images]
    images = a.cases[0].images

    def report(*chosen):
        return dataclasses.replace(a, cases=(dataclasses.replace(a.cases[0], images=chosen),))

    one = compare(report(perfect[0], *images[1:]), report(*images))[0]
    assert (one.images, one.left_out, one.mean) == (2, 1, 0)
    both = compare(report(perfect[0], *images[1:]), report(perfect[0], *images[1:]))[0]
    assert (both.images, both.left_out, both.mean) == (3, 0, 0)
    plain = comparison_to_json(a, a, [one, both], confidence=0.95)
    assert "Infinity" not in json.dumps(plain)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_a_share(clean_folder, confidence):
    report = _reports(clean_folder, Identity())
    with pytest.raises(InputError):
        compare(report, report, confidence=confidence)
