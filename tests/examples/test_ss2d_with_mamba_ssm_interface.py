"""The example written against mamba_ssm runs as it is, with the stand-in."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unveil import compat

_EXAMPLE = Path(__file__).parents[2] / "examples" / "ss2d_with_mamba_ssm_interface.py"


def test_it_knows_nothing_of_unveil_and_runs_under_the_stand_in() -> None:
    assert "import unveil" not in _EXAMPLE.read_text()
    words = ["--size", "8", "--width", "4", "--depth", "1", "--times", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "unveil.compat", str(_EXAMPLE), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"restore +\d+\.\d+ s\ntrain step +\d+\.\d+ s\n", done.stdout)


def test_its_gradients_are_those_of_the_reference_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    compat.install(force=True)
    try:
        network = runpy.run_path(str(_EXAMPLE))["Restorer"](4, 2)
    finally:
        compat.uninstall()
    degraded = torch.rand(1, 3, 6, 9)
    found = []
    for backend in ("auto", "reference"):
        monkeypatch.setenv("UNVEIL_SCAN_BACKEND", backend)
        network.zero_grad()
        network(degraded).square().sum().backward()
        found.append({name: p.grad.clone() for name, p in network.named_parameters()})
    for name, gradient in found[0].items():
        # Two fp32 computations, each rounded its own way.
        assert (gradient - found[1][name]).norm() <= 2e-5 * found[1][name].norm(), name
