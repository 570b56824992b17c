"""File names are bytes: those that are not UTF-8 go through every verb."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import unveil
from unveil import create_model
from unveil.cli.app import main
from unveil.imaging import read_image, save_png
from unveil.models.checkpoint import save_checkpoint
from unveil.training.recipe_file import dump_recipe, parse_recipe

# "café.png" in Latin-1; the second name would break a line and move the cursor.
ODD = b"caf\xe9.png"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")


def parse_override(word: str) -> str | None:
    recipe = parse_recipe(
        "{model: {id: cu_mamba_tiny}, data: {train: [{pairs: x}]}, optim: {lr: 1, loss: l1},"
        "schedule: {steps: 1, phases: [{until: 1, patch: 8, batch: 1}]},"
        "evaluation: {sets: [{pairs: x}], every: 1m}}",
        [word],
    )
    return parse_recipe(dump_recipe(recipe)).model.weights


def _png(path: Path) -> None:
    rng = np.random.default_rng(len(path.name))
    save_png(path, rng.integers(60, 200, (24, 32, 3), dtype=np.uint8))


@pytest.fixture
def run():
    """Run the command with an output of bytes; return exit code, output and errors."""

    def call(*words):
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        out.flush()
        return stop.value.code, os.fsdecode(out.buffer.getvalue()), err.getvalue()

    return call


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / os.fsdecode(b"f\xf6lder")
    folder.mkdir()
    _png(folder / "after.png")
    _png(folder / os.fsdecode(ODD))
    return folder


@pytest.mark.parametrize("suffix", [".png", ".tif", ".avif"])
def test_restore_reads_and_writes_them(run, odd, suffix):
    code, _, err = run(
        "restore", odd, "--model", "identity", "-o", odd / "out", "--format", suffix, "--compare"
    )
    assert (code, err) == (0, "")
    results = {os.fsencode(path.name) for path in (odd / "out").glob(f"*.restored{suffix}")}
    assert results == {b"after.restored" + suffix.encode(), b"caf\xe9.restored" + suffix.encode()}
    if suffix == ".png":
        before, after = (
            read_image(path).pixels
            for path in (odd / os.fsdecode(ODD), odd / "out" / os.fsdecode(b"caf\xe9.restored.png"))
        )
        assert np.array_equal(before, after)
    code, _, err = run(
        "restore", odd, "--model", "identity", "-o", odd / "out", "--format", suffix, "--compare"
    )
    assert (code, err.strip()) == (0, "2 already done")


def test_data_check_degrade_and_evaluate_take_them(run, odd, tmp_path):
    code, out, err = run("data", "check", odd)
    assert (code, err) == (0, "")
    assert "fit for use" in out
    code, out, err = run("degrade", odd, "--with", "noise", "-o", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    assert [json.loads(line)["photo"].endswith(".png") for line in out.splitlines()] == [True] * 2
    code, out, err = run(
        "evaluate", "identity", "--data", odd, "--protocol", "gaussian-color", "--sigma", "25",
        "-o", tmp_path / os.fsdecode(b"r\xe9sults"),
    )  # fmt: skip
    assert (code, err) == (0, "")


def test_weights_and_folders_of_runs_may_have_such_names(run, odd):
    weights = odd / os.fsdecode(b"w\xe9.safetensors")
    save_checkpoint(create_model("cu_mamba_tiny"), weights)
    code, out, err = run("restore", odd / "after.png", "--model", weights)
    assert (code, err, Path(out.strip()).name) == (0, "", "after.restored.png")
    folder = unveil.save_pretrained(create_model("cu_mamba_tiny"), odd / "saved")
    assert unveil.from_pretrained(folder).model_id == "cu_mamba_tiny"
    assert parse_override(f"model.weights={weights}") == str(weights)


@pytest.mark.parametrize("verb", [["restore", "--model", "identity"], ["data", "check"]])
def test_a_bad_file_of_such_a_name_does_not_leave_what_follows(verb, odd):
    (odd / os.fsdecode(ODD)).write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    # The real streams of a process, which encode what tests' streams need not.
    done = subprocess.run(
        [sys.executable, "-m", "unveil", *verb, odd], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    if verb[0] == "restore":
        assert lines == [os.fsencode(odd / "after.restored.png")]
        assert len(done.stderr.splitlines()) == 1
    else:
        assert lines[0].startswith(b"unreadable: " + os.fsencode(odd / os.fsdecode(ODD)))


def test_a_name_with_control_characters_stays_one_line(run, tmp_path):
    bad = tmp_path / "a\nb\x1b[2J.png"
    bad.write_bytes(b"nothing")
    code, _, err = run("restore", bad, "--model", "identity")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "\x1b" not in err
