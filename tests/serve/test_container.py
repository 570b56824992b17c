"""The container file is what the documentation says of it; no container engine runs here."""

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def _stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, comments left out and continued lines joined."""
    text = (_ROOT / "Dockerfile").read_text()
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, lines)):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest.strip()))
    return stages


def test_the_second_stage_has_no_compiler_and_no_root() -> None:
    build, final = _stages()
    name = build[0][1].split(" AS ")[1]
    assert "g++" in str(build)
    assert not any(word in str(final) for word in ("g++", "apt-get", "pip "))
    copies = [rest for instruction, rest in final if instruction == "COPY"]
    assert copies == [f"--from={name} /opt/unveil /opt/unveil"]
    users = [rest for instruction, rest in final if instruction == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1])
    # Nothing is written but below /tmp.
    assert "HOME=/tmp PYTHONDONTWRITEBYTECODE=1" in str(final)


def test_what_is_copied_and_installed_exists() -> None:
    build, _ = _stages()
    copied = [rest.split()[:-1] for instruction, rest in build if instruction == "COPY"]
    assert all((_ROOT / name).exists() for names in copied for name in names)
    extras = re.findall(r"\.\[([\w,]+)\]", str(build))[0].split(",")
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras) <= project["optional-dependencies"].keys()


def test_it_serves_and_its_health_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from unveil.cli import app as cli

    _, final = _stages()
    given = dict(final)
    check = json.loads(given["HEALTHCHECK"].split(" CMD ")[1])
    ast.parse(check[-1])
    assert f":{given['EXPOSE']}/healthz" in check[-1]
    served: list[int] = []
    monkeypatch.setattr("unveil.serve.server.run_server", lambda *_, **__: served.append(1))
    monkeypatch.setenv("UNVEIL_TOKEN", "long-enough")
    with pytest.raises(SystemExit):
        cli.main(json.loads(given["ENTRYPOINT"])[1:])
    assert served == [1]


def test_the_documentation_gives_the_same_commands() -> None:
    section = (_ROOT / "docs" / "run-a-server.md").read_text().split("## In a container")[1]
    comment = re.sub(r"^#", "", (_ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    shown = " ".join(section.split("```")[1].split())
    assert shown in " ".join(comment.split())
    assert "--read-only --tmpfs /tmp" in shown
    assert "untested" in section
