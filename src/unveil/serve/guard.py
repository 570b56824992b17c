"""Who may talk to the server: right Host, right Origin, and the token where there is one."""

import asyncio
import base64
import hashlib
import hmac
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unveil.errors import BusyError
from unveil.html import render
from unveil.serve.settings import LOOPBACK_NAMES, Settings, hostname, is_address, is_loopback

_TEMPLATES = Path(__file__).with_name("templates")
COOKIE = "unveil_session"
LOGIN = "/login"
# Says only that the process lives; health checks have no token.
_OPEN = frozenset({"/healthz"})
_LOGIN_BYTES = 4096
_LOGIN_S = 10.0
_WRONG_TOKEN_S = 1.0
# What is sent must not come back inside an error.
_LONGEST = 400
# Allows the one inline style sheet.
_STYLE = base64.b64encode(hashlib.sha256((_TEMPLATES / "plain.css").read_bytes()).digest()).decode()

# Nothing is fetched from elsewhere, and no script runs but the page's own files.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
        f"style-src 'self' 'sha256-{_STYLE}'; "
        "frame-ancestors 'self'; form-action 'self'; base-uri 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Middleware in front of the page and the API."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._names = {name.lower() for name in settings.allowed_hosts}
        self._token, self._root = settings.token, settings.root_path
        # Not the token itself: a cookie jar must not give away what the API takes.
        secret = (settings.token or "").encode()
        self._session = hmac.new(secret, b"unveil session", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on what may pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._misdirected(headers)
        if answer is None and self._token is not None:
            answer = await self._unknown(scope, headers, receive)
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _misdirected(self, headers: Headers) -> Response | None:
        """Refuse what was meant for another name, or comes from another site's page."""
        host = headers.get("host", "")
        name = hostname(host)
        if not self._is_ours(name):
            reason = (
                f"host {name[:100]!r} is not served here; if it should be, start the server with "
                f"--allow-host and that name"
            )
            return refusal(403, reason)
        origin = headers.get("origin")
        if origin is not None and not self._same_site(origin, host):
            return refusal(403, f"origin {origin[:100]!r} is another site, which may not ask here")
        return None

    def _is_ours(self, name: str) -> bool:
        if name in self._names or name == self._settings.host.lower():
            return True
        if is_loopback(self._settings.host):
            return name in LOOPBACK_NAMES or is_loopback(name)
        # Reached by others: an address cannot be rebound, and a name must have been allowed.
        return name in LOOPBACK_NAMES or is_address(name)

    def _same_site(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        ports = {"http": ":80", "https": ":443"}
        own, theirs = (
            text.lower().removesuffix(ports[parts.scheme]) for text in (host, parts.netloc)
        )
        return own == theirs or hostname(parts.netloc) in self._names

    async def _unknown(self, scope: Scope, headers: Headers, receive: Receive) -> Response | None:
        """Let a client in by its token or session; show others the way."""
        path = scope["path"]
        if path == LOGIN:
            return await self._login(scope, receive)
        if path in _OPEN or self._is_known(headers):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = query.pop("token", [""])[0]
        reads = scope["method"] in ("GET", "HEAD")
        if given and reads and self._is_token(given):
            # Not a redirect: browsers leave a strict cookie out of one that another site began.
            rest = urlencode(query, doseq=True)
            target = f"{self._root}/" + quote(path.lstrip("/\\")) + (f"?{rest}" if rest else "")
            return self._welcome(scope, target)
        if given or "authorization" in headers:
            await asyncio.sleep(_WRONG_TOKEN_S)
        if reads and "text/html" in headers.get("accept", ""):
            return self._login_page(401, "That token is wrong." if given else "")
        reason = "this server needs its token: send it as Authorization: Bearer TOKEN"
        return refusal(401, reason, {"WWW-Authenticate": "Bearer"})

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(session.encode(), self._session.encode())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())

    async def _login(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            return self._login_page(200)
        try:
            body = await asyncio.wait_for(_body(receive), _LOGIN_S)
        except TimeoutError:
            return refusal(408, f"no token came within {_LOGIN_S:g} s; send again")
        given = parse_qs(body.decode("latin-1")).get("token", [""])[0].strip()
        if self._is_token(given):
            response = RedirectResponse(f"{self._root}/", 303)
            self._remember(scope, response)
            return response
        await asyncio.sleep(_WRONG_TOKEN_S)
        return self._login_page(401, "That token is wrong.")

    def _login_page(self, status: int, problem: str = "") -> Response:
        page = render(_TEMPLATES / "login.html", root=self._root, problem=problem)
        return HTMLResponse(page, status)

    def _welcome(self, scope: Scope, target: str) -> Response:
        response = HTMLResponse(render(_TEMPLATES / "welcome.html", target=target))
        self._remember(scope, response)
        return response

    def _remember(self, scope: Scope, response: Response) -> None:
        secure = scope.get("scheme") == "https"
        response.set_cookie(
            COOKIE,
            self._session,
            httponly=True,
            samesite="strict",
            path=f"{self._root}/",
            secure=secure,
        )


async def _body(receive: Receive) -> bytes:
    """Return a short body; the rest of a long one is not waited for."""
    body, more = b"", True
    while more and len(body) <= _LOGIN_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error in the shape all of them have.

    Args:
        status: Of HTTP, 400 or above.
        reason: One line.
        headers: More headers.
    """
    line = " ".join(reason.split())
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
    return JSONResponse({"error": line}, status, headers)


def retry_after(error: Exception) -> dict[str, str]:
    """Return the header that says when to try again, where an error says so."""
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, BusyError) else {}


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = list(message.get("headers", []))
            headers = MutableHeaders(raw=message["headers"])
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
