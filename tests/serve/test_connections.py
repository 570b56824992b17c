"""Connections that stall or flood: ended, and /healthz answers meanwhile."""

import contextlib
import socket
import time

import httpx
import pytest
from tests.serve.conftest import WAIT_S, Serve, Served, photo, until

from unveil.serve import connections, limits


def _open(served: Served, text: str = "") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S)
    made.sendall(text.encode())
    return made


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_health_answers_while_connections_flood_in(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PER_CLIENT", 20)
    served = serve()
    with contextlib.ExitStack() as stack:
        # Half a head each: none of them is a request yet.
        flood = [stack.enter_context(_open(served, "GET / HTTP/1.1\r\n")) for _ in range(100)]
        for _ in range(3):
            health = httpx.get(f"{served.url}/healthz", trust_env=False, timeout=WAIT_S)
            assert health.status_code == 200
        assert _is_closed(flood[0])


def test_a_head_that_drips_is_ended(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    served = serve()
    with _open(served, "GET /healthz HTTP/1.1\r\n") as dripping:
        end = time.monotonic() + WAIT_S
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                dripping.sendall(b"X")
                time.sleep(0.05)
        assert time.monotonic() < end


def test_a_client_that_keeps_its_connection_is_served_again(served: Served) -> None:
    for _ in range(3):
        assert served.client.get("/healthz").status_code == 200


def test_a_body_that_drips_is_408(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_S", 0.5)
    head = "POST /v1/restore HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    with _open(served, head) as dripping:
        answer, end = b"", time.monotonic() + WAIT_S
        dripping.settimeout(0.1)
        while not answer and time.monotonic() < end:
            with contextlib.suppress(OSError):
                dripping.sendall(b"X")
            with contextlib.suppress(TimeoutError):
                answer = dripping.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408")


def test_an_answer_that_is_not_read_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[object] = []
    forget = connections.Connection.connection_lost

    def forgetting(self: connections.Connection, exc: Exception | None) -> None:
        forget(self, exc)
        lost.append(self.client)

    monkeypatch.setattr(connections, "STALL_S", 0.3)
    monkeypatch.setattr(connections.Connection, "connection_lost", forgetting)
    served = serve()
    # More than what the system takes off the server's hands.
    files = {"image": ("a.png", photo((2400, 1800)))}
    job = served.client.post("/v1/jobs", files=files, data={"start": "false"}).json()["id"]
    path = f"/v1/jobs/{job}/images/0/before"
    size = len(served.client.get(path).content)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        lazy.settimeout(WAIT_S)
        lazy.connect(("127.0.0.1", served.port))
        lazy.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        until(lambda: lazy.getsockname() in lost)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while part := lazy.recv(65536):
                got += len(part)
        assert 0 < got < size
    assert served.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/docs?token=long-enough", "/"])
def test_behind_a_prefix_the_login_leads_back_below_it(serve: Serve, path: str) -> None:
    served = serve(token="long-enough", root_path="/tools/unveil")
    with httpx.Client(base_url=served.url, trust_env=False, timeout=WAIT_S) as client:
        page = client.get(path, headers={"Accept": "text/html"})
        if "token" in path:
            assert 'content="0;url=/tools/unveil/docs"' in page.text
            assert "Path=/tools/unveil/" in page.headers["set-cookie"]
            return
        assert 'action="/tools/unveil/login"' in page.text
        answer = client.post("/login", data={"token": "long-enough"})
        assert answer.headers["location"] == "/tools/unveil/"
    document = served.client.get("/openapi.json").json()
    assert document["servers"] == [{"url": "/tools/unveil"}]
