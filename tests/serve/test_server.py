"""The process: how it starts, how it refuses to, how it ends."""

import json
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.serve.conftest import WAIT_S, flat, server_process, until

import unveil
import unveil.serve
from unveil.cli import app as cli
from unveil.serve.store import PREFIX


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["serve", *map(str, words)])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = _run(capsys, "--port", taken.getsockname()[1])
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "in use" in err
    assert "--port" in err


def test_a_host_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "--host", "203.0.113.9", "--token", "long-enough", "--port", 0)
    assert code == 1
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--token", "short"], "--token"),
        (["--queue", "0"], "--queue"),
        (["--timeout", "0"], "--timeout"),
        (["--keep", "0"], "--keep"),
        (["--root-path", "no slash"], "--root-path"),
        (["--max-megapixels", "0"], "--max-megapixels"),
        (["--max-megabytes", "0"], "--max-megabytes"),
        (["--max-megabytes", "nan"], "--max-megabytes"),
        (["--max-megabytes", "inf"], "--max-megabytes"),
        (["--allow-host", "http://photos.example"], "leave out http:// and the port"),
        (["--allow-host", "photos.example:8443"], "leave out http:// and the port"),
    ],
)
def test_wrong_usage_names_the_option(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: str,
) -> None:
    monkeypatch.delenv("UNVEIL_TOKEN", raising=False)
    code, _, err = _run(capsys, *words)
    assert code == 2
    assert told in err


def test_every_option_reaches_the_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_weights: Path
) -> None:
    from unveil.serve.settings import Settings

    told: list[tuple[Settings, bool]] = []
    monkeypatch.setattr("unveil.serve.server.run_server", lambda s, _, page: told.append((s, page)))
    monkeypatch.setenv("UNVEIL_TOKEN", "from-the-environment")
    words = "--host 0.0.0.0 --port 99 --allow-host a.example --allow-host b.example --device cpu "
    words += "--keep 2 --root-path /tools/unveil/ "
    words += (
        "--threads 3 --max-megapixels 7 --max-megabytes 8 --queue 9 --timeout 10 --no-page --model"
    )
    assert _run(capsys, *words.split(), tiny_weights)[0] == 0
    expected = Settings(
        host="0.0.0.0",
        port=99,
        token="from-the-environment",
        allowed_hosts=("a.example", "b.example"),
        device="cpu",
        threads=3,
        max_megapixels=7,
        max_bytes=8_000_000,
        queue=9,
        timeout_s=10,
        keep_s=120,
        root_path="/tools/unveil",
        models=(tiny_weights,),
    )
    assert told == [(expected, False)]


def test_the_browser_is_opened_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("unveil.serve.server.run_server", lambda _, ready, **__: ready("http://x/"))
    for words, expected in (([], []), (["--open"], ["http://x/"])):
        with pytest.raises(SystemExit):
            cli.main(["serve", *words])
        assert opened == expected


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Put back afterwards, as the import below leaves another package there.
    monkeypatch.setattr(unveil, "serve", unveil.serve)
    for name in [name for name in sys.modules if name.startswith("unveil.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = _run(capsys)
    assert code == 1
    assert 'pip install "unveil[serve]"' in err


def _ended(
    folder: Path, weights: Path, number: signal.Signals, size: int
) -> tuple[list[int], float]:
    """Signal a server at which one image runs and three wait; return answers and seconds."""
    with (
        server_process(folder, weights) as (process, url),
        httpx.Client(base_url=url, timeout=WAIT_S, trust_env=False) as client,
        ThreadPoolExecutor(4) as clients,
    ):

        def send(side: int) -> httpx.Response:
            files = {"image": flat(side)}
            return client.post("/v1/restore", files=files, data={"tile": "64"})

        def gauge(name: str) -> float:
            lines = client.get("/metrics").text.splitlines()
            return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])

        first = clients.submit(send, size)
        until(lambda: gauge("unveil_running") == 1)
        others = [clients.submit(send, 50) for _ in range(3)]
        until(lambda: gauge("unveil_waiting") == 3 or first.done())
        start = time.monotonic()
        process.send_signal(number)
        statuses = [answer.result(WAIT_S).status_code for answer in (first, *others)]
        assert process.wait(WAIT_S) == 0
        seconds = time.monotonic() - start
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert list(folder.glob(f"{PREFIX}*")) == []
    return statuses, seconds


# More tiles than can be done in the time that a server takes to end.
_MANY_TILES = 4000


def test_sigterm_answers_everybody(tiny_weights: Path, tmp_path: Path) -> None:
    statuses, _ = _ended(tmp_path, tiny_weights, signal.SIGTERM, _MANY_TILES)
    assert statuses == [503] * 4


@pytest.mark.slow
def test_sigterm_ends_within_ten_seconds(tiny_weights: Path, tmp_path: Path) -> None:
    _, seconds = _ended(tmp_path, tiny_weights, signal.SIGTERM, _MANY_TILES)
    assert seconds < 10


@pytest.mark.slow
def test_sigint_finishes_what_runs(tiny_weights: Path, tmp_path: Path) -> None:
    statuses, seconds = _ended(tmp_path, tiny_weights, signal.SIGINT, 300)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {200, 503}
    assert seconds < 10


@pytest.mark.slow
def test_a_killed_server_is_cleaned_up_after(tiny_weights: Path, tmp_path: Path) -> None:
    with server_process(tmp_path, tiny_weights) as (process, url):
        assert httpx.get(f"{url}healthz", trust_env=False, timeout=WAIT_S).status_code == 200
        document = json.loads(httpx.get(f"{url}openapi.json", trust_env=False, timeout=WAIT_S).text)
        assert document["info"]["title"] == "unveil"
        process.kill()
        process.wait(WAIT_S)
    killed = list(tmp_path.glob(f"{PREFIX}*"))
    assert len(killed) == 1
    from unveil.serve.store import remove_stale

    remove_stale(tmp_path)
    assert not killed[0].exists()
