"""The API's documentation as one plain page, which needs no other server's scripts."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
code, pre { font-family: ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .3rem; }
a { color: inherit; }
section { margin-top: 2.5rem; }
"""


def docs_page(document: dict[str, Any]) -> str:
    """Return an OpenAPI document as an HTML page.

    Args:
        document: As `fastapi.FastAPI.openapi` makes it.
    """
    info = document["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('summary', ''))} For programs: "
        '<a href="openapi.json">openapi.json</a>.</p>',
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += _operation(document, path, method, operation)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>unveil API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _operation(
    document: dict[str, Any], path: str, method: str, operation: dict[str, Any]
) -> Iterator[str]:
    yield f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        form = _resolved(document, content["schema"])
        yield f"<h3>Fields, as <code>{escape(kind)}</code></h3>"
        needed = form.get("required", [])
        rows = [
            (name + ("" if name in needed else " (optional)"), _kind(field), _default(field))
            for name, field in form["properties"].items()
        ]
        texts = [field.get("description", "") for field in form["properties"].values()]
        yield _table([(*row, text) for row, text in zip(rows, texts, strict=True)])
        yield f'<pre tabindex="0">{escape(_example(path, operation, form))}</pre>'
    yield "<h3>Answers</h3>"
    answers = operation["responses"].items()
    yield _table([(code, answer.get("description", "")) for code, answer in answers])
    headers = operation["responses"].get("200", {}).get("headers", {})
    if headers:
        yield "<h3>Headers of the answer</h3>"
        yield _table([(name, header["description"]) for name, header in headers.items()])
    yield "</section>"


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into the document's components."""
    found: Any = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "contentMediaType" in field or field.get("format") == "binary":
        return "file"
    bounds = [field[key] for key in ("minimum", "maximum") if key in field]
    return str(field["type"]) + (f", {bounds[0]:g} to {bounds[1]:g}" if len(bounds) == 2 else "")


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None else f"default {json.dumps(default)}"


def _example(path: str, operation: dict[str, Any], form: dict[str, Any]) -> str:
    token = ' -H "Authorization: Bearer $UNVEIL_TOKEN"' if operation.get("security") else ""
    files = [name for name in form.get("required", []) if name in ("image", "reference")]
    fields = " ".join(f"-F {name}=@photo.jpg" for name in files) or "-F task=auto"
    result = " -o restored.jpg" if path.endswith(("restore", "result", "degrade")) else ""
    return f"curl{token} {fields} http://127.0.0.1:7860{path}{result}"


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div tabindex="0" role="group" aria-label="Table"><table>{body}</table></div>'
