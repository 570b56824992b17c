"""Timing exported networks beside the native pass."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from unveil.cli.bench import app
from unveil.inference.loading import load
from unveil.models.registry import create_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from unveil.bench import exported


def test_a_file_is_timed_beside_the_native_pass(monkeypatch):
    tiny = replace(load("cu_mamba_small"), network=create_model("cu_mamba_tiny").eval())
    monkeypatch.setattr(exported, "load", lambda _: tiny)
    words = ["export", "cu_mamba_tiny", "--size", "64", "--repeats", "3", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["timings"]
    # Some graph is measured: neither free nor a hundred times as slow.
    assert 0.2 < row["cpu_ratio"] < 50
    assert 1.0 < row["size_ratio"] < 3
    assert 0 < row["load_seconds"] < 2
