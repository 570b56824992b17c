"""Every instruction set of the kernel library against double precision, without Python."""

import shutil
import subprocess
from pathlib import Path

import pytest

_NATIVE = Path(__file__).parents[2] / "native"
_ARM_COMPILER = shutil.which("aarch64-linux-gnu-g++")
# Debian has both: qemu-user and qemu-user-static.
_EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


def _check(build: Path, options: tuple[str, ...] = (), runner: tuple[str, ...] = ()) -> str:
    """Build the driver and return what it prints."""
    configure = ["cmake", "-S", str(_NATIVE), "-B", str(build), "-DUNVEIL_DRIVER=ON", *options]
    for command in (configure, ["cmake", "--build", str(build), "--target", "unveil_check"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    done = subprocess.run(
        [*runner, str(build / "unveil_check")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cmake") or not shutil.which("c++"), reason="no C++ compiler")
def test_this_machines_instruction_sets_are_exact(tmp_path: Path) -> None:
    assert "portable: largest relative errors" in _check(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("cmake") and _ARM_COMPILER and _EMULATOR),
    reason="needs cmake, aarch64-linux-gnu-g++ and qemu-aarch64 or qemu-aarch64-static",
)
def test_neon_is_exact_under_an_emulator(tmp_path: Path) -> None:
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={_NATIVE / 'driver' / 'aarch64-linux-gnu.cmake'}"
    runner = (str(_EMULATOR), "-L", "/usr/aarch64-linux-gnu")
    printed = _check(tmp_path, (toolchain,), runner)
    assert "neon: largest relative errors" in printed
