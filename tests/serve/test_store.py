"""Files of uploads: limited, named by what they hold, gone when nobody needs them."""

import errno
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serve.conftest import photo, until

from unveil.errors import BusyError, ImageFileError, ImageTooLargeError
from unveil.serve import store as module
from unveil.serve.store import PREFIX, Store

Make = Callable[..., Store]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Store] = []

    def build(max_bytes: int = 10**6, keep_s: float = 60, keep_bytes: int = 10**9) -> Store:
        options = {"max_bytes": max_bytes, "keep_s": keep_s, "keep_bytes": keep_bytes}
        made.append(Store(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for store in made:
        store.close()


def _take(store: Store, name: str = "a.png", seed: int = 0) -> Path:
    return store.receive(name, io.BytesIO(photo(seed=seed)))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("holiday.JPG", "holiday.png"),
        ("../../etc/passwd", "passwd.png"),
        ("C:\\photos\\été 1.png", "été 1.png"),
        ("", "image.png"),
        (".png", "image.png"),
        ("a\r\nb.png", "a__b.png"),
        ("x" * 500 + ".png", "x" * 80 + ".png"),
        ("𠀀" * 90 + ".png", "𠀀" * 40 + ".png"),
    ],
)
def test_an_upload_is_named_by_what_it_holds(make: Make, given: str, kept: str) -> None:
    store = make()
    file = _take(store, given)
    assert file.name == kept
    assert file.parent.parent == store.folder
    assert file.read_bytes() == photo()


def test_two_uploads_of_one_name_do_not_meet(make: Make) -> None:
    store = make()
    assert _take(store) != _take(store)


def test_what_is_no_image_leaves_nothing(make: Make) -> None:
    store = make()
    with pytest.raises(ImageFileError, match="no image"):
        store.receive("a.png", io.BytesIO(b"no"))
    assert [path.name for path in store.folder.iterdir()] == ["lock"]


def test_what_is_too_large_is_read_no_further(make: Make) -> None:
    store = make(max_bytes=1000)

    class Endless(io.RawIOBase):
        read_bytes = 0

        def read(self, size: int = -1) -> bytes:
            self.read_bytes += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(ImageTooLargeError, match="MB"):
        store.receive("a.png", endless)  # type: ignore[arg-type]
    assert endless.read_bytes <= 2**21
    assert [path.name for path in store.folder.iterdir()] == ["lock"]


def test_a_full_disk_is_said_before_it_is_full(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RESERVE", 2**62)
    with pytest.raises(BusyError, match="disk"):
        _take(make())


def test_a_disk_that_fills_while_files_are_used_is_said(make: Make) -> None:
    store = make()
    file = _take(store)
    with pytest.raises(BusyError, match="disk"), store.holding(file):
        raise OSError(errno.ENOSPC, "no room")
    with pytest.raises(PermissionError), store.holding(file):
        raise OSError(errno.EACCES, "not allowed")


def test_the_room_kept_free_is_not_for_arrays_either(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    file = _take(store)
    monkeypatch.setattr(module, "_RESERVE", 2**62)
    with pytest.raises(BusyError, match="disk"), store.holding(file):
        store.create(file.with_suffix(".change"), (4, 4), "uint8")


def _age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file.parent, (then, then))


def test_what_nobody_used_for_long_goes(make: Make) -> None:
    store = make(keep_s=60)
    old, new, held = _take(store), _take(store), _take(store)
    _age(old, 61)
    with store.holding(held):
        _age(held, 61)
        store.sweep()
        assert held.exists()
    assert (old.exists(), new.exists()) == (False, True)
    # Its age counts from its last use.
    store.sweep()
    assert held.exists()


def test_what_is_old_is_looked_for_now_and_then(make: Make) -> None:
    file = _take(make(keep_s=0.4))
    until(lambda: not file.exists())


def test_beyond_the_room_there_is_the_oldest_goes_first(make: Make) -> None:
    size = len(photo())
    store = make(keep_bytes=2 * size + 100)
    files = [_take(store) for _ in range(4)]
    for i, file in enumerate(files):
        _age(file, 40 - 10 * i)
    store.sweep()
    assert [file.exists() for file in files] == [False, False, True, True]


def test_closing_leaves_nothing(make: Make) -> None:
    store = make()
    _take(store)
    store.close()
    assert not store.folder.exists()


def test_discarding_touches_no_file_of_others(make: Make, tmp_path: Path) -> None:
    other = tmp_path / "mine" / "a.png"
    other.parent.mkdir()
    other.write_bytes(b"x")
    make().discard(other)
    assert other.exists()


def test_a_killed_servers_folder_is_removed_by_the_next(make: Make, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from unveil.serve.store import Store;"
        "Store(Path(sys.argv[1]), max_bytes=9, keep_s=9, keep_bytes=9);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    killed = list(tmp_path.glob(f"{PREFIX}*"))
    assert len(killed) == 1
    living = make()
    assert not killed[0].exists()
    make()
    assert living.folder.exists()
