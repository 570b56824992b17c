"""Many clients at once: everybody is answered, and memory stays where it is."""

import asyncio
import io
import logging
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
import pytest
from tests.serve.conftest import WAIT_S, Serve, server_process, until

_log = logging.getLogger(__name__)
_CLIENTS = 50
_ROOM_MB = 100
_STATUS = Path("/proc/self/status")

pytestmark = pytest.mark.skipif(not _STATUS.exists(), reason="reads memory from /proc")


@dataclass
class Seen:
    answers: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    slowest: float = 0.0
    health: list[float] = field(default_factory=list)


def _quarter_megapixel() -> bytes:
    rows, columns = np.mgrid[0:500, 0:500] / 60
    smooth = 128 + 90 * np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], -1)
    noisy = smooth + np.random.default_rng(0).normal(0, 20, smooth.shape)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _resident_mb(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _load(url: str, process: int, seconds: float) -> Seen:
    # The browser tests' loop may still belong to this thread.
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(lambda: asyncio.run(_clients(url, process, seconds))).result()


async def _clients(url: str, process: int, seconds: float) -> Seen:
    """Let clients send photos, each the next once the last is answered, with the polite pause."""
    seen, end = Seen(), time.monotonic() + seconds
    limits = httpx.Limits(max_connections=_CLIENTS, max_keepalive_connections=_CLIENTS)
    request = httpx.Request("POST", url, files={"image": ("a.jpg", _quarter_megapixel())})
    body = request.read()
    headers = {"Content-Type": request.headers["content-type"]}

    async def client(http: httpx.AsyncClient) -> None:
        while time.monotonic() < end:
            start = time.monotonic()
            try:
                answer = await http.post(f"{url}v1/restore", content=body, headers=headers)
            except httpx.HTTPError as error:
                seen.lost.append(repr(error))
                continue
            seen.answers[answer.status_code] += 1
            seen.slowest = max(seen.slowest, time.monotonic() - start)
            if answer.status_code == 503:
                await asyncio.sleep(float(answer.headers["retry-after"]) / 4)
            else:
                assert PIL.Image.open(io.BytesIO(answer.content)).size == (500, 500)

    async def watch() -> None:
        while time.monotonic() < end:
            seen.resident.append(_resident_mb(process))
            await asyncio.sleep(seconds / 60)

    async def ask_for_health(http: httpx.AsyncClient) -> None:
        while time.monotonic() < end:
            start = time.monotonic()
            answer = await http.get(f"{url}healthz")
            assert answer.status_code == 200
            seen.health.append(time.monotonic() - start)
            await asyncio.sleep(0.25)

    async with (
        httpx.AsyncClient(limits=limits, timeout=600, trust_env=False) as http,
        httpx.AsyncClient(timeout=WAIT_S, trust_env=False) as other,
    ):
        await asyncio.gather(
            watch(), ask_for_health(other), *(client(http) for _ in range(_CLIENTS))
        )
    return seen


def _check(seen: Seen, room_mb: float) -> None:
    third = len(seen.resident) // 3
    early, late = seen.resident[third : 2 * third], seen.resident[2 * third :]
    told = f"{dict(seen.answers)}, slowest {seen.slowest:.1f} s, {len(seen.health)} times health, "
    told += f"slowest {max(seen.health):.2f} s, resident MB at 0, 1/3, 2/3, end: "
    told += ", ".join(f"{seen.resident[i]:.0f}" for i in (0, third, 2 * third, -1))
    _log.info(told)
    assert seen.lost == []
    assert set(seen.answers) <= {200, 503}, told
    assert seen.answers[200] > 0, told
    assert max(late) < max(early) + room_mb, told


def test_fifty_clients_for_some_seconds_lose_nothing(serve: Serve) -> None:
    served = serve()
    seen = _load(f"{served.url}/", os.getpid(), 5)
    _check(seen, 100)


def _restored(url: str, image: bytes) -> None:
    answer = httpx.post(
        f"{url}v1/restore", files={"image": ("a.png", image)}, timeout=3600, trust_env=False
    )
    assert answer.status_code == 200


def _comes_back(process: int, idle_mb: float) -> None:
    until(lambda: _resident_mb(process) < idle_mb + _ROOM_MB)
    _log.info("resident MB: idle %.0f, afterwards %.0f", idle_mb, _resident_mb(process))


@pytest.mark.slow
def test_fifty_clients_for_two_minutes_lose_nothing_and_memory_comes_back(tmp_path: Path) -> None:
    with server_process(tmp_path, None) as (process, url):
        _restored(url, _quarter_megapixel())
        idle_mb = _resident_mb(process.pid)
        seen = _load(url, process.pid, 120)
        assert process.poll() is None
        _check(seen, 30)
        _comes_back(process.pid, idle_mb)


@pytest.mark.slow
def test_memory_comes_back_after_a_photo_of_94_megapixels(
    tiny_weights: Path, tmp_path: Path
) -> None:
    large = io.BytesIO()
    rows, columns = np.ogrid[0:8400, 0:11200]
    PIL.Image.fromarray(((rows + columns) // 77 % 256).astype(np.uint8)).convert("RGB").save(
        large, "JPEG"
    )
    with server_process(tmp_path, tiny_weights, "--timeout", "3600") as (process, url):
        _restored(url, _quarter_megapixel())
        idle_mb = _resident_mb(process.pid)
        _restored(url, large.getvalue())
        _comes_back(process.pid, idle_mb)
