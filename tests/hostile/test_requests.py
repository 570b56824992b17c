"""Requests to a running server that are damaged, or make no sense, over real connections."""

import gc
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from tests.hostile.conftest import MOST_BYTES, MOST_SECONDS, cases, peak_bytes, reset_peak
from tests.imaging.test_fuzz import mutated, seed_file
from tests.serve.conftest import Served, photo, serving

import unveil
from unveil.models.checkpoint import save_checkpoint
from unveil.process import trim
from unveil.serve.engine import Engine
from unveil.serve.settings import Settings

_MOST_KEPT_BYTES = 256 * 2**20
_SUFFIXES = [".png", ".jpg", ".tif", ".webp", ".avif", ".heic", ".bmp", ".ppm", ".jxl"]
_NAMES = ["a.png", "", "../../a.png", "/etc/passwd", "a" * 5000, "\u202ea.png", 'a".png', "a\r\nb",
          "CON", ".png", "a.dng", "é.jpg", "%2e%2e%2f", "a\x00.png", "x.tif"]  # fmt: skip
_VALUES = ["", "-1", "0", "1", "nan", "inf", "1e400", "9" * 5000, "²", "a" * 70_000, "auto", "off",
           "63", "99999", "tiny", "png", "raw", "true", "{}", "noise", "noise+" * 80,
           "noise:sigma_255=" + "9" * 400, "rain:light", "\x00", "é", "denoise"]  # fmt: skip
_FIELDS = ["model", "task", "tile", "ensemble", "strength", "strength_luma", "strength_chroma",
           "format", "quality", "start", "degradation", "seed", "max_megapixels", "nonsense", "",
           "image", "mask", "reference", "a" * 3000]  # fmt: skip
_PATHS = ["/v1/restore", "/v1/inspect", "/v1/degrade", "/v1/score", "/v1/jobs", "/v1/jobs/x/start",
          "/v1/jobs/{job}/start", "/v1/jobs/{job}/images/0/result", "/v1/jobs/{job}/cancel",
          "/v1/nothing", "/healthz", "/login"]  # fmt: skip
_PARTS = ["v1", "{job}", "images", "0", "-1", "9" * 400, "seen", "before", "after", "..",
          "result", "events", "%2e%2e", "%00", "%ff", "samples", "models", "metrics", "docs", "",
          "a" * 3000, "?strength=9" + "9" * 300, "?format=exe", "?=&=&", "\\"]  # fmt: skip
_METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "BREW"]
_RAW = [b"", b"\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 200]  # fmt: skip
_HEADERS = [b"Content-Length: -1", b"Content-Length: 9" + b"9" * 40, b"Content-Length: 5, 6",
            b"Content-Length: \xb2", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
            b"Expect: 100-continue", b"Range: bytes=0-,0-,0-", b"Connection: upgrade",
            b"Upgrade: websocket", b"Content-Encoding: gzip", b"Host: evil.example", b"Host:",
            b"Origin: null", b"Origin: http://evil.example", b"Authorization: Bearer \xff",
            b"Cookie: unveil_session=\xff; =; ;", b"X: " + b"a" * 9000, b": x", b"no colon",
            b"Content-Type: multipart/form-data", b"Content-Type: multipart/form-data; boundary=",
            b"Content-Type: multipart/form-data; boundary=" + b"b" * 300,
            b"Content-Type: multipart/form-data; boundary=x", b"Content-Type: application/json",
            b"Accept: " + b"*/*," * 500]  # fmt: skip
_BODIES = [b"", b"--x\r\n", b"--x--\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffff\r\n", b"-1\r\n",
           b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n',
           b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n",
           b"--x\r\n" + b"A: b\r\n" * 3000, b"{" * 5000, b"\0" * 5000]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of small limits and a tiny network."""
    folder = tmp_path_factory.mktemp("hostile")
    weights = save_checkpoint(unveil.create_model("cu_mamba_tiny"), folder / "tiny.safetensors")
    settings = Settings(models=(weights,), threads=1, max_megapixels=1.0, max_bytes=300_000)
    with serving(Engine(settings, folder=folder)) as found:
        yield found


class _Client:
    """Sends cases, and keeps the id of a job that exists."""

    def __init__(self, served: Served, rng: np.random.Generator) -> None:
        self.served, self.rng = served, rng
        self.seeds = {suffix: seed_file(suffix) for suffix in _SUFFIXES}
        answer = served.client.post("/v1/jobs", files={"image": ("a.png", photo())})
        self.job = answer.json()["id"]

    def one(self, values: list[Any]) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def file(self) -> bytes:
        suffix = self.one(_SUFFIXES)
        data = self.seeds[suffix]
        return mutated(data, self.rng) if self.rng.random() < 0.8 else data

    def form(self) -> tuple[int, bytes]:
        """Send a form; most fields make no sense."""
        files = [(self.one(["image"] * 6 + ["mask", "reference", "x"]), (self.name(), self.file()))]
        if self.rng.random() < 0.3:
            files.append(("reference", (self.name(), self.file())))
        fields = {self.one(_FIELDS): self.one(_VALUES) for _ in range(int(self.rng.integers(3)))}
        path = self.one(_PATHS[:5] * 3 + _PATHS).replace("{job}", self.job)
        files = [] if self.rng.random() < 0.05 else files
        answer = self.served.client.post(path, files=files, data=fields)
        return answer.status_code, answer.content

    def name(self) -> str:
        return str(self.one(_NAMES))

    def address(self) -> tuple[int, bytes]:
        """Ask for an address that is put together of parts."""
        parts = [self.one(_PARTS) for _ in range(int(self.rng.integers(1, 7)))]
        path = "/".join(["", *(["v1", "jobs"] if self.rng.random() < 0.6 else []), *parts])
        path = path.replace("{job}", self.job)
        method = self.one(["GET"] * 5 + _METHODS)
        try:
            url = httpx.URL(self.served.url + path)
        except httpx.InvalidURL:
            return 400, b""
        with self.served.client.stream(method, url) as answer:
            body = next(answer.iter_bytes(), b"")
            return answer.status_code, body

    def raw(self) -> tuple[int, bytes]:
        """Send bytes, and read until the server closes; 400 where it closes without an answer."""
        path = self.one(_PATHS).replace("{job}", self.job).encode()
        head = self.one([b"POST", b"PUT", b"GET"]) + b" " + path + b" HTTP/1.1\r\n"
        if self.rng.random() < 0.8:
            head += b"Host: 127.0.0.1\r\n"
        lines = [self.one(_HEADERS) for _ in range(int(self.rng.integers(5)))]
        data = head + b"\r\n".join([*lines, b"", b""]) + self.one(_BODIES)
        data = self.one(_RAW) if self.rng.random() < 0.1 else data
        data = mutated(data, self.rng) if data and self.rng.random() < 0.3 else data
        received = b""
        address = "127.0.0.1", self.served.port
        with socket.create_connection(address, 20) as connection, suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while len(part := connection.recv(65536)) and len(received) < 2**20:
                received += part
        first, _, rest = received.partition(b"\r\n\r\n")
        words = first.split(b" ", 2)
        return int(words[1]) if len(words) > 2 else 400, rest.partition(b"HTTP/1.")[0]


def _check(status: int, body: bytes, served: Served) -> None:
    assert status < 500 or status in (503, 504)
    assert b"Traceback" not in body
    assert str(served.engine.store.folder).encode() not in body
    if status >= 400 and body.startswith(b'{"error"'):
        # What follows is the answer to what the server took for a second request.
        reason = json.JSONDecoder().raw_decode(body.decode())[0]["error"]
        assert reason
        assert len(reason) <= 401
        assert "\n" not in reason


def _attack(served: Served, number: int, caplog: pytest.LogCaptureFixture) -> None:
    client = _Client(served, np.random.default_rng(16))
    ways = [client.form, client.address, client.raw]
    for way in ways:
        way()
    trim()
    gc.collect()
    reset_peak()
    idle = peak_bytes()
    for case in range(number):
        way = ways[int(client.rng.choice(3, p=[0.5, 0.25, 0.25]))]
        start = time.process_time()
        try:
            status, body = way()
            _check(status, body, served)
        except BaseException as error:
            raise AssertionError(f"case {case} {way.__name__}") from error
        seconds = time.process_time() - start
        assert seconds <= MOST_SECONDS, (case, way.__name__, seconds)
    assert not [record for record in caplog.records if record.exc_info]
    assert served.client.get("/healthz").json() == {"status": "ok"}
    served.client.delete(f"/v1/jobs/{client.job}")
    assert peak_bytes() - idle <= MOST_BYTES
    gc.collect()
    trim()
    reset_peak()
    assert peak_bytes() - idle <= _MOST_KEPT_BYTES


def test_some_hostile_requests(
    served: Served, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _attack(served, cases(request, 40, 40), caplog)


@pytest.mark.slow
def test_many_hostile_requests(
    served: Served, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _attack(served, cases(request, 40, 2000), caplog)


def test_files_of_refused_uploads_are_gone(served: Served) -> None:
    before = sum(1 for _ in served.engine.store.folder.rglob("*"))
    for suffix in _SUFFIXES:
        broken = seed_file(suffix)[:200]
        answer = served.client.post("/v1/restore", files={"image": (f"a{suffix}", broken)})
        assert answer.status_code in (415, 422), suffix
    assert sum(1 for _ in served.engine.store.folder.rglob("*")) == before


def test_a_body_that_breaks_off_while_it_is_read_is_answered(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /v1/jobs/x/cancel HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    with (
        caplog.at_level(logging.WARNING),
        socket.create_connection(("127.0.0.1", served.port), 20) as connection,
    ):
        connection.sendall(head + b"no size\r\n")
        received = b""
        while part := connection.recv(65536):
            received += part
        assert received.startswith(b"HTTP/1.1 400")
        assert received.count(b"HTTP/1.1") == 1
        assert served.client.get("/healthz").status_code == 200
    assert not [record for record in caplog.records if record.exc_info]
