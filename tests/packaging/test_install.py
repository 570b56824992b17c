"""Installing without a compiler works, and the wheel carries the kernel."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not (ROOT / "CMakeLists.txt").exists(), reason="needs the source tree"
)

_SCAN_ONCE = """
import warnings, torch
from unveil.ops import selective_scan
u, delta = torch.rand(1, 4, 9), torch.rand(1, 4, 9)
A, B, C = -torch.rand(4, 2), torch.rand(1, 2, 9), torch.rand(1, 2, 9)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        y = selective_scan(u, delta, A, B, C)
expected = selective_scan(u, delta, A, B, C, backend="reference")
assert torch.allclose(y, expected, atol=1e-5)
print(sum("slow PyTorch backend" in str(w.message) for w in caught))
try:
    selective_scan(u, delta, A, B, C, backend="native")
    print("ran")
except RuntimeError as error:
    print(error)
"""


def _build_wheel(out: Path, environment: dict[str, str]) -> Path:
    """Build a wheel from a clean copy of the sources, so that no older build is picked up."""
    copy = out / "source"
    for name in ("src", "native"):
        ignored = shutil.ignore_patterns("build", "__pycache__", "*.so", "*.safetensors")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run(
        [*command, str(copy)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("unveil-*.whl"))


def _run_installed(wheel: Path, folder: Path) -> list[str]:
    """Unpack the wheel as pip would and run one scan from it, away from the source tree."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    for name in ("UNVEIL_NATIVE_LIBRARY", "UNVEIL_SCAN_BACKEND"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", _SCAN_ONCE],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_a_compiler_the_package_is_pure_python_and_warns_once(tmp_path: Path) -> None:
    no_compiler = {**os.environ, "CXX": str(tmp_path / "no-such-compiler")}
    wheel = _build_wheel(tmp_path, no_compiler)
    names = zipfile.ZipFile(wheel).namelist()
    assert not any(name.startswith("unveil/_native/") for name in names)
    warned, refusal = _run_installed(wheel, tmp_path / "site")
    assert warned == "1"
    assert "kernel library" in refusal


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler here")
def test_the_wheel_carries_the_kernel_and_fits_every_python(tmp_path: Path) -> None:
    wheel = _build_wheel(tmp_path, dict(os.environ))
    assert "-py3-none-" in wheel.name
    warned, ran = _run_installed(wheel, tmp_path / "site")
    assert warned == "0"
    assert ran == "ran"
