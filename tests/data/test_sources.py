"""Sources are built from folders, and know their degradations and weights."""

import numpy as np
import pytest

from unveil.data import clean_source, find_sources, paired_source, promptir_sources
from unveil.errors import DataError, InputError
from unveil.imaging import save_png


@pytest.fixture
def tree(tmp_path):
    """The training tree of PromptIR with 2 noise, 1 rain and 3 haze samples."""
    names = ["Denoise/a.png", "Denoise/b.png", "Derain/rainy/rain-1.png", "Derain/gt/norain-1.png"]
    names += [f"Dehaze/synthetic/part{i}/0001_0.{i}_0.2.png" for i in (1, 2, 3)]
    for name in [*names, "Dehaze/original/0001.png"]:
        path = tmp_path / "Train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(path, np.zeros((4, 4, 3), np.uint8))
    return tmp_path


@pytest.mark.parametrize("inside", [False, True])
def test_the_all_in_one_tree_is_read_as_it_is(tree, inside):
    denoise, derain, dehaze = promptir_sources(tree / "Train" if inside else tree)
    assert [len(source.pairs) for source in (denoise, derain, dehaze)] == [2, 1, 3]
    assert str(denoise.degradations[0][0]) == "noise_uint8:sigma_255=15|25|50"
    assert derain.pairs[0].clean.name == "norain-1.png"
    assert dehaze.pairs[0].clean.name == "0001.png"


def test_the_tree_has_the_papers_weights(tree):
    # An epoch: a clean photo 3 x 3 times, a rain pair 200 times, a haze pair once.
    assert [source.weight for source in promptir_sources(tree)] == [18, 200, 3]


def test_folders_are_recognised(tree):
    assert len(find_sources(tree)) == 3
    (rain,) = find_sources(tree / "Train" / "Derain")
    assert rain.pairs[0].degraded is not None
    (clean,) = find_sources(tree / "Train" / "Denoise")
    assert clean.pairs[0].degraded is None


def test_a_clean_source_takes_shares_of_degradations(tree):
    shares = {"noise:sigma_255=0..55": 9, "identity": 1}
    source = clean_source(tree / "Train" / "Denoise", shares, task="denoise")
    assert [(str(pipeline), share) for pipeline, share in source.degradations] == list(
        shares.items()
    )
    assert [pair.name for pair in source.pairs] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda folder: clean_source(folder / "none", "noise"), DataError),
        (lambda folder: clean_source(folder, "noise", include="*.tif"), DataError),
        (lambda folder: clean_source(folder, "nois"), InputError),
        (lambda folder: clean_source(folder, "noise", weight=0), DataError),
        (lambda folder: clean_source(folder, {"noise": -1}), DataError),
        (lambda folder: paired_source(folder, "x/{id} -> y/{id}"), DataError),
        (lambda folder: promptir_sources(folder / "Train" / "Denoise"), DataError),
    ],
)
def test_unusable_sources_are_refused(tree, build, error):
    with pytest.raises(error):
        build(tree)
