"""Photos of a tab: previews of any depth, downloads with everything they came with."""

import errno
import io
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("gradio", reason="needs the extra serve")

from fastapi.testclient import TestClient
from tests.serve.conftest import busy, photo, uploads

from unveil.errors import UnveilError
from unveil.imaging import Image, read_image, scratch, write_image
from unveil.imaging.formats import format_named
from unveil.serve.engine import Engine, Options
from unveil.serve.page import routes
from unveil.serve.page.desk import MOST_PHOTOS, Desk, Desks, Photo
from unveil.serve.page.routes import page_router
from unveil.serve.page.samples import CLEAN, SAMPLES, offered
from unveil.serve.settings import Settings


@contextmanager
def _running(weights: Path, folder: Path, **settings: Any) -> Iterator[Desks]:
    engine = Engine(Settings(models=(weights,), threads=1, **settings), folder=folder)
    try:
        yield Desks(engine)
    finally:
        engine.stop(1.0)


@pytest.fixture
def desks(tiny_weights: Path, tmp_path: Path) -> Iterator[Desks]:
    with _running(tiny_weights, tmp_path / "engine") as desks:
        yield desks


def _client(desks: Desks) -> TestClient:
    from fastapi import FastAPI

    from unveil.serve.answers import answer_errors

    app = FastAPI()
    answer_errors(app, desks.engine.folder)
    app.include_router(page_router(desks))
    return TestClient(app, raise_server_exceptions=False)


def _file(kind: str, depth: str, folder: Path) -> bytes:
    rng = np.random.default_rng(0)
    top = 1 if depth == "float32" else np.iinfo(depth).max
    pixels = (rng.random((45, 61, 3)) * top).astype(depth)
    path = folder / f"in{format_named(kind).suffixes[0]}"
    write_image(path, Image(pixels))
    return path.read_bytes()


def _sent(client: TestClient, desk: Desk, name: str, data: bytes) -> Any:
    query = {"desk": desk.key, "purpose": "restore", "name": name}
    return client.post("/page/photos", params=query, content=data)


@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        ("jpeg", "uint8"),
        ("png", "uint16"),
        ("tiff", "uint16"),
        ("tiff", "float32"),
        ("webp", "uint8"),
        ("avif", "uint8"),
        ("heic", "uint8"),
    ],
)
def test_any_photo_gets_a_preview_and_comes_back_in_its_own_kind(
    desks: Desks, tmp_path: Path, kind: str, depth: str
) -> None:
    if kind == "heic":
        pytest.importorskip("pillow_heif", reason="needs the extra heic")
    client, desk = _client(desks), desks.of("tab")
    key = _sent(client, desk, f"in.{kind}", _file(kind, depth, tmp_path)).json()["key"]
    shown = PIL.Image.open(io.BytesIO(client.get(f"/page/seen/{key}/before").content))
    assert (shown.format, shown.size, shown.mode) == ("JPEG", (61, 45), "RGB")
    held = desk.photos[key]
    held.finish(desks.engine.submit(held.source, Options()).wait(30), Options())
    assert client.get(f"/page/seen/{key}/after").status_code == 200
    assert client.post(f"/page/files/{key}?strength=0.5").status_code == 204
    got = client.get(f"/page/files/{key}?strength=0.5")
    suffix = format_named(kind).suffixes[0]
    assert f"in.restored{suffix}" in got.headers["content-disposition"]
    (tmp_path / f"out{suffix}").write_bytes(got.content)
    taken = read_image(tmp_path / f"out{suffix}")
    assert taken.format is format_named(kind)
    assert taken.pixels.dtype == depth


def test_a_turned_photo_is_shown_upright_and_its_metadata_goes_home(
    desks: Desks,
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    buffer = io.BytesIO()
    pixels = np.zeros((30, 50, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", exif=exif)
    client, desk = _client(desks), desks.of("tab")
    key = _sent(client, desk, "turned.jpg", buffer.getvalue()).json()["key"]
    held = desk.photos[key]
    assert held.size == (30, 50)
    with PIL.Image.open(held.preview("before")) as shown:
        assert shown.size == (30, 50)
    held.finish(desks.engine.submit(held.source, Options()).wait(30), Options())
    taken = PIL.Image.open(io.BytesIO(client.get(f"/page/files/{key}").content))
    assert (taken.size, taken.getexif()[0x0112], taken.getexif()[0x010F]) == ((50, 30), 6, "Maker")


def test_what_is_no_photo_leaves_nothing_behind(desks: Desks) -> None:
    client, desk = _client(desks), desks.of("tab")
    for name, data in (("a.png", b"text"), ("b.png", photo()[:900]), ("c.png", b"")):
        answer = _sent(client, desk, name, data)
        assert answer.status_code in (415, 422)
        message = answer.json()["error"]
        assert name[0] in message
        assert str(desks.engine.folder) not in message
    assert desk.photos == {}
    assert uploads(desks.engine) == []


def test_an_upload_that_lies_about_its_size_is_stopped(tiny_weights: Path, tmp_path: Path) -> None:
    with _running(tiny_weights, tmp_path, max_bytes=1000) as desks:
        answer = _sent(_client(desks), desks.of("tab"), "big.png", photo((200, 200)))
        assert answer.status_code == 413
        assert uploads(desks.engine) == []


def test_too_many_pixels_are_told_as_by_the_api(tiny_weights: Path, tmp_path: Path) -> None:
    with _running(tiny_weights, tmp_path, max_megapixels=0.01) as desks:
        answer = _sent(_client(desks), desks.of("tab"), "big.png", photo((200, 100)))
        assert answer.status_code == 413
        assert answer.json()["error"].startswith("big.png: 200×100")
        assert uploads(desks.engine) == []


def test_on_a_full_disk_no_photo_is_taken_in(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.serve.store._RESERVE", 2**62)
    monkeypatch.setattr(desks, "add", lambda *_, **__: pytest.fail("it was taken in"))
    answer = _sent(_client(desks), desks.of("tab"), "a.png", photo())
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert "disk is full" in answer.json()["error"]


def test_a_disk_that_fills_while_a_photo_is_read_is_503(
    desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    answer = _sent(_client(desks), desks.of("tab"), "a.png", photo())
    assert answer.status_code == 503
    assert uploads(desks.engine) == []


def test_closing_a_tab_deletes_its_photos_and_only_its(desks: Desks) -> None:
    for session in ("one", "two"):
        desks.add(desks.of(session), f"{session}.png", io.BytesIO(photo()))
        desks.set_clean(desks.of(session), "clean.png", io.BytesIO(photo()))
    assert len(uploads(desks.engine)) == 4
    desks.close("one")
    assert len(uploads(desks.engine)) == 2
    assert [p.name for p in desks.of("two").photos.values()] == ["two.png"]
    assert desks.of("one").photos == {}


def test_removing_a_photo_stops_the_work_on_it(desks: Desks) -> None:
    desk = desks.of("tab")
    held = desks.add(desk, "a.png", io.BytesIO(photo()))
    with busy(desks.engine):
        held.job = desks.engine.submit(held.source, Options())
        desks.remove(desk, held.key)
        assert held.job.state == "cancelled"
    assert uploads(desks.engine) == []


def test_a_photo_restored_again_keeps_one_result(desks: Desks) -> None:
    held = desks.add(desks.of("tab"), "a.png", io.BytesIO(photo()))
    for _ in range(2):
        held.finish(desks.engine.submit(held.source, Options()).wait(30), Options())
    assert len([*held.source.parent.glob("*.change")]) == 1
    assert len([*held.source.parent.glob("*.npy")]) == 1


def test_keys_of_other_tabs_cannot_be_found_by_name(desks: Desks) -> None:
    desk = desks.of("one")
    desks.add(desk, "a.png", io.BytesIO(photo()))
    client = _client(desks)
    for path in ("a.png", "one", "..", desk.key):
        assert client.get(f"/page/files/{path}").status_code == 404
    assert client.get("/page/zip/one").status_code == 404


def test_a_desk_has_an_end(desks: Desks) -> None:
    desk = desks.of("tab")
    first = desks.add(desk, "a.png", io.BytesIO(photo((8, 8))))
    desk.photos |= {str(i): first for i in range(MOST_PHOTOS)}
    with pytest.raises(UnveilError, match="unveil restore FOLDER"):
        desks.add(desk, "b.png", io.BytesIO(photo((8, 8))))


def test_a_zip_holds_each_result_under_a_name_of_its_own(desks: Desks) -> None:
    client, desk = _client(desks), desks.of("tab")
    assert client.post(f"/page/zip/{desk.key}").status_code == 409
    for seed, name in enumerate(("a.png", "a.png", "A.png")):
        held = desks.add(desk, name, io.BytesIO(photo(seed=seed)))
        held.finish(desks.engine.submit(held.source, Options()).wait(30), Options())
    got = client.get(f"/page/zip/{desk.key}")
    with zipfile.ZipFile(io.BytesIO(got.content)) as archive:
        names = archive.namelist()
        assert names == ["a.restored.png", "a.restored (2).png", "A.restored (3).png"]
        assert len({archive.read(name) for name in names}) == 3


@pytest.mark.parametrize("strengths", [(1.0, 1.0), (1.0, 0.5)])
def test_two_who_take_everything_at_once_both_get_it(
    desks: Desks, monkeypatch: pytest.MonkeyPatch, strengths: tuple[float, float]
) -> None:
    desk, both = desks.of("tab"), Barrier(2)
    held = desks.add(desk, "a.png", io.BytesIO(photo()))
    held.finish(desks.engine.submit(held.source, Options()).wait(30), Options())
    prepared = routes._prepared

    def together(photo: Photo, strength: float) -> Path:
        written = prepared(photo, strength)
        both.wait(20)
        return written

    monkeypatch.setattr(routes, "_prepared", together)
    asked = [f"/page/zip/{desk.key}?strength={strength}" for strength in strengths]
    clients = [_client(desks) for _ in asked]  # routes cannot be built in two threads at once
    with ThreadPoolExecutor(2) as askers:
        answers = [*askers.map(lambda client, address: client.get(address), clients, asked)]
    for answer in answers:
        assert answer.status_code == 200
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["a.restored.png"]
    assert [*held.source.parent.glob("*.part")] == []


def test_large_clean_photos_are_reduced_for_the_degrade_tab(desks: Desks) -> None:
    held = desks.set_clean(desks.of("tab"), "big.png", io.BytesIO(photo((2000, 1500))))
    assert held.size == (1000, 750)
    small = desks.set_clean(desks.of("tab"), "small.png", io.BytesIO(photo((90, 70))))
    assert small.size == (90, 70)
    assert len(uploads(desks.engine)) == 1


@pytest.mark.parametrize("sample", [*SAMPLES, *CLEAN], ids=lambda sample: sample.key)
def test_every_sample_is_a_photo_with_a_small_picture(desks: Desks, sample: Any) -> None:
    with sample.open() as stream:
        assert desks.add(desks.of("tab"), sample.name, stream).size[0] > 400
    small = PIL.Image.open(io.BytesIO(sample.thumbnail()))
    assert 100 <= small.width <= 320


def test_only_samples_that_a_model_can_restore_are_offered() -> None:
    assert {s.task for s in offered(("auto", "denoise"))} == {"denoise"}
    assert len(offered(("auto", "denoise", "derain", "dehaze"))) == len(SAMPLES)
