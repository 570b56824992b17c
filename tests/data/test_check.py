"""A check finds everything wrong in one pass."""

import numpy as np
import pytest

from unveil.data import ImageStore, check_sources, clean_source, paired_source
from unveil.errors import DataError
from unveil.imaging import save_png


def _photo(seed, height=40, width=40):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def broken(tmp_path):
    """Ten pairs, of which number 0 to 5 have one problem each."""
    for side in ("input", "target"):
        (tmp_path / side).mkdir()
        for i in range(10):
            save_png(tmp_path / side / f"{i}.png", _photo(i + 100 * (side == "input")))
    (tmp_path / "target" / "0.png").unlink()
    (tmp_path / "input" / "1.png").unlink()
    save_png(tmp_path / "input" / "2.png", _photo(102, 40, 41))
    damaged = (tmp_path / "input" / "3.png").read_bytes()
    (tmp_path / "input" / "3.png").write_bytes(damaged[: len(damaged) // 2])
    for side in ("input", "target"):
        save_png(tmp_path / side / "4.png", _photo(4, 20, 40))
    save_png(tmp_path / "target" / "5.png", _photo(6))
    return tmp_path


def test_every_kind_of_problem_is_found_at_once(broken):
    report = check_sources([paired_source(broken)], min_size=32)
    found = {
        (problem.kind, problem.path.relative_to(broken).as_posix()) for problem in report.problems
    }
    assert found == {
        ("missing partner", "input/0.png"),
        ("missing partner", "target/1.png"),
        ("size mismatch", "input/2.png"),
        ("unreadable", "input/3.png"),
        ("too small", "input/4.png"),
        ("too small", "target/4.png"),
        ("duplicate", "target/6.png"),
    }
    assert (report.samples, report.photos) == (8, 16)
    assert not report.usable
    with pytest.raises(DataError, match="and 5 more"):
        report.require_usable()


def test_bad_pairs_can_be_left_out(broken):
    source = paired_source(broken)
    report = check_sources([source], min_size=32)
    (rest,) = report.without_bad([source])
    assert [pair.name for pair in rest.pairs] == [f"input/{i}.png" for i in range(5, 10)]
    # A duplicate is told, and kept.
    left = check_sources([rest], min_size=32)
    assert left.usable
    assert [problem.kind for problem in left.problems] == ["duplicate"]


def test_nothing_left_is_an_error(broken):
    source = paired_source(broken)
    with pytest.raises(DataError, match="no photo can be used"):
        check_sources([source], min_size=1000).without_bad([source])


def test_a_good_set_passes_and_fills_the_store(broken):
    source = clean_source(broken / "target", "identity", exclude="[45].png")
    store, seen = ImageStore(), []
    report = check_sources([source], store=store, progress=lambda *counts: seen.append(counts))
    assert report.usable
    assert report.problems == ()
    assert report.pixels == 7 * 1600
    assert all(path in store for path in source.files)
    assert seen[-1] == (7, 7)


def test_one_file_in_two_sources_is_no_duplicate(broken):
    folder = broken / "target"
    sources = [clean_source(folder, text, exclude="5.png") for text in ("noise", "rain:light")]
    assert check_sources(sources).problems == ()
