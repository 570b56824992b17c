"""The API's answers: the same pixels as the command line, errors in one shape."""

import errno
import io
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.imaging.dng import write_dng
from tests.serve.conftest import MODEL, WAIT_S, Serve, Served, busy, photo, until, uploads

from unveil.cli import app as cli
from unveil.imaging import Image, read_image, write_image
from unveil.imaging.formats import FORMATS, format_named
from unveil.inference.diagnosis import DegradationEstimate
from unveil.serve.limits import Limits

_RNG = np.random.default_rng(1)


def _post(
    client: httpx.Client, image: bytes, name: str = "a.png", **options: Any
) -> httpx.Response:
    return client.post("/v1/restore", files={"image": (name, image)}, data=options)


def _error(answer: httpx.Response) -> str:
    body = answer.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    return str(body["error"])


def _samples(depth: str, channels: int) -> Any:
    shape = (70, 101, channels)
    if depth == "float32":
        return _RNG.random(shape, dtype=np.float32) * 1.5
    return _RNG.integers(0, np.iinfo(depth).max, shape, dtype=depth, endpoint=True)


@pytest.mark.parametrize(
    ("suffix", "depth", "channels", "alpha", "options"),
    [
        ("jpg", "uint8", 3, False, {"format": "png"}),
        ("jpg", "uint8", 3, False, {"quality": "70"}),
        ("png", "uint8", 3, False, {"format": "jpg", "strength-luma": "0.3"}),
        ("png", "uint8", 3, False, {"strength": "0.5", "strength-chroma": "1"}),
        ("png", "uint16", 3, False, {"strength": "0.4"}),
        ("png", "uint8", 3, True, {"strength": "0.4"}),
        ("png", "uint16", 1, True, {"tile": "64"}),
        ("png", "uint8", 1, False, {"ensemble": "true"}),
        ("tif", "float32", 3, False, {"strength": "0.73", "tile": "64"}),
        ("webp", "uint8", 3, True, {"task": "denoise"}),
    ],
)
def test_pixels_are_those_of_the_command_line(
    served: Served,
    tiny_weights: Path,
    tmp_path: Path,
    suffix: str,
    depth: str,
    channels: int,
    alpha: bool,
    options: dict[str, str],
) -> None:
    source = tmp_path / f"photo.{suffix}"
    extra = _samples(depth, 1)[..., 0] if alpha else None
    write_image(source, Image(_samples(depth, channels), extra, format_named(suffix)))
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    words = [word for word in words if word != "true"]
    target = tmp_path / f"by-hand.{options.get('format', suffix)}"
    with pytest.raises(SystemExit) as stop:
        cli.main(["restore", str(source), "-o", str(target), "--model", str(tiny_weights), *words])
    assert not stop.value.code
    fields = {name.replace("-", "_"): value for name, value in options.items()}
    answer = _post(served.client, source.read_bytes(), source.name, model=MODEL, **fields)
    assert answer.status_code == 200, answer.text
    received = tmp_path / f"received.{target.suffix[1:]}"
    received.write_bytes(answer.content)
    mine, theirs = read_image(received), read_image(target)
    assert mine.pixels.dtype == theirs.pixels.dtype
    np.testing.assert_array_equal(mine.pixels, theirs.pixels)
    if mine.alpha is not None or theirs.alpha is not None:
        np.testing.assert_array_equal(mine.alpha, theirs.alpha)
    assert not np.array_equal(mine.pixels, read_image(source).pixels)
    assert answer.content == target.read_bytes()


@pytest.mark.parametrize("name", ["a.dng", "a.tif", "a.jpg"])
def test_a_raw_photograph_is_developed_and_not_its_preview(
    served: Served, tmp_path: Path, name: str
) -> None:
    pytest.importorskip("rawpy")
    source = write_dng(tmp_path / "a.dng", preview=True)
    answer = _post(served.client, source.read_bytes(), name, model=MODEL)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/tiff"
    (tmp_path / "b.tif").write_bytes(answer.content)
    image = read_image(tmp_path / "b.tif")
    assert (image.pixels.shape, image.pixels.dtype) == ((96, 128, 3), np.uint16)


def test_what_a_result_does_not_keep_is_said(served: Served, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", Image(_samples("uint16", 3)))
    content = (tmp_path / "a.png").read_bytes()
    kept = _post(served.client, content, model=MODEL)
    lost = _post(served.client, content + b"more", model=MODEL, format="jpeg")
    assert (kept.status_code, lost.status_code) == (200, 200)
    assert "X-Unveil-Left-Out" not in kept.headers
    said = lost.headers["X-Unveil-Left-Out"]
    assert "16-bit samples stored with 8 bits" in said
    assert "what follows the picture" in said


def test_pixels_of_the_bundled_denoiser_are_those_of_the_command_line(
    served: Served, tmp_path: Path
) -> None:
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(photo())
    words = ["--model", "cu_mamba_small", "--strength", "0.4", "-o", str(target)]
    with pytest.raises(SystemExit):
        cli.main(["restore", str(source), *words])
    answer = _post(served.client, source.read_bytes(), model="cu_mamba_small", strength="0.4")
    assert answer.content == target.read_bytes()


def test_headers_say_what_was_done(served: Served) -> None:
    answer = _post(served.client, photo((150, 100)), "my photo.png", tile="64", strength="0.5")
    assert answer.status_code == 200
    told = {k.removeprefix("x-unveil-"): v for k, v in answer.headers.items() if "unveil" in k}
    assert float(told.pop("seconds")) > 0
    # A grid of 64 with overlap 16: 3 columns of tiles, 2 rows.
    assert told == {
        "model": MODEL, "task": "auto", "strength": "0.5", "strength-chroma": "0.5",
        "size": "150x100", "megapixels": "0.015000", "tiles": "6",
    }  # fmt: skip
    assert answer.headers["content-type"] == "image/png"
    assert "my%20photo.restored.png" in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_name_that_lies_does_not_matter(served: Served) -> None:
    answer = _post(served.client, photo(kind="JPEG"), "../../really.png\r\nX-A: b")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert "/" not in answer.headers["content-disposition"]
    assert "x-a" not in answer.headers


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "/etc/passwd"}, "no model"),
        ({"model": "hf://owner/name"}, "no model"),
        ({"model": "cu_mamba_small", "task": "derain"}, "does not derain"),
        ({"strength": "1.5"}, "strength"),
        ({"strength": "nan"}, "strength"),
        ({"tile": "63"}, "tile"),
        ({"strength_luma": "-1"}, "strength_luma"),
        ({"format": "gif"}, "format"),
        ({"quality": "0"}, "quality"),
        ({"nonsense": "1"}, "nonsense"),
        ({"model": ""}, "model: empty"),
        ({"strength": ["0.1", "0.9"]}, "strength: given more than once"),
    ],
)
def test_an_impossible_option_is_named(served: Served, options: dict[str, Any], word: str) -> None:
    answer = _post(served.client, photo(), **options)
    assert answer.status_code == 422
    assert word in _error(answer)


def test_what_is_no_image_is_415_and_a_damaged_one_422(served: Served) -> None:
    for foreign in (b"", b"hello", b"GIF89a" + bytes(50)):
        answer = _post(served.client, foreign)
        assert answer.status_code in (415, 422)
        assert _error(answer)
    assert _post(served.client, b"hello").status_code == 415
    damaged = _post(served.client, photo()[:-200])
    assert damaged.status_code == 422
    assert str(served.engine.store.folder) not in _error(damaged)


@pytest.mark.parametrize("name", ["a.photo.PNG", "holiday.jpeg", "no suffix"])
def test_errors_name_the_file_whole(served: Served, name: str) -> None:
    for content in (b"hello", photo()[:-200]):
        assert name in _error(_post(served.client, content, name))


@pytest.mark.parametrize("kind", ["image/png", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_no_form_gets_one_short_line(served: Served, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = served.client.post("/v1/restore", content=photo((500, 500)), headers=headers)
    assert answer.status_code == 415
    assert "multipart" in _error(answer)
    assert len(answer.content) < 200


def test_what_a_format_cannot_hold_is_422(served: Served) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("RGBA", (9, 9)).save(buffer, "PNG")
    answer = _post(served.client, buffer.getvalue(), format="jpeg")
    assert answer.status_code == 422
    assert "transparency" in _error(answer)


def test_a_pass_larger_than_the_record_calls_for_is_refused(served: Served) -> None:
    answer = _post(served.client, photo((1100, 1000)), tile="off")
    assert answer.status_code == 422
    assert "limit of 1;" in _error(answer)


def test_too_many_pixels_are_413(serve: Serve) -> None:
    served = serve(max_megapixels=0.01)
    answer = _post(served.client, photo((200, 100)))
    assert answer.status_code == 413
    assert "megapixels" in _error(answer)


@pytest.mark.parametrize("chunked", [False, True])
def test_too_many_bytes_are_413(serve: Serve, chunked: bool) -> None:
    served = serve(max_bytes=100_000)
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = head + photo() + bytes(1_000_000) + b"\r\n--x--\r\n"
    content = (body[i : i + 4096] for i in range(0, len(body), 4096)) if chunked else body
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = served.client.post("/v1/restore", content=content, headers=headers)
    assert answer.status_code == 413
    assert "0.1 MB" in _error(answer)
    until(lambda: uploads(served.engine) == [])


@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_no_upload_is_bounded_too(served: Served, chunked: bool) -> None:
    async def length(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    inner = Starlette(routes=[Route("/v1/jobs/x/start", length, methods=["POST"])])
    client = TestClient(Limits(inner, served.engine))
    answers = []
    for size in (500_000, 2_000_000):
        body = bytes(size)
        content = (body[i : i + 4096] for i in range(0, size, 4096)) if chunked else body
        answers.append(client.post("/v1/jobs/x/start", content=content))
    assert [answer.status_code for answer in answers] == [200, 413]
    assert answers[0].text == "500000"
    assert "1 MB" in answers[1].text


def test_a_full_line_is_503_and_says_when_to_come_again(serve: Serve) -> None:
    served = serve(queue=1)
    with ThreadPoolExecutor(1) as others, busy(served.engine):
        waiting = others.submit(_post, served.client, photo())
        until(lambda: served.engine.queue.waiting == 1)
        answer = _post(served.client, photo())
        assert answer.status_code == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert "try again" in _error(answer)
    assert waiting.result().status_code == 200


def test_a_disk_that_fills_at_work_is_503(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: int, _start: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    answer = _post(served.client, photo())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "disk is full" in _error(answer)
    until(lambda: uploads(served.engine) == [])


def test_on_a_full_disk_no_upload_is_taken_in(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unveil.serve.store._RESERVE", 2**62)
    monkeypatch.setattr(served.engine.store, "receive", lambda *_: pytest.fail("it was taken in"))
    answer = _post(served.client, photo((400, 400)))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "disk is full" in _error(answer)


def test_what_takes_too_long_is_504(serve: Serve) -> None:
    served = serve(timeout_s=0.3)
    leave = busy(served.engine)
    with leave:
        answer = _post(served.client, photo())
    assert answer.status_code == 504
    assert _error(answer)
    until(lambda: served.engine.queue.waiting == 0 and uploads(served.engine) == [])


def _send_and_leave(served: Served, image: bytes, reached: Any) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        body += image + b'\r\n--x\r\nContent-Disposition: form-data; name="tile"\r\n\r\n64\r\n'
        body += b"--x--\r\n"
        head = f"POST /v1/restore HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        connection.sendall(head.encode() + body)
        until(reached)


def test_when_the_client_of_a_waiting_image_goes_it_leaves_the_line(served: Served) -> None:
    queue = served.engine.queue
    with busy(served.engine):
        _send_and_leave(served, photo(), lambda: queue.waiting == 1)
        until(lambda: queue.waiting == 0)
    until(lambda: uploads(served.engine) == [])


def test_when_the_client_of_a_running_image_goes_it_stops_between_tiles(served: Served) -> None:
    queue = served.engine.queue
    shares: list[float] = []

    def reached() -> bool:
        running = queue._running
        shares.append(running.share if running else 0.0)
        return shares[-1] > 0

    _send_and_leave(served, photo((1500, 1500)), reached)
    images = served.client.get("/metrics").text
    until(lambda: not queue.running)
    until(lambda: uploads(served.engine) == [])
    done = "unveil_images_total "
    after = served.client.get("/metrics").text
    assert images.split(done)[1].split()[0] == after.split(done)[1].split()[0]


def test_nothing_is_kept_once_an_image_is_answered(served: Served) -> None:
    assert _post(served.client, photo()).status_code == 200
    until(lambda: uploads(served.engine) == [])


def test_models_and_tasks_are_those_that_there_are_weights_for(
    served: Served, tiny_weights: Path
) -> None:
    found = served.client.get("/v1/models").json()
    first = found["models"][0]
    assert (first["id"], first["default"], first["tasks"]) == (MODEL, True, ["denoise"])
    assert {model["id"] for model in found["models"]} >= {MODEL, "cu_mamba_small"}
    assert found["choices"]["denoise"] == MODEL
    assert first["file"] == str(tiny_weights)
    assert {model["file"] for model in found["models"][1:]} == {None}
    claimed = {task for model in found["models"] for task in model["tasks"]}
    assert set(found["tasks"]) == {"auto"} | claimed


def test_inspect_says_that_no_model_can(served: Served) -> None:
    answer = served.client.post("/v1/inspect", files={"image": photo()}, data={"model": MODEL})
    assert answer.status_code == 404
    assert "tiny" in _error(answer)


def test_inspect_answers_as_the_command_does(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = DegradationEstimate({"noise": 0.987654, "rain": 0.1, "haze": 0.0}, 24.56, ("noise",))
    offer = served.engine.catalogue.offers[0]
    monkeypatch.setattr(served.engine.catalogue, "inspector", lambda _model=None: offer)
    monkeypatch.setattr("unveil.serve.engine.inspect_image", lambda *_: seen)
    answer = served.client.post("/v1/inspect", files={"image": photo()})
    assert answer.json() == {
        "verdict": ["noise"],
        "probabilities": {"noise": 0.9877, "rain": 0.1, "haze": 0.0},
        "sigma_255": 24.6,
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/restore", 405), ("PUT", "/healthz", 405), ("GET", "/v1/nothing", 404),
     ("DELETE", "/v1/models", 405), ("POST", "/metrics", 405), ("OPTIONS", "/v1/restore", 405)],
)  # fmt: skip
def test_what_is_not_there_is_told_in_the_same_shape(
    served: Served, method: str, path: str, status: int
) -> None:
    answer = served.client.request(method, path)
    assert answer.status_code == status
    assert _error(answer)
    assert ("allow" in answer.headers) == (status == 405)


def test_a_wrong_method_is_answered_with_all_that_there_are(served: Served) -> None:
    assert served.client.put("/v1/jobs/none").headers["allow"] == "DELETE, GET"


def test_what_nobody_foresaw_is_500_in_the_same_shape(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_options: object) -> None:
        raise KeyError("our bug")

    monkeypatch.setattr(served.engine, "check", fail)
    answer = _post(served.client, photo())
    assert answer.status_code == 500
    assert "log" in _error(answer)
    assert "our bug" not in answer.text
    until(lambda: uploads(served.engine) == [])


def test_a_torn_form_is_400(served: Served) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = served.client.post("/v1/restore", content=b"--y\r\nrubbish", headers=headers)
    assert answer.status_code == 400
    assert _error(answer)


def test_the_documentation_names_everything_and_fetches_nothing(served: Served) -> None:
    page = served.client.get("/docs").text
    for word in ("/v1/restore", "strength", "X-Unveil-Tiles", "503", MODEL):
        assert word in page
    assert "<script" not in page
    assert "//" not in page.replace("http://127.0.0.1:7860", "")


def test_metrics_count_answers_and_images(served: Served) -> None:
    def count(line: str) -> float:
        found = [x for x in served.client.get("/metrics").text.splitlines() if x.startswith(line)]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    answered = 'unveil_requests_total{path="/v1/restore",status="200"}'
    before = count(answered), count("unveil_images_total"), count("unveil_megapixels_total")
    assert _post(served.client, photo((100, 100))).status_code == 200
    assert count(answered) == before[0] + 1
    assert count("unveil_images_total") == before[1] + 1
    assert count("unveil_megapixels_total") == pytest.approx(before[2] + 0.01)
    assert count("process_resident_memory_bytes") > 1e6


def test_every_format_has_its_media_type(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    answer = document["paths"]["/v1/restore"]["post"]["responses"]["200"]
    assert set(answer["content"]) == {f"image/{kind.name}" for kind in FORMATS}


def test_a_form_sent_to_a_route_that_takes_none_is_left_alone(served):
    form = {"data": {"model": ""}, "files": {"a": b"x"}}
    answer = served.client.request("GET", "/v1/models", **form)
    assert answer.status_code == 200


def test_a_body_that_breaks_off_leaves_no_traceback(served, caplog):
    head = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999\r\n"
    kind = b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    with socket.create_connection(("127.0.0.1", served.port), WAIT_S) as connection:
        connection.sendall(head + kind)
    # The end of the body is seen before a connection that is made later.
    with httpx.Client(base_url=served.url, timeout=WAIT_S, trust_env=False) as client:
        assert client.get("/healthz").status_code == 200
    assert not [record for record in caplog.records if record.exc_info]
