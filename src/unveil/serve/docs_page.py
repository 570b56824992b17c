"""The API's documentation as one plain page, which needs no other server's scripts."""

import json
from pathlib import Path
from typing import Any

from unveil.html import render

_TEMPLATE = Path(__file__).with_name("templates") / "docs.html"


def docs_page(document: dict[str, Any]) -> str:
    """Return an OpenAPI document, as `fastapi.FastAPI.openapi` makes it, as an HTML page."""
    operations = [
        (f"{method.upper()} {path}", operation, _form(document, path, operation))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return render(_TEMPLATE, info=document["info"], operations=operations, zip=zip)


def _form(document: dict[str, Any], path: str, operation: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the page says about the form that an operation takes, if it takes one."""
    content = operation.get("requestBody", {}).get("content")
    if not content:
        return None
    kind, body = next(iter(content.items()))
    form = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
    needed = form.get("required", [])
    fields = [
        (
            name if name in needed else f"{name} (optional)",
            _kind(field),
            "" if field.get("default") is None else f"default {json.dumps(field['default'])}",
            field.get("description", ""),
        )
        for name, field in form["properties"].items()
    ]
    token = ' -H "Authorization: Bearer $UNVEIL_TOKEN"' if operation.get("security") else ""
    files = [f"-F {name}=@photo.jpg" for name in needed if name in ("image", "reference")]
    result = " -o restored.jpg" if path.endswith(("restore", "result", "degrade")) else ""
    example = f"curl{token} {' '.join(files) or '-F task=auto'} http://127.0.0.1:7860{path}{result}"
    return {"kind": kind, "fields": fields, "example": example}


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "contentMediaType" in field or field.get("format") == "binary":
        return "file"
    bounds = [field[key] for key in ("minimum", "maximum") if key in field]
    return str(field["type"]) + (f", {bounds[0]:g} to {bounds[1]:g}" if len(bounds) == 2 else "")
