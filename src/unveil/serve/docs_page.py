"""The API's documentation as one plain page, which needs no other server's scripts."""

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from unveil.html import render

_TEMPLATE = Path(__file__).with_name("templates") / "docs.html"

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
    operations = (
        _operation(document, path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    return render(_TEMPLATE, style=Markup(STYLE), info=document["info"], operations=operations)


def _operation(
    document: dict[str, Any], path: str, method: str, operation: dict[str, Any]
) -> dict[str, Any]:
    answers = operation["responses"]
    headers = answers.get("200", {}).get("headers", {})
    return {
        "name": f"{method.upper()} {path}",
        "description": operation.get("description", ""),
        "forms": [
            _form(kind, path, operation, _resolved(document, content["schema"]))
            for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        ],
        "answers": [(code, answer.get("description", "")) for code, answer in answers.items()],
        "headers": [(name, header["description"]) for name, header in headers.items()],
    }


def _form(kind: str, path: str, operation: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    needed = form.get("required", [])
    fields = [
        (
            name + ("" if name in needed else " (optional)"),
            _kind(field),
            _default(field),
            field.get("description", ""),
        )
        for name, field in form["properties"].items()
    ]
    return {"kind": kind, "fields": fields, "example": _example(path, operation, form)}


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
