"""Short descriptions are strict, and say what they mean."""

import pickle

import numpy as np
import pytest

from unveil.degradations import CATALOGUE, Choice, Span, parse
from unveil.degradations.records import Parameter
from unveil.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "identity",
        "noise:sigma_255=25",
        "noise:sigma_255=0..55",
        "noise_uint8:sigma_255=15|25|50",
        "camera:shot=0.001..0.01,p=0.5+jpeg:quality=20",
        "rain:density=0.2,style=streaks|layer|sheet,blend=screen",
        "gray+blur:defocus,radius=1..2,p=0.3,side=both+tone:gamma=0.8..1.2,side=degraded",
    ],
)
def test_descriptions_survive_a_round_trip(text):
    assert str(parse(text)) == text
    assert str(parse(str(parse(text)))) == text


def test_colons_separate_as_commas_do():
    assert str(parse("blur:motion:length=15:bend=0")) == "blur:motion,length=15,bend=0"


def test_named_choices_are_drawn_alike():
    pipeline = parse("rain:style=streaks|drops")
    assert pipeline.steps[0].values == {"style": Choice(("streaks", "drops"))}
    drawn = [pipeline.draw(np.random.default_rng(i)).steps[0].values["style"] for i in range(400)]
    assert set(drawn) == {"streaks", "drops"}
    assert drawn.count("drops") == pytest.approx(200, abs=50)
    assert not pipeline.exact
    assert parse("rain:style=drops").exact


def test_values_ranges_and_alternatives_are_told_apart():
    values = parse("camera:shot=0.01,read=0.001..0.02,correlation=0|1").steps[0].values
    assert values == {"shot": 0.01, "read": Span(0.001, 0.02), "correlation": Choice((0.0, 1.0))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nose:sigma_255=25", "did you mean 'noise'"),
        ("noise:sigma=25", "did you mean 'sigma_255'"),
        ("noise:sigma_255=-3", r"outside 0\.\.255 .* nearest is 0"),
        ("noise:sigma_255=999", "nearest is 255"),
        ("noise:sigma_255=nan", "outside"),
        ("noise:sigma_255=a", "not a number"),
        ("noise:sigma_255=55..0", "runs downwards"),
        ("noise:sigma_255=1,sigma_255=2", "given twice"),
        ("noise:sigma_255", "unknown word"),
        ("noise:sigma_255=1,strong", "expected parameter=value"),
        ("jpeg:quality=20.5", "whole number"),
        ("jpeg:p=2", "outside 0..1"),
        ("noise+", "unknown degradation"),
        ("rain:style=sheets", "unknown style 'sheets'.*did you mean 'sheet'"),
        ("rain:style=0.5", "unknown style '0.5'.*known: streaks, layer, sheet, drops"),
        ("rain:style=streaks|", "unknown style ''"),
        ("rain:style=a..b", "unknown style"),
        ("rain:sheets", "did you mean 'sheet'"),
        ("jpeg:side=clean", "unknown side 'clean'.*known: degraded, both"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(InputError, match=message):
        parse(text)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_preset_and_strength_parses(name):
    entry = CATALOGUE[name]
    separator = "," if ":" in name else ":"
    for words in (*entry.presets, *entry.strengths):
        assert len(parse(f"{name}{separator}{words}").steps) == 1
    assert len(entry.strengths) == 3


def test_pipelines_travel_to_worker_processes():
    pipeline = parse("noise:sigma_255=0..55+jpeg:quality=10..90,p=0.5")
    image = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    sent = pickle.loads(pickle.dumps(pipeline))
    rngs = np.random.default_rng(3), np.random.default_rng(3)
    assert np.array_equal(pipeline(image, rngs[0]), sent(image, rngs[1]))


def test_whole_numbers_are_drawn_with_both_ends_alike():
    parameter = Parameter("n", 1, 0, 9, "", integer=True)
    rng = np.random.default_rng(0)
    drawn = [parameter.draw(Span(2, 5), rng) for _ in range(4000)]
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, [2, 3, 4, 5])
    np.testing.assert_allclose(counts, 1000, rtol=0.12)


def test_a_logarithmic_span_is_drawn_evenly_per_factor():
    parameter = Parameter("n", 1, 0, 9, "", log=True)
    rng = np.random.default_rng(0)
    drawn = np.array([parameter.draw(Span(1e-4, 1e-2), rng) for _ in range(4000)])
    assert np.median(drawn) == pytest.approx(1e-3, rel=0.15)
    assert drawn.min() >= 1e-4
    assert drawn.max() <= 1e-2
    even = np.array([parameter.draw(Span(0, 1), rng) for _ in range(4000)])  # no logarithm of 0
    assert even.mean() == pytest.approx(0.5, abs=0.03)


def test_a_choice_draws_all_its_values_alike():
    rng = np.random.default_rng(0)
    drawn = [Parameter("n", 1, 0, 9, "").draw(Choice((1.0, 4.0, 7.0)), rng) for _ in range(3000)]
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, [1, 4, 7])
    np.testing.assert_allclose(counts, 1000, rtol=0.12)
