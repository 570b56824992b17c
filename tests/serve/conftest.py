"""A real server on loopback, with a tiny network, in this process."""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
import torch
import uvicorn

import unveil
from unveil.errors import CancelledError
from unveil.imaging import Image
from unveil.inference import Restorer
from unveil.inference.change import change_of
from unveil.inference.diagnosis import DEGRADATIONS, fit_probe, mixer_names, store_probe
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel
from unveil.models.checkpoint import from_pretrained, save_checkpoint
from unveil.serve.app import build_app
from unveil.serve.connections import limited_connections
from unveil.serve.engine import Engine
from unveil.serve.settings import Settings

MODEL = "tiny"
# Nothing takes that long: a limit for what would never come, on a machine that is busy.
WAIT_S = 120


@dataclass(frozen=True)
class Served:
    url: str
    port: int
    engine: Engine
    client: httpx.Client


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that changes what it sees, and visibly so."""
    network = unveil.create_model("cu_mamba_tiny")
    for parameter in network.parameters():
        parameter.data += 0.01
    return save_checkpoint(network, tmp_path_factory.mktemp("weights") / f"{MODEL}.safetensors")


@pytest.fixture(scope="session")
def all_in_one_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An all-in-one network with a made-up read-out that tells pictures apart."""
    torch.manual_seed(0)
    network = unveil.create_model("mtair_tiny")
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    path = save_checkpoint(network, tmp_path_factory.mktemp("mtair") / "all.safetensors")
    network = from_pretrained(path)
    store_probe(path, fit_probe(network, list(_pictures(network))))
    return path


def _pictures(
    network: RestorationModel,
) -> Iterator[tuple[GlobalStatistics, frozenset[str], float]]:
    """Make up what is seen in pictures: prompt weights that depend on what is wrong."""
    names = mixer_names(network)
    base = network.collect_statistics(torch.rand(1, 3, 64, 64))
    for i in range(24):
        found = frozenset({DEGRADATIONS[i % 4]}) if i % 4 < 3 else frozenset()
        told = {
            name: torch.randn_like(base.statistics[name])
            .mul(0.1)
            .index_add(1, torch.tensor([i % 2]), torch.tensor([[3.0 * (i % 4 - 1)]]))
            for name in names
        }
        yield GlobalStatistics({**base.statistics, **told}), found, 25.0 * ("noise" in found)


def photo(size: tuple[int, int] = (80, 60), kind: str = "PNG", seed: int = 0) -> bytes:
    """Return an image file of `size`, width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def flat(side: int) -> bytes:
    """Return a square image file that is small and quick to make, whatever its size."""
    buffer = io.BytesIO()
    PIL.Image.new("L", (side, side), 99).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def serving(engine: Engine) -> Iterator[Served]:
    app = build_app(engine.settings, engine=engine, page=False)
    config = uvicorn.Config(
        app, port=0, log_level="warning", ws="none", access_log=False, http=limited_connections()
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    token = engine.settings.token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=WAIT_S, trust_env=False) as client:
            yield Served(url, port, engine, client)
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.fixture
def serve(tiny_weights: Path, tmp_path: Path) -> Iterator[Serve]:
    """Start servers with the settings given; they stop with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(**settings: object) -> Served:
            made = Settings.model_validate({"models": (tiny_weights,), "threads": 1} | settings)
            return stack.enter_context(serving(Engine(made, folder=tmp_path)))

        yield start


@pytest.fixture(scope="package")
def served(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server with default settings for tests that leave it as it was."""
    settings = Settings(models=(tiny_weights,), threads=1)
    with serving(Engine(settings, folder=tmp_path_factory.mktemp("served"))) as found:
        yield found


@contextmanager
def server_process(
    folder: Path, weights: Path | None, *words: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``unveil serve`` in a process of its own; yield it and its address."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "unveil", "serve", "--port", "0", "--threads", "1"]
    given = ["--model", str(weights)] if weights else []
    with subprocess.Popen(
        [*command, "--no-page", *given, *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), process.stderr and process.stderr.read()
            yield process, url
        finally:
            process.kill()


@contextmanager
def busy(engine: Engine) -> Iterator[None]:
    """Keep the worker at a job that does nothing."""
    leave = threading.Event()

    # Without reports it outlasts any limit of time.
    engine.queue.submit(lambda _: leave.wait(WAIT_S))
    until(lambda: engine.queue.running)
    try:
        yield
    finally:
        leave.set()
        until(lambda: not engine.queue.running)


@contextmanager
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the next restoration stand at a quarter until it is cancelled; those after it run.

    Yields:
        A list, which gets a word for each that begins and is cancelled.
    """
    events: list[str] = []

    def change(restorer: Restorer, page: Image, out: Any, progress: Callable[[float], None]) -> Any:
        events.append("begun")
        try:
            while events == ["begun"]:
                progress(0.25)
                time.sleep(0.01)
        except CancelledError:
            events.append("cancelled")
            raise
        return change_of(restorer, page, out, progress)

    with monkeypatch.context() as patch:
        patch.setattr("unveil.serve.engine.change_of", change)
        yield events
        events.append("over")


def until(true: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)


def uploads(engine: Engine) -> list[Path]:
    """List the folders of uploads that are there."""
    return [path for path in engine.store.folder.iterdir() if path.is_dir() and path.name != "page"]
