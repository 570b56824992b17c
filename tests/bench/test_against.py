"""Comparing this build with another one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import unveil
from unveil.bench import against
from unveil.bench import model as bench
from unveil.cli.bench import app
from unveil.errors import InputError

SOURCE = Path(unveil.__file__).parent


@pytest.fixture(scope="module")
def slower(tmp_path_factory):
    """Another build, half as fast: it runs every network twice."""
    checkout = tmp_path_factory.mktemp("checkout")
    package = checkout / "src" / "unveil"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__", "serve"))
    library = SOURCE.parents[1] / "native" / "build"
    if library.is_dir():
        (checkout / "native").mkdir()
        (checkout / "native" / "build").symlink_to(library)
    base = package / "models" / "base.py"
    text = base.read_text(encoding="utf-8")
    base.write_text(
        text + "\n\n_once = RestorationModel.forward\n"
        "RestorationModel.forward = lambda *a: (_once(*a), _once(*a))[1]\n",
        encoding="utf-8",
    )
    return checkout


def test_a_build_that_does_everything_twice_takes_twice_as_long(slower, monkeypatch):
    monkeypatch.setattr(against, "PATCHES", ((1, 32),))
    result = against.compare_builds(["cu_mamba_tiny"], slower, size=256, repeats=5)
    assert [row.work for row in result.rows] == ["pass", "gradients", "step"]
    assert 0.35 < result.rows[0].cpu_ratio < 0.75
    assert json.loads(json.dumps(result.as_dict()))["other"] == str(slower)


def test_the_command_prints_every_work(slower):
    words = ["model", "cu_mamba_tiny", "--size", "32", "--repeats", "1", "--no-step", "--against"]
    done = CliRunner().invoke(app, [*words, str(slower)])
    assert done.exit_code == 0
    assert "cu_mamba_tiny    pass" in done.output


def test_folders_without_unveil_and_unknown_models_are_named(tmp_path, slower):
    with pytest.raises(InputError, match="no unveil in it; give a checkout"):
        against.compare_builds(["cu_mamba_tiny"], tmp_path)
    with pytest.raises(InputError, match=r"cannot be timed: .*no_such"):
        against.compare_builds(["no_such"], slower, repeats=1, step=False)


def test_figures_of_an_earlier_run_are_compared_by_their_yardsticks(tmp_path):
    now = bench.bench_models(["cu_mamba_tiny"], size=32, repeats=1)
    timings = [replace(row, inference_ratio=row.inference_ratio * 2) for row in now.timings]
    file = tmp_path / "before.json"
    file.write_text(json.dumps(replace(now, timings=tuple(timings)).as_dict()), encoding="utf-8")
    assert against.compare_figures(now, file) == [
        ("cu_mamba_tiny", "pass", pytest.approx(0.5)),
        ("cu_mamba_tiny", "step", pytest.approx(1.0)),
    ]
    with pytest.raises(InputError, match="figures of 32×32 pixels; run with --size 32"):
        against.compare_figures(replace(now, height=64, width=64), file)
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="no figures of unveil bench model --json in it"):
        against.compare_figures(now, file)
