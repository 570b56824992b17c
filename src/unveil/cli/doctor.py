"""`unveil doctor`: what this machine can run, and why not the rest."""

import json
from typing import Any

import typer

from unveil.cli.shared_options import AsJson
from unveil.cli.wording import counted


def doctor(
    as_json: AsJson = False,
) -> None:
    """Print versions, cores, instruction sets and which backends of the scan can run."""
    from unveil.bench.machine import describe_machine

    facts = describe_machine()
    typer.echo(json.dumps(facts, indent=2) if as_json else _text(facts))


def _text(facts: dict[str, Any]) -> str:
    lines = [
        ("unveil", f"{facts['unveil']} on Python {facts['python']}, {facts['system']}"),
        ("libraries", _listed(facts["libraries"], "not installed")),
        ("extras", ", ".join(k if v else f"{k} (absent)" for k, v in facts["extras"].items())),
        (
            "cores",
            f"{facts['cores']} usable, {counted(facts['threads'], 'thread')} in use by torch",
        ),
        ("torch uses", facts["cpu_capability"] + (", CUDA" if facts["cuda"] else ", no CUDA")),
        *(("kernel " + key, _value(value)) for key, value in facts["kernel"].items()),
        *(("backend " + name, reason or "ready") for name, reason in facts["backends"].items()),
        ("forced", facts["forced_backend"] or "no backend (UNVEIL_SCAN_BACKEND is not set)"),
    ]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def _listed(versions: dict[str, str | None], missing: str) -> str:
    return ", ".join(f"{name} {version or missing}" for name, version in versions.items())


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
