"""Restore files on a running `unveil serve`: no network is loaded here, nor torch."""

import contextlib
import hashlib
import http.client
import json
import logging
import os
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from unveil.batch.jobs import Job
from unveil.batch.journal import Journal, content_hash
from unveil.batch.outcome import Outcome
from unveil.errors import ImageFileError, InputError, OutputError, ServerError, UnveilError
from unveil.imaging.atomic import make_folder, replacing
from unveil.imaging.formats import format_of_file, format_of_suffix

_log = logging.getLogger(__name__)
_CONNECT_S = 10.0
# Longer than a server lets an image take by default.
_ANSWER_S = 900.0
# Requests to a busy server are repeated for so long.
_PATIENCE_S = 900.0
_LONGEST_WAIT_S = 60.0
_CHUNK = 2**20


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Its address, with the path prefix of a proxy if there is one.
        token: Secret it was started with.

    Raises:
        InputError: If the address is none.

    >>> Server("http://127.0.0.1:7860").url
    'http://127.0.0.1:7860'
    """

    url: str
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise InputError(f"server {self.url!r}: {error}") from error
        if parts.scheme not in ("http", "https") or not self._host:
            raise InputError(f"server {self.url!r}: expected such as http://127.0.0.1:7860")
        self._tls = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")

    def check(self) -> None:
        """Ask whether the server is there and takes the token.

        Raises:
            ServerError: If not.
        """
        with self._asked("GET", "/v1/models", {}, []) as answer:
            self._require(answer)

    def restore(self, source: Path, target: Path, fields: Mapping[str, str]) -> tuple[float, float]:
        """Have a file restored, and write the result as `target`, replacing that.

        Args:
            source: Image file.
            target: Result; its suffix names the format.
            fields: Options, as of ``POST /v1/restore``.

        Returns:
            Megapixels, and the seconds the network took.

        Raises:
            ServerError: If the server cannot be reached or refuses the file.
            ImageFileError: If `source` cannot be read or its name lies.
            OutputError: If `target` cannot be written.
        """
        kind = format_of_file(source)
        if format_of_suffix(source) is not kind:
            raise ImageFileError(
                f"{source}: holds {kind.name}, not what its name says; "
                f"rename it to {source.stem}{kind.suffixes[0]}"
            )
        wanted = format_of_suffix(target)
        given = dict(fields)
        if wanted is not None and wanted is not kind:
            given["format"] = wanted.name
        end = time.monotonic() + _PATIENCE_S
        while True:
            boundary = secrets.token_hex(16)
            body = _Multipart(boundary, given, source)
            headers = {
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Content-Length": str(body.length),
            }
            with self._asked("POST", "/v1/restore", headers, body) as answer:
                wait = _wait_s(answer)
                if wait is None or time.monotonic() + wait > end:
                    self._require(answer, source)
                    with replacing(target) as temporary, temporary.open("wb") as out:
                        while chunk := answer.read(_CHUNK):
                            out.write(chunk)
                    if left_out := answer.headers.get("X-Unveil-Left-Out"):
                        _log.warning("%s: %s", target, left_out)
                    return tuple(float(answer.headers[f"X-Unveil-{name}"])  # type: ignore[return-value]
                                 for name in ("Megapixels", "Seconds"))  # fmt: skip
            time.sleep(wait)

    @contextlib.contextmanager
    def _asked(
        self, method: str, path: str, headers: dict[str, str], body: "Sequence[bytes] | _Multipart"
    ) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=_CONNECT_S)
        if self.token:
            headers = {**headers, "Authorization": f"Bearer {self.token}"}
        try:
            connection.connect()
            connection.sock.settimeout(_ANSWER_S)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # A server that refuses answers before it has read all.
                connection.request(method, f"{self._prefix}{path}", body=body or None,
                                   headers=headers)  # fmt: skip
            yield connection.getresponse()
        except (OSError, http.client.HTTPException, ssl.SSLError) as error:
            if isinstance(error, UnveilError):
                raise
            why = getattr(error, "strerror", None) or error or type(error).__name__
            raise ServerError(f"server {self.url}: not reachable: {why}") from error
        finally:
            connection.close()

    def _require(self, answer: http.client.HTTPResponse, source: Path | None = None) -> None:
        if answer.status == 200:
            return
        text = answer.read(_CHUNK)
        try:
            message = str(json.loads(text)["error"])
        except (ValueError, KeyError, TypeError):
            message = f"answered {answer.status}; is it `unveil serve`?"
        if source is None or answer.status in (401, 403, 404):
            raise ServerError(f"server {self.url}: {message}")
        raise ServerError(str(source) + ": " + message.removeprefix(f"{_sent_name(source)}: "))


class _Multipart:
    """A multipart form, sent in pieces: options, then a file."""

    def __init__(self, boundary: str, fields: Mapping[str, str], source: Path) -> None:
        head = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        name = _sent_name(source)
        head.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"'
            "\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(head).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._source = source
        self.length = len(self._head) + source.stat().st_size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with self._source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        yield self._tail


def _sent_name(source: Path) -> str:
    """Return what the server calls a file: its name, with percent signs for what is not ASCII.

    >>> _sent_name(Path("in/ü.png"))
    '%C3%BC.png'
    """
    kept = " !#$&'()*+,-./:;<=>?@[]^_`{|}~"
    return quote(os.fsencode(source.name), safe=kept)


def _wait_s(answer: http.client.HTTPResponse) -> float | None:
    """Return seconds to wait before a busy server gets the request again; None for others."""
    if answer.status != 503:
        return None
    text = answer.headers.get("Retry-After", "1")
    return min(max(float(text), 0.2), _LONGEST_WAIT_S) if text.isdecimal() else 1.0


def restore_on_server(
    server: Server,
    jobs: Sequence[Job],
    fields: Mapping[str, str],
    *,
    force: bool = False,
    remember: bool = True,
    share: Callable[[Job, float], None] | None = None,
) -> Iterator[Outcome]:
    """Restore files on a server, one after the other; one bad file stops nothing.

    Args:
        server: Does the work.
        jobs: Files, from `unveil.batch.jobs.plan`.
        fields: Options, as of ``POST /v1/restore``.
        force: Replace what is there, done or not.
        remember: Keep a journal beside the results, and skip what it says is done.
        share: Called with the share of a file that is done.

    Yields:
        What became of each file, in order.

    Raises:
        ServerError: If the server cannot be reached, or does not take the token.
    """
    server.check()
    journal = Journal()
    for job in jobs:
        if share is not None:
            share(job, 0.0)
        try:
            yield _restored(server, job, fields, journal, force, remember)
        except (UnveilError, OSError) as error:
            reason = str(error) if isinstance(error, UnveilError) else f"{job.source}: {error}"
            yield Outcome(job.source, job.target, "failed", " ".join(reason.split()))


def _restored(
    server: Server,
    job: Job,
    fields: Mapping[str, str],
    journal: Journal,
    force: bool,
    remember: bool,
) -> Outcome:
    mark = json.dumps([content_hash(job.source), server.url, sorted(fields.items())])
    key = hashlib.sha256(mark.encode()).hexdigest()[:32]
    if job.target.exists() and not force:
        if remember and journal.is_done(job.target, key):
            return Outcome(job.source, job.target, "skipped")
        raise OutputError(f"{job.target}: exists; give --force to replace it")
    make_folder(job.target.parent)
    if remember and not job.target.exists():
        journal.begin(job.target, key)
    megapixels, seconds = server.restore(job.source, job.target, fields)
    if remember:
        journal.finish(job.target, key)
    return Outcome(job.source, job.target, "restored", "", megapixels, seconds)
