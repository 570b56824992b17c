"""Who gets in: Host, Origin, token, session."""

import socket
import time

import httpx
import pytest
from tests.serve.conftest import WAIT_S, Serve, Served

from unveil.serve import guard
from unveil.serve.guard import COOKIE

TOKEN = "correct horse".replace(" ", "-")


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:7860", "127.0.0.1.evil.com", "", "[::1", "0.0.0.0"]
)
def test_another_host_is_refused(served: Served, host: str) -> None:
    answer = served.client.get("/v1/models", headers={"Host": host})
    assert answer.status_code == 403
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:7860"])
def test_loopback_by_any_name_is_served(served: Served, host: str) -> None:
    assert served.client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.com", "null", "file://", "http://localhost:9", "http://127.0.0.1", "http://["],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused(served: Served, origin: str, method: str) -> None:
    answer = served.client.request(method, "/v1/models", headers={"Origin": origin})
    assert answer.status_code == 403


def test_its_own_origin_is_served(served: Served) -> None:
    headers = {"Origin": served.url}
    assert served.client.get("/v1/models", headers=headers).status_code == 200


def test_behind_a_proxy_its_name_is_served(serve: Serve) -> None:
    client = serve(allowed_hosts=("photos.example.com",)).client
    for host, origin in (
        ("photos.example.com", "https://photos.example.com"),
        ("127.0.0.1:7860", "https://photos.example.com"),
        ("photos.example.com:443", "https://photos.example.com"),
    ):
        headers = {"Host": host, "Origin": origin}
        assert client.get("/v1/models", headers=headers).status_code == 200
    assert client.get("/v1/models", headers={"Host": "example.com"}).status_code == 403
    found = client.get("/v1/models").json()
    # Others do not see the folders of this machine.
    assert (found["limits"]["local"], found["models"][0]["file"]) == (False, "tiny.safetensors")


def test_on_all_addresses_names_must_be_allowed(serve: Serve) -> None:
    client = serve(host="0.0.0.0", token=TOKEN).client
    assert client.get("/v1/models", headers={"Host": "192.168.1.7:7860"}).status_code == 200
    assert client.get("/v1/models", headers={"Host": "rebound.example"}).status_code == 403


@pytest.fixture(scope="module")
def locked(tiny_weights, tmp_path_factory):  # type: ignore[no-untyped-def]
    from tests.serve.conftest import serving

    from unveil.serve.engine import Engine
    from unveil.serve.settings import Settings

    settings = Settings(models=(tiny_weights,), token=TOKEN)
    with serving(Engine(settings, folder=tmp_path_factory.mktemp("locked"))) as found:
        yield found


def _stranger(served: Served) -> httpx.Client:
    return httpx.Client(
        base_url=served.url, trust_env=False, follow_redirects=False, timeout=WAIT_S
    )


@pytest.mark.parametrize(
    "path", ["/v1/models", "/metrics", "/docs", "/openapi.json", "/", "/nothing"]
)
def test_without_the_token_nothing_is_told(locked: Served, path: str) -> None:
    with _stranger(locked) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert list(answer.json()) == ["error"]


def test_without_the_token_no_upload_is_read(locked: Served) -> None:
    with _stranger(locked) as client:
        assert client.post("/v1/restore", files={"image": b"x"}).status_code == 401


def test_a_login_that_stalls_is_given_up(locked: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_LOGIN_S", 0.2)
    with socket.create_connection(("127.0.0.1", locked.port), timeout=WAIT_S) as stalled:
        head = f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{locked.port}\r\nContent-Length: 50\r\n"
        stalled.sendall(f"{head}\r\ntok".encode())
        assert stalled.recv(100).startswith(b"HTTP/1.1 408")


def test_health_needs_no_token(locked: Served) -> None:
    with _stranger(locked) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.head("/healthz").status_code == 200


def test_a_bearer_is_let_in(locked: Served) -> None:
    assert locked.client.get("/v1/models").status_code == 200


def test_a_browser_logs_in_once(locked: Served) -> None:
    browser = {"Accept": "text/html,*/*"}
    with _stranger(locked) as client:
        page = client.get("/", headers=browser)
        assert page.status_code == 401
        assert '<form method="post" action="/login">' in page.text
        answer = client.post("/login", data={"token": TOKEN}, headers={"Origin": locked.url})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert TOKEN not in cookie
        assert client.get("/v1/models").status_code == 200


def test_a_link_with_the_token_logs_in_and_leaves_it_out_of_the_address(locked: Served) -> None:
    with _stranger(locked) as client:
        answer = client.get(f"/docs?a=b&token={TOKEN}", headers={"Accept": "text/html"})
        assert answer.status_code == 200
        assert 'content="0;url=/docs?a=b"' in answer.text
        assert TOKEN not in answer.text
        assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("path", ["//evil.com", "/%5Cevil.com", "/%22%3E%3Cscript%3E"])
def test_such_a_link_leads_nowhere_else(locked: Served, path: str) -> None:
    with _stranger(locked) as client:
        text = client.get(f"{locked.url}{path}?token={TOKEN}").text
        assert "url=//" not in text
        assert "\\" not in text
        assert "<script" not in text


def test_a_wrong_token_costs_time(locked: Served) -> None:
    with _stranger(locked) as client:
        start = time.monotonic()
        answer = client.post("/login", data={"token": "wrong"})
        assert answer.status_code == 401
        assert "wrong" in answer.text
        assert time.monotonic() - start >= 1


def test_a_wrong_token_of_the_api_costs_time_too(locked: Served) -> None:
    with _stranger(locked) as client:
        start = time.monotonic()
        answer = client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401
        assert time.monotonic() - start >= 1


def test_another_site_cannot_log_a_browser_in(locked: Served) -> None:
    with _stranger(locked) as client:
        headers = {"Origin": "http://evil.com"}
        assert client.post("/login", data={"token": TOKEN}, headers=headers).status_code == 403


def test_a_forged_session_is_refused(locked: Served) -> None:
    with _stranger(locked) as client:
        for value in ("", "0" * 64, TOKEN):
            headers = {"Cookie": f"{COOKIE}={value}"}
            assert client.get("/v1/models", headers=headers).status_code == 401


def test_pages_may_fetch_nothing_from_elsewhere(served: Served) -> None:
    policy = served.client.get("/docs").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


def test_the_document_says_that_a_token_is_needed(locked: Served, served: Served) -> None:
    operation = locked.client.get("/openapi.json").json()["paths"]["/v1/models"]["get"]
    assert operation["security"] == [{"token": []}]
    assert "security" not in served.client.get("/openapi.json").json()["paths"]["/v1/models"]["get"]
