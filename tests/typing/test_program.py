"""Programs of users type-check against the public names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_program_type_checks_and_what_is_wrong_in_it_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(Path(__file__).with_name("program.py"))],
        cwd=_ROOT,
        env={**os.environ, "MYPYPATH": str(_ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("Success: no issues found"), done.stdout + done.stderr
