"""Error responses: one JSON object with one line, and a status by kind of error."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from unveil import errors
from unveil.serve.guard import refusal, retry_after
from unveil.serve.store import plain_message

_REASONS = {
    400: "The form cannot be read.",
    401: "The token is missing or wrong.",
    403: "Host or Origin is not this server's.",
    404: "There is nothing here that could do this.",
    408: "The upload stopped.",
    413: "Too many bytes or too many pixels.",
    415: "Not an image of a kind this server reads.",
    422: "A damaged image, or an option out of range.",
    503: "The queue or the disk is full, or the server is stopping; see Retry-After.",
    504: "Not done in time.",
}
# What the router says, in words that help.
_OF_THE_ROUTER = {
    "Not Found": "nothing at this address; see /docs",
    "Method Not Allowed": "not by this method; the header Allow and /docs say by which",
}

UPLOAD_ERRORS = (400, 401, 403, 408, 413, 415, 422, 503, 504)


class Problem(BaseModel):
    """Every error, as JSON."""

    error: str = Field(description="What was given, what was expected, what to do; one line.")


class NotAnImageError(errors.ImageFileError):
    """The upload's first bytes are of no kind of image."""


# The nearest class of an error counts.
_STATUS: dict[type, int] = {
    errors.BusyError: 503,
    errors.CancelledError: 503,
    errors.TimedOutError: 504,
    errors.ImageTooLargeError: 413,
    errors.MissingExtraError: 415,
    NotAnImageError: 415,
    errors.ImageFileError: 422,
    errors.InputError: 422,
    errors.OutputError: 422,
}


def described(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says about errors with these codes."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        found[code] = {"model": Problem, "description": _REASONS[code]}
    if 503 in found:
        schema = {"type": "integer"}
        found[503]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": schema}}
    return found


def file_of(*media_types: str) -> dict[str, Any]:
    """Return what the OpenAPI document says about an answer that is a file of these kinds."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"content": dict.fromkeys(media_types, binary)}


def sends(answer: dict[str, Any], *codes: int) -> dict[str, Any]:
    """Return the options of a route that answers with something else than JSON.

    Args:
        answer: What the OpenAPI document says about it.
        codes: Of errors, as `described`.
    """
    return {"response_class": Response, "responses": {200: answer, **described(*codes)}}


def answer_errors(app: FastAPI, folder: Path) -> None:
    """Make `app` answer every error as a `Problem`.

    Args:
        app: The application.
        folder: The engine's, which clients have no business to see.
    """

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, errors.UnveilError):
            status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
            return refusal(status, plain_message(error, folder), retry_after(error))
        if isinstance(error, HTTPException):
            headers = dict(error.headers or {})
            if "Allow" in headers:
                headers["Allow"] = _methods(request) or headers["Allow"]
            line = _OF_THE_ROUTER.get(error.detail, error.detail)
            return refusal(error.status_code, line, headers)
        if isinstance(error, RequestValidationError):
            return refusal(422, "; ".join(map(_sentence, error.errors())) or "invalid request")
        # The server logs the traceback.
        return refusal(500, "internal error; the server's log says more", {"Connection": "close"})

    for kind in (errors.UnveilError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer)


def _methods(request: Request) -> str:
    """Return all methods of an address of the API; the router names those of one route."""
    found = [
        method.upper()
        for path, operations in request.app.openapi()["paths"].items()
        if compile_path(path)[0].match(request.scope["path"])
        for method in operations
    ]
    return ", ".join(sorted(found))


def _sentence(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"][1:]) or "body"
    plain = problem["msg"].removeprefix("Value error, ")
    no_file = "expected a file, such as image=@photo.jpg for curl -F"
    texts = {
        "extra_forbidden": "no such field",
        "missing": "missing; send it as a field of a multipart form",
        "value_error": no_file if "UploadFile" in plain else plain,
        "string_pattern_mismatch": f"{str(problem['input'])[:50]!r} is not of the form expected",
    }
    return f"{place}: {texts.get(problem['type'], problem['msg'])}; see /docs"
