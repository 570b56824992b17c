"""Arrays in files have their room on the disk from the start: a full disk is an error in words."""

import errno
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from unveil.errors import OutputError
from unveil.imaging import scratch
from unveil.imaging.scratch import allocate, create, is_disk_full, release

_reserving = pytest.mark.skipif(
    not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room"
)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full by the time that room is asked for."""

    def refuse(_file: int, _start: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)


@_reserving
def test_a_file_has_no_holes(tmp_path: Path) -> None:
    array = create(tmp_path / "a.npy", (300, 200, 3), np.float32)
    assert os.stat(tmp_path / "a.npy").st_blocks * 512 >= array.nbytes
    array[7] = 0.5
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    assert not array[8:].any()


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    for make in (
        lambda: allocate((40, 40), "uint8"),
        lambda: create(tmp_path / "a.npy", (40, 40), "uint8"),
    ):
        with pytest.raises(OutputError, match="needs room") as told:
            make()
        assert is_disk_full(told.value)
    assert list(tmp_path.iterdir()) == []


def test_what_must_be_spared_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="needs room"):
        create(tmp_path / "a.npy", (4, 4), "uint8", spare=2**62)


def test_a_file_system_that_reserves_nothing_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: int, _start: int, _size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    assert create(tmp_path / "a.npy", (4, 4), "uint8").tolist() == np.zeros((4, 4)).tolist()


def test_a_full_disk_is_known_by_number_or_words() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "x"))
    assert is_disk_full(OutputError(f"a.png: cannot be written: {os.strerror(errno.EDQUOT)}"))
    assert not is_disk_full(OSError(errno.EACCES, "x"))
    assert not is_disk_full(RuntimeError(os.strerror(errno.ENOSPC)))


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_what_is_let_go_of_keeps_its_values(mode: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((64, 64, 3), np.uint8))
    array = np.load(tmp_path / "a.npy", mmap_mode=mode)
    array[...] = 77
    release(array[8:])
    assert (array == 77).all()
    private = np.frombuffer(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE), np.uint8)
    private[...] = 7
    release(private)
    assert (private == 7).all()
