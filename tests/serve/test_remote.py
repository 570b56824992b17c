"""Files handed to a running server: the same results, no torch here, one line where it fails."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.serve.conftest import MODEL, Serve, Served, photo

from unveil.batch.jobs import plan
from unveil.batch.remote import Server, restore_on_server
from unveil.cli import app as cli
from unveil.errors import InputError
from unveil.imaging import read_image


def _run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["restore", *map(str, words)])
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


def test_results_are_those_of_the_command(
    served: Served, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name, kind in (("a b.png", "PNG"), ("ü%22.JPG", "JPEG")):
        (tmp_path / "in" / name).write_bytes(photo(kind=kind))
    (tmp_path / "in" / "bad.png").write_bytes(photo()[:-200])
    options = ["--strength", 0.6, "--strength-chroma", 1, "--tile", 64, "--format", "png"]
    there = ["--server", served.url, "-o", tmp_path / "there", "--model", MODEL, *options]
    here = ["-o", tmp_path / "here", "--model", tiny_weights, *options]
    code, out, err = _run(capsys, tmp_path / "in", *there)
    assert code == 1
    assert len(out.splitlines()) == 2
    assert "bad.png: " in err
    assert err.count("\n") == 1
    _run(capsys, tmp_path / "in", *here)
    names = sorted(file.name for file in (tmp_path / "here").glob("*.png"))
    assert names == sorted(file.name for file in (tmp_path / "there").glob("*.png"))
    for name in names:
        mine, theirs = (read_image(tmp_path / where / name) for where in ("there", "here"))
        np.testing.assert_array_equal(mine.pixels, theirs.pixels)
    assert "2 already done" in _run(capsys, tmp_path / "in", *there)[2]
    other = [word if word != 0.6 else 0.5 for word in there]
    assert "--force" in _run(capsys, tmp_path / "in", *other)[2]


def test_names_of_any_bytes_are_sent_and_named_as_they_are(served: Served, tmp_path: Path) -> None:
    damaged, strange = tmp_path / "ü 1%.png", tmp_path / os.fsdecode(b"\xe4.png")
    damaged.write_bytes(photo()[:-200])
    strange.write_bytes(photo())
    jobs = plan([damaged, strange]).jobs
    failed, restored = restore_on_server(Server(served.url), jobs, {"model": MODEL})
    assert failed.reason.startswith(f"{damaged}: ")
    assert "%C3" not in failed.reason
    assert restored.status == "restored"
    assert tmp_path.joinpath(os.fsdecode(b"\xe4.restored.png")).exists()


def test_a_token_is_taken_from_the_environment(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    served = serve(token="long-enough")
    (tmp_path / "a.png").write_bytes(photo())
    words = [tmp_path / "a.png", "--server", served.url]
    monkeypatch.delenv("UNVEIL_TOKEN", raising=False)
    code, _, err = _run(capsys, *words)
    assert (code, err.count("\n")) == (1, 1)
    assert "token" in err
    monkeypatch.setenv("UNVEIL_TOKEN", "long-enough")
    assert _run(capsys, *words)[0] == 0
    assert (tmp_path / "a.restored.png").exists()


def test_a_server_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(photo())
    with socket.socket() as silent:
        # Bound, so that nobody else takes the port; it does not listen.
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code, out, err = _run(capsys, tmp_path / "a.png", "--server", url)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "not reachable" in err
    assert list(tmp_path.glob("*.restored*")) == []


@pytest.mark.parametrize("url", ["", "127.0.0.1:7860", "ftp://a", "http://", "http://a:b"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="server"):
        Server(url)


def test_options_of_this_machine_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = _run(capsys, tmp_path, "--server", "http://127.0.0.1:1", "--threads", 2)
    assert code == 2
    assert "--threads" in err


def test_no_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photo())
    code = (
        "import sys; from unveil.cli.app import main\n"
        f"try: main(['restore', {str(tmp_path / 'a.png')!r}, '--server', 'http://127.0.0.1:1'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
