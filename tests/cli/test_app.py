"""The command line's frame: help, version, errors as one line."""

import json

import pytest

from unveil import __version__
from unveil.cli import app


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        app.main(list(words))
    code = stop.value.code
    captured = capsys.readouterr()
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "--version")
    assert (code, out.strip()) == (0, f"unveil {__version__}")


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in app._VERBS:
        code, out, _ = _run(capsys, verb, "--help")
        assert code == 0, verb
        assert "Usage" in out, verb


def test_an_unknown_verb_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "restroe")
    assert code == 2
    assert "restroe" in err


def test_an_error_is_one_line_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "degrade", "/no/such.jpg", "--with", "noise", "-o", "out")
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_doctor_reports_every_backend(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["backends"]["reference"] is None
    assert facts["backends"]["torch"] is None
    assert (facts["backends"]["native"] is None) == (facts["kernel"]["reason"] is None)
