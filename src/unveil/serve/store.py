"""Files of the server: a folder per upload, kept for a time after its last use."""

import contextlib
import io
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy.typing as npt

from unveil.errors import BusyError, ImageTooLargeError, UnveilError
from unveil.imaging import scratch
from unveil.imaging.formats import format_of_file
from unveil.imaging.image import Array

try:
    import fcntl
except ImportError:  # Windows: what a killed server left behind stays there
    fcntl = None  # type: ignore[assignment]

PREFIX = "unveil-serve-"
_LOCK = "lock"
_CHUNK = 2**20
# Left free on the disk: a full one harms more than this server.
_RESERVE = 256 * 2**20
_FULL_RETRY_S = 60
_NAME_BYTES = 160


class Store:
    """A temporary folder with one folder per upload.

    Args:
        parent: Where it is made; None takes the system's place for temporary files.
        max_bytes: Largest upload.
        keep_s: Seconds that a folder stays after its last use.
        keep_bytes: Above this, unused folders go earlier, the oldest first.
    """

    def __init__(
        self, parent: Path | None, *, max_bytes: int, keep_s: float, keep_bytes: int
    ) -> None:
        place = Path(tempfile.gettempdir()) if parent is None else parent
        place.mkdir(parents=True, exist_ok=True)
        remove_stale(place)
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        self._lock_file = (self.folder / _LOCK).open("wb")
        if fcntl is not None:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._max_bytes, self._keep_s, self._keep_bytes = max_bytes, keep_s, keep_bytes
        self._held: Counter[Path] = Counter()
        self._unwanted: set[Path] = set()
        self._names: dict[Path, str] = {}
        self._guard = threading.RLock()
        self._closed = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep_often, name="unveil-sweep", daemon=True)
        self._sweeper.start()

    def receive(self, name: str, content: BinaryIO | bytes) -> Path:
        """Write an upload into a folder of its own.

        Args:
            name: What the sender calls it; a wrong suffix is replaced.
            content: Its bytes.

        Returns:
            The file, with the suffix of its format.

        Raises:
            ImageTooLargeError: If it is larger than is allowed.
            ImageFileError: If it is no image of a kind we read.
            BusyError: If there is no room for it.
        """
        raw = self.make_folder() / _plain_stem(name)
        self._names[raw.parent] = name
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        try:
            with self.holding(raw):
                self._copy(stream, raw, name)
                kind = format_of_file(raw)
                suffix = _suffix(name)
                if suffix.lower() not in kind.suffixes:
                    suffix = kind.suffixes[0]
                return raw.rename(raw.with_name(raw.name + suffix))
        except BaseException:
            self.discard(raw)
            raise

    def make_folder(self) -> Path:
        """Return a new folder, which goes like that of an upload."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def _copy(self, stream: BinaryIO, target: Path, name: str) -> None:
        size = 0
        with target.open("xb") as out:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > self._max_bytes:
                    raise ImageTooLargeError(
                        f"{name}: more than {self._max_bytes / 1e6:g} MB, which is the most this "
                        "server takes"
                    )
                if not self.has_room():
                    raise disk_is_full()
                out.write(chunk)

    def has_room(self) -> bool:
        """Whether the disk has room for more files."""
        return shutil.disk_usage(self.folder).free >= _RESERVE

    def create(self, file: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return a zeroed array in the new `file` beside an upload, as `scratch.create`.

        Args:
            file: In the folder of an upload.
            shape: Of the array.
            dtype: Of its samples.
        """
        return scratch.create(file, shape, dtype, spare=_RESERVE)

    @contextlib.contextmanager
    def holding(self, file: Path) -> Iterator[None]:
        """Keep the folder of `file` while inside, and count its age anew afterwards.

        Raises:
            BusyError: If the disk fills while inside.
            UnveilError: From inside; the message calls the file what its sender calls it.
        """
        with self._guard:
            self._held[file.parent] += 1
        try:
            yield
        except (OSError, UnveilError) as error:
            if isinstance(error, OSError) and scratch.is_disk_full(error):
                raise disk_is_full() from error
            if isinstance(error, UnveilError):
                name = self._names.get(file.parent, file.name)
                error.args = (str(error).replace(str(file), name), *error.args[1:])
            raise
        finally:
            with self._guard:
                self._held[file.parent] -= 1
                self._held += Counter()
                if file.parent in self._unwanted:
                    self.discard(file)
            with contextlib.suppress(OSError):
                os.utime(file.parent)

    def discard(self, *files: Path) -> None:
        """Remove the folders of files, those that are the store's, once nobody holds them."""
        for folder in {file.parent for file in files if file.parent.parent == self.folder}:
            with self._guard:
                if folder in self._held:
                    self._unwanted.add(folder)
                    continue
                self._unwanted.discard(folder)
                self._names.pop(folder, None)
                shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove folders that were long unused, and further ones while all take too much room."""
        found = []
        for folder in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if folder.is_dir() and re.fullmatch("[0-9a-f]{16}", folder.name):
                    size = sum(file.stat().st_size for file in folder.iterdir())
                    found.append((folder.stat().st_mtime, size, folder))
        total, now = sum(size for _, size, _ in found), time.time()
        for used, size, folder in sorted(found):
            with self._guard:
                if folder in self._held or (
                    now - used <= self._keep_s and total <= self._keep_bytes
                ):
                    continue
                self.discard(folder / "x")
            total -= size

    def close(self) -> None:
        """Remove everything."""
        self._closed.set()
        self._sweeper.join(5)
        self._lock_file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _sweep_often(self) -> None:
        while not self._closed.wait(min(self._keep_s / 4, 30.0)):
            self.sweep()


def plain_message(error: UnveilError, folder: Path) -> str:
    """Return an error's message in one line without the server's own paths.

    Args:
        error: Raised for an upload.
        folder: The server's folder, which is left out.

    >>> plain_message(UnveilError("/tmp/x/0a/photo.png: damaged"), Path("/tmp/x"))
    'photo.png: damaged'
    """
    first, *others = " ".join(str(error).split()).split(f"{folder}/")
    return first + "".join(text.partition("/")[2] for text in others)


def disk_is_full() -> BusyError:
    """Return the error of a server without room for files."""
    return BusyError("the server's disk is full; try again later", _FULL_RETRY_S)


def remove_stale(place: Path) -> None:
    """Remove the folders that killed servers left in `place`: those whose lock is free."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if fcntl is None or folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            # Without a lock it may be one that is just being made.
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def _suffix(name: str) -> str:
    base = re.split(r"[/\\]", name)[-1]
    return "." + base.rpartition(".")[2] if "." in base else ""


def _plain_stem(name: str) -> str:
    """Return a file name without suffix that is safe on any system.

    >>> _plain_stem("../../a b?.tar.gz"), _plain_stem(".png")
    ('a b_.tar', 'image')
    """
    base = re.split(r"[/\\]", name)[-1]
    stem = base.rpartition(".")[0] if "." in base else base
    plain = re.sub(r"[^\w .()+,=@~-]", "_", stem).strip(" .")[:80]
    # File systems count bytes, and suffixes are yet to come.
    return plain.encode()[:_NAME_BYTES].decode(errors="ignore") or "image"
