"""Run hostile inputs through the command line's entry point, all in this one process.

The default tier takes a few of each kind, `-m slow` hundreds, and `--cases N` as many as wanted.
"""

import contextlib
import gc
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from unveil.cli.app import main
from unveil.imaging import save_png

MOST_SECONDS = 5.0  # of the processor: the machine may be busy with something else
MOST_BYTES = 2**30

Run = Callable[..., int]


def peak_bytes() -> int:
    """Return the largest resident size since the last reset (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Let the peak start from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def cases(request: pytest.FixtureRequest, few: int, many: int) -> int:
    """Return how many cases to take: `few`, under the mark `slow` `many`, or as `--cases` says."""
    slow = request.node.get_closest_marker("slow") is not None
    given = request.config.getoption("--cases")
    return int(given) if slow and given is not None else (many if slow else few)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small photo in a folder that the command runs in."""
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    save_png(folder / "photo.png", rng.integers(60, 200, (24, 32, 3), dtype=np.uint8))
    return folder / "photo.png"


@pytest.fixture
def run(photo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the command on one case; the fixture's end compares the memory of all of them.

    A case passes if it ends by an exit code of the command's own, within time, with no more than
    lines on stderr.
    """
    monkeypatch.chdir(photo.parent)
    kept = {path.name for path in photo.parent.iterdir()}

    def call(*words: str, case: object = "") -> int:
        out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        start = time.process_time()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main([*words])
        except SystemExit as stop:
            code = stop.code
        except BaseException as error:
            raise AssertionError(f"case {case}: {[w[:200] for w in words]}") from error
        seconds = time.process_time() - start
        said = err.getvalue()
        assert code in (0, 1, 2), (case, words, code)
        assert "Traceback" not in said, (case, words)
        out.flush()
        reported = code == 1 and out.buffer.getvalue()  # `data check` lists problems on stdout
        told = said.startswith("unveil: ") or "\nunveil: " in said
        assert code == 0 or told or reported, (case, words, said)
        assert max(map(len, said.splitlines()), default=0) < 2500, (case, words)
        assert seconds <= MOST_SECONDS, (case, words, seconds)
        for path in photo.parent.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return code

    call("restore", str(photo), "--model", "identity", "-o", "out.png")
    gc.collect()
    reset_peak()
    idle = peak_bytes()
    yield call
    grown = peak_bytes() - idle
    assert grown <= MOST_BYTES, f"{grown / 2**20:.0f} MiB above idle"
    assert len(os.listdir("/proc/self/fd")) < 200
