"""Clips that are damaged, or whose boxes lie, through the command."""

from pathlib import Path

import numpy as np
import pytest
from tests.hostile.conftest import Run, cases
from tests.hostile.containers import clip, lying_boxes
from tests.imaging.test_fuzz import mutated

_SUFFIXES = [".mp4", ".mkv", ".webm", ".mov", ".avi"]
_SIDES = [0, 1, 3, 999, 4000, 16_384]


def _lying(data: bytes, rng: np.random.Generator) -> bytes:
    """Write other numbers into the boxes that describe the streams, at the end of an MP4 file."""
    out = bytearray(data)
    start = max(data.find(b"moov"), 0)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(start, len(out) - 4))
        out[at : at + 2] = int(rng.choice(_SIDES)).to_bytes(2, "big")
    return bytes(out)


def _attack(run: Run, photo: Path, suffix: str, number: int) -> None:
    pytest.importorskip("av")
    data, rng = clip(suffix, photo.parent), np.random.default_rng(15)
    source = photo.with_name(f"hostile{suffix}")
    changes = [mutated, _lying, lying_boxes] if suffix in (".mp4", ".mov") else [mutated, _lying]
    for case in range(number):
        source.write_bytes(changes[int(rng.integers(len(changes)))](data, rng))
        words = ["-o", f"out{suffix}"] if rng.random() < 0.8 else ["--name", "{stem}.x{ext}"]
        run("restore", source.name, "--model", "identity", *words, case=(suffix, case))


def test_some_damaged_clips(run: Run, photo: Path, request: pytest.FixtureRequest) -> None:
    for suffix in _SUFFIXES:
        _attack(run, photo, suffix, cases(request, 4, 4))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_many_damaged_clips(
    run: Run, photo: Path, suffix: str, request: pytest.FixtureRequest
) -> None:
    _attack(run, photo, suffix, cases(request, 4, 400))
