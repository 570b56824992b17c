"""Image files that are damaged, or whose headers lie, through the command."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.hostile.conftest import Run, cases
from tests.hostile.containers import (
    Change,
    boxed_jxl,
    hostile_netpbm,
    lying_boxes,
    lying_directory,
)
from tests.imaging.dng import write_dng
from tests.imaging.test_fuzz import mutated, seed_file

from unveil.imaging import header_limits

_SUFFIXES = [".jpg", ".png", ".tif", ".webp", ".avif", ".bmp", ".heic", ".ppm", ".jxl"]
# Where the headers of these formats keep numbers such as sizes, depths and offsets.
_HEADERS = {".jpg": (150, 700), ".png": (16, 29), ".tif": (8, 400), ".webp": (20, 40),
            ".bmp": (14, 50), ".avif": (0, 400), ".heic": (0, 400),
            ".ppm": (0, 14), ".jxl": (0, 60)}  # fmt: skip
_NUMBERS = [0, 1, 2, 255, 256, 999, 1001, 4000, 30_000, 65_535]


def _lying(data: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """Write other numbers into the header; none is large enough to harm any decoder."""
    out = bytearray(data)
    low, high = _HEADERS[suffix]
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(low, min(high, len(out) - 4)))
        order = "little" if rng.random() < 0.5 else "big"
        number = int(rng.choice(_NUMBERS))
        out[at : at + 2] = number.to_bytes(2, order)
    return bytes(out)


def _damaged(suffix: str, data: bytes, rng: np.random.Generator) -> bytes:
    return _lying(data, suffix, rng) if rng.random() < 0.3 else mutated(data, rng)


def _mixed(change: Change, data: bytes, rng: np.random.Generator) -> bytes:
    return change(data, rng) if rng.random() < 0.6 else mutated(data, rng)


def _netpbm(_data: bytes, rng: np.random.Generator) -> bytes:
    made = hostile_netpbm(rng)
    return mutated(made, rng) if rng.random() < 0.2 else made


def _attack(
    run: Run, photo: Path, suffix: str, number: int, given: tuple[bytes, Change] | None = None
) -> None:
    """Restore, check, degrade and evaluate damaged files.

    Args:
        run: Runs the command.
        photo: A file in the folder that is worked in.
        suffix: Of the files.
        number: How many.
        given: A sound file and what damages it; by default the seed of the suffix.
    """
    data, damage = given or (seed_file(suffix), partial(_damaged, suffix))
    rng = np.random.default_rng(11)
    source = photo.with_name(f"hostile{suffix}")
    folder = photo.with_name("set")
    verbs = [
        lambda: ("restore", source.name, "--model", "identity", "--max-megapixels", "1"),
        lambda: ("restore", ".", "--model", "identity", "--max-megapixels", "1", "-o", "out"),
        lambda: ("data", "check", str(folder)),
        lambda: ("degrade", source.name, "--with", "noise", "-o", "out"),
        lambda: ("evaluate", "identity", "--data", str(folder), "--protocol", "gaussian-color",
                 "--sigma", "25"),
    ]  # fmt: skip
    for case in range(number):
        damaged = damage(data, rng)
        source.write_bytes(damaged)
        folder.mkdir()
        (folder / source.name).write_bytes(damaged)
        # The first verbs are the ones that people give files of unknown origin.
        verb = verbs[int(rng.choice(5, p=[0.5, 0.1, 0.2, 0.1, 0.1]))]
        run(*verb(), case=(suffix, case))


def _structured(kind: str, folder: Path) -> tuple[str, tuple[bytes, Change]]:
    """Return a suffix, a sound file, and what changes fields of its structure."""
    if kind == "jxl in boxes":
        return ".jxl", (boxed_jxl(seed_file(".jxl")), partial(_mixed, lying_boxes))
    if kind == "netpbm":
        pytest.importorskip("netpbmfile")
        return ".pnm", (b"", _netpbm)
    if kind == "tiff":
        return ".tif", (seed_file(".tif"), partial(_mixed, lying_directory))
    pytest.importorskip("rawpy")
    options = {"linear": True} if kind == "linear dng" else {"lossless_jpeg": kind == "packed dng"}
    light = np.full((32, 48, 3), 0.2)
    path = write_dng(folder / "seed.dng", light, exif=True, xmp=b"<x:xmpmeta/>", **options)
    data = path.read_bytes()
    path.unlink()
    return ".dng", (data, partial(_mixed, lying_directory))


_STRUCTURED = ["tiff", "dng", "linear dng", "packed dng", "jxl in boxes", "netpbm"]


@pytest.fixture(autouse=True)
def _small_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_limits, "MOST_SIDE", 4000)


def test_some_damaged_images(
    run: Run, photo: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for suffix in _SUFFIXES:
        _attack(run, photo, suffix, cases(request, 4, 4))
    for kind in _STRUCTURED:
        suffix, given = _structured(kind, tmp_path)
        _attack(run, photo, suffix, cases(request, 4, 4), given)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", _SUFFIXES)
def test_many_damaged_images(
    run: Run, photo: Path, suffix: str, request: pytest.FixtureRequest
) -> None:
    _attack(run, photo, suffix, cases(request, 4, 300))


@pytest.mark.slow
@pytest.mark.parametrize("kind", _STRUCTURED)
def test_many_files_whose_structure_lies(
    run: Run, photo: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    suffix, given = _structured(kind, tmp_path)
    _attack(run, photo, suffix, cases(request, 4, 1000), given)
