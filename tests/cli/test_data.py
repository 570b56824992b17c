"""`unveil data` checks sets and draws a small one."""

import json

import numpy as np
import pytest

from unveil.cli.app import main
from unveil.imaging import save_png


def _run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["data", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    for side in ("lq", "gt"):
        (tmp_path / side).mkdir()
        for i in range(3):
            photo = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            save_png(tmp_path / side / f"{i}.png", photo)
    return tmp_path


def test_a_good_set_passes(pairs, capsys):
    code, out, err = _run(capsys, "check", pairs)
    assert (code, err) == (0, "")
    first, more, summary = out.splitlines()
    assert first == f"pair: {pairs / 'lq' / '0.png'} -> {pairs / 'gt' / '0.png'}"
    assert more == "      and 2 more pairs by 'lq/{name} -> gt/{name}'; --pairs lists all"
    assert summary == "3 samples in 6 files, 0 MB decoded; fit for use"
    code, out, _ = _run(capsys, "check", pairs, "--pairs")
    assert out.count("pair: ") == 3


def test_a_bad_set_fails_and_says_why(pairs, capsys):
    (pairs / "gt" / "1.png").unlink()
    (pairs / "lq" / "2.png").write_bytes(b"")
    code, out, _ = _run(capsys, "check", pairs)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith("missing partner: ")
    assert lines[1].startswith("unreadable: ")
    assert "cannot be used as it is: 2 problems" in lines[-1]


def test_a_partner_that_is_not_clear_is_a_problem(pairs, capsys):
    for suffix in (".jpg", ".tif"):
        (pairs / "gt" / "0.png").with_suffix(suffix).write_bytes(b"")
    (pairs / "gt" / "0.png").unlink()
    code, out, _ = _run(capsys, "check", pairs)
    assert code == 1
    assert f"ambiguous partner: {pairs / 'lq' / '0.png'}: several clean photos" in out


def test_json_lists_problems_with_their_files(pairs, capsys):
    code, out, _ = _run(capsys, "check", pairs, "--min-size", "22", "--json")
    assert code == 1
    facts = json.loads(out)
    assert (facts["usable"], facts["samples"], facts["photos"]) == (False, 3, 6)
    assert {problem["kind"] for problem in facts["problems"]} == {"too small"}
    assert len(facts["problems"]) == 6


def test_a_layout_can_be_given(pairs, capsys):
    (pairs / "lq").rename(pairs / "mine")
    assert _run(capsys, "check", pairs, "--layout", "mine/{name} -> gt/{name}")[0] == 0
    code, _, error = _run(capsys, "check", pairs, "--layout", "mine/{name}")
    assert code == 1
    assert "is not" in error


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    code, _, error = _run(capsys, "check", tmp_path / "none")
    assert code == 1
    assert error.count("\n") == 1


def test_the_toy_set_can_be_checked(tmp_path, capsys):
    code, out, _ = _run(
        capsys, "toy", tmp_path / "toy", "--count", "2", "--test-count", "1", "--size", "32"
    )
    assert code == 0
    assert out == f"{tmp_path}/toy/train  2 pictures\n{tmp_path}/toy/test  1 pictures\n"
    assert _run(capsys, "check", tmp_path / "toy", "--min-size", "32")[0] == 0
    code, _, error = _run(capsys, "toy", tmp_path / "toy", "--count", "2", "--size", "32")
    assert code == 1
    assert "already there" in error


def test_a_smaller_set_replaces_a_larger_one_whole(tmp_path, capsys):
    words = ("toy", tmp_path, "--test-count", "1", "--size", "16")
    assert _run(capsys, *words, "--count", "3")[0] == 0
    mine = tmp_path / "train" / "toy_cat.png"
    mine.write_bytes(b"mine")
    assert _run(capsys, *words, "--count", "1", "--force")[0] == 0
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == ["toy_000.png", "toy_cat.png"]


def test_generated_pictures_are_drawn_once_and_alike(tmp_path, capsys):
    words = ("draw", tmp_path / "out", "--kind", "flat", "--kind", "text", "--count", 2)
    code, out, _ = _run(capsys, *words, "--size", 32)
    assert (code, out.split()[-2:]) == (0, ["4", "pictures"])
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [
        "flat_000.png", "flat_001.png", "text_000.png", "text_001.png",
    ]  # fmt: skip
    before = [file.read_bytes() for file in files]
    assert len(set(before)) == 4
    code, _, error = _run(capsys, *words)
    assert code == 1
    assert "already there" in error
    assert _run(capsys, *words, "--size", 32, "--force")[0] == 0
    assert [file.read_bytes() for file in files] == before
    code, _, error = _run(capsys, "draw", tmp_path / "other", "--kind", "flats")
    assert code == 1
    assert "one or several of flat, gradient" in error
