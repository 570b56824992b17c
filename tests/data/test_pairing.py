"""Published folder layouts are read as they are."""

import signal

import numpy as np
import pytest

from unveil.data import list_images, match_pairs, pairing
from unveil.data.pairing import existing_folder
from unveil.errors import DataError
from unveil.imaging import save_png


def _fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_png(path, np.zeros((4, 4, 3), np.uint8))


def _names(root, matching):
    return {
        pair.degraded.relative_to(root).as_posix(): pair.clean.relative_to(root).as_posix()
        for pair in matching.pairs
    }


@pytest.mark.parametrize(
    ("degraded", "clean"),
    [
        ("input/1.png", "target/1.png"),
        ("lq/a b.png", "gt/a b.png"),
        ("LQ/x.png", "GT/x.png"),
        ("rainy/rain-1.png", "gt/norain-1.png"),
        ("rain/rain-001.png", "norain/norain-001.png"),
        ("input/0001_0.8_0.2.png", "target/0001.png"),
        ("synthetic/part1/0001_0.8_0.2.png", "original/0001.png"),
        ("input/im1_kernel3.png", "target/im1.png"),
        ("hazy/01_hazy.png", "clear/01.png"),
    ],
)
def test_usual_layouts_are_found(tmp_path, degraded, clean):
    _fill(tmp_path, degraded, clean)
    matching = match_pairs(tmp_path)
    assert _names(tmp_path, matching) == {degraded: clean}
    assert matching.without_clean == matching.without_degraded == ()


def test_many_degraded_photos_may_share_a_clean_one(tmp_path):
    _fill(tmp_path, "input/7_0.8_0.1.png", "input/7_0.9_0.2.png", "target/7.png")
    assert len(match_pairs(tmp_path).pairs) == 2


@pytest.mark.parametrize(
    "layout",
    [
        "{id}_noisy -> {id}_clean",
        r"re:(\d+)_noisy -> \1_clean",
        r"re:(?P<id>.*)_noisy -> \g<id>_clean",
        "{id}_n*y -> {id}_clean",
    ],
)
def test_templates_and_expressions_pair_one_folder(tmp_path, layout):
    _fill(tmp_path, "10_noisy.png", "10_clean.png", "9_noisy.png", "9_clean.png")
    matching = match_pairs(tmp_path, layout)
    assert [pair.clean.name for pair in matching.pairs] == ["9_clean.png", "10_clean.png"]
    assert matching.without_degraded == ()


def test_a_repeated_placeholder_must_agree(tmp_path):
    _fill(tmp_path, "a/a_in.png", "a/b_in.png", "a/a_out.png", "a/b_out.png")
    matching = match_pairs(tmp_path, "{x}/{x}_in -> {x}/{x}_out")
    assert _names(tmp_path, matching) == {"a/a_in.png": "a/a_out.png"}


def test_an_expression_that_tries_endlessly_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(pairing, "_MATCHING_S", 0.2)
    _fill(tmp_path, "a" * 60 + ".png", "b.png")
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(DataError, match="takes too long"):
        match_pairs(tmp_path, r"re:((a+)+)+b -> \1")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_files_without_partner_are_named_on_both_sides(tmp_path):
    _fill(tmp_path, "input/1.png", "input/2.png", "target/1.png", "target/3.png")
    matching = match_pairs(tmp_path)
    assert [path.name for path in matching.without_clean] == ["2.png"]
    assert [path.name for path in matching.without_degraded] == ["3.png"]


def test_filters_choose_by_the_degraded_name(tmp_path):
    _fill(tmp_path, *(f"{side}/{i}.png" for side in ("input", "target") for i in range(4)))
    assert len(match_pairs(tmp_path, include="[01]*").pairs) == 2
    kept = match_pairs(tmp_path, exclude="[01]*")
    assert [pair.name for pair in kept.pairs] == ["input/2.png", "input/3.png"]
    assert kept.without_degraded == ()


def test_several_patterns_keep_what_any_of_them_matches(tmp_path):
    _fill(tmp_path, *(f"{side}/{i}.png" for side in ("input", "target") for i in range(5)))
    kept = match_pairs(tmp_path, include=["0*", "[2-4]*"], exclude=("3*", "x"))
    assert [pair.name for pair in kept.pairs] == ["input/0.png", "input/2.png", "input/4.png"]
    files = list_images(tmp_path / "input", include=["1*", "4*"])
    assert [path.name for path in files] == ["1.png", "4.png"]


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("input/{name}", "is not"),
        ("{a} -> {b}", "left side lacks"),
        ("re:( -> x", "cannot be read"),
        (r"re:x -> \3", "left side lacks"),
    ],
)
def test_bad_layouts_are_refused(tmp_path, layout, message):
    _fill(tmp_path, "x.png", "y.png")
    with pytest.raises(DataError, match=message):
        match_pairs(tmp_path, layout)


def test_a_folder_without_pairs_says_what_was_expected(tmp_path):
    _fill(tmp_path, "photos/1.png")
    with pytest.raises(DataError, match="no pair of sub-folders"):
        match_pairs(tmp_path)


def test_listing_is_natural_recursive_and_skips_the_hidden(tmp_path):
    _fill(tmp_path, "10.png", "9.png", "sub/1.png", ".hidden/1.png", ".x.png")
    (tmp_path / "notes.txt").write_text("x")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["9.png", "10.png", "sub/1.png"]


def test_variables_in_paths_are_expanded_or_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_PHOTOS", str(tmp_path))
    assert existing_folder("$MY_PHOTOS") == tmp_path
    monkeypatch.delenv("MY_PHOTOS")
    with pytest.raises(DataError, match="environment variable is not set"):
        existing_folder("$MY_PHOTOS")


def test_the_real_sets_pair_whole(unveil_data):
    for name, count in {"rain100h/test": 25, "rain_bsd20/train": 9, "noise_polyu": 80}.items():
        matching = match_pairs(unveil_data / name)
        assert len(matching.pairs) == count
        assert matching.without_clean == matching.without_degraded == ()


def test_files_of_one_stem_and_other_suffixes_stay_apart(tmp_path):
    _fill(tmp_path, "input/1.png", "target/1.png")
    for side in ("input", "target"):
        (tmp_path / side / "1.jpg").write_bytes((tmp_path / side / "1.png").read_bytes())
    matching = match_pairs(tmp_path)
    assert _names(tmp_path, matching) == {
        "input/1.jpg": "target/1.jpg",
        "input/1.png": "target/1.png",
    }
    assert not matching.without_degraded
    assert not matching.ambiguous


def test_another_suffix_pairs_where_there_is_one_partner(tmp_path):
    _fill(tmp_path, "input/1.png", "target/1.png", "target/2.png", "target/2.tif")
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "input" / name).touch()
    matching = match_pairs(tmp_path)
    assert _names(tmp_path, matching) == {
        "input/1.jpg": "target/1.png",
        "input/1.png": "target/1.png",
    }
    assert [path.name for path in matching.ambiguous] == ["2.jpg"]


@pytest.mark.parametrize(
    "layout",
    [
        "input/{name}.jpg -> target/{name}.png",
        r"re:input/(.*)\.jpg -> target/\1.png",
        r"re:input/(\d+) -> target/\1.png",
    ],
)
def test_a_layout_may_name_suffixes(tmp_path, layout):
    _fill(tmp_path, "target/1.png", "target/1.tif", "target/2.png")
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "input").mkdir(exist_ok=True)
        (tmp_path / "input" / name).touch()
    matching = match_pairs(tmp_path, layout)
    assert _names(tmp_path, matching) == {
        "input/1.jpg": "target/1.png",
        "input/2.jpg": "target/2.png",
    }
