"""Jobs of many files: progress as events, results for a while, cancelled and removed at will."""

import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from tests.serve.conftest import Serve, Served, busy, photo, until, uploads

from unveil.imaging import read_image
from unveil.inference import Restorer


def _job(client: httpx.Client, *names: str, content: bytes | None = None, **fields: Any) -> Any:
    files = [("image", (name, content or photo(seed=i))) for i, name in enumerate(names)]
    answer = client.post("/v1/jobs", files=files, data=fields)
    assert answer.status_code == 201, answer.text
    return answer.json()


def _events(client: httpx.Client, job: str) -> Iterator[tuple[str, Any]]:
    with client.stream("GET", f"/v1/jobs/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                yield kind, json.loads(line[6:])


def _finished(client: httpx.Client, job: str) -> Any:
    return [*_events(client, job)][-1][1]


def test_many_files_are_restored_one_after_the_other_and_told(
    served: Served, tiny_weights: Path, tmp_path: Path
) -> None:
    made = _job(served.client, "a.png", "b.PNG", "c.png", task="denoise")
    events = [*_events(served.client, made["id"])]
    assert events[0][0] == "job"
    assert events[-1][0] == "end"
    final = events[-1][1]
    assert final["state"] == "done"
    assert [image["name"] for image in final["images"]] == ["a.png", "b.PNG", "c.png"]
    assert {(i["state"], i["share"], i["width"], i["height"]) for i in final["images"]} == {
        ("done", 1.0, 80, 60)
    }
    finished = [e["index"] for kind, e in events if kind == "image" and e["state"] == "done"]
    assert finished == [0, 1, 2]
    source = tmp_path / "b.png"
    source.write_bytes(photo(seed=1))
    expected = Restorer(tiny_weights, strength=0.5).restore_image(read_image(source)).pixels
    answer = served.client.get(f"/v1/jobs/{made['id']}/images/1/result?strength=0.5")
    assert "b.restored.PNG" in answer.headers["content-disposition"]
    source.write_bytes(answer.content)
    np.testing.assert_array_equal(read_image(source).pixels, expected)
    assert served.client.delete(f"/v1/jobs/{made['id']}").status_code == 204
    until(lambda: uploads(served.engine) == [])
    assert served.client.get(f"/v1/jobs/{made['id']}").status_code == 404


def test_a_bad_file_stops_no_other(served: Served) -> None:
    files = [("image", ("a.png", photo())), ("image", ("b.txt", b"hello")),
             ("image", ("c d.png", photo()[:-200]))]  # fmt: skip
    made = served.client.post("/v1/jobs", files=files).json()
    final = _finished(served.client, made["id"])
    assert [image["state"] for image in final["images"]] == ["done", "failed", "failed"]
    assert final["images"][1]["error"].startswith("b.txt: ")
    assert final["images"][2]["error"].startswith("c d.png: ")
    assert str(served.engine.store.folder) not in json.dumps(final)
    served.client.delete(f"/v1/jobs/{made['id']}")


def test_a_picture_is_shown_before_it_is_restored_and_run_again_with_other_options(
    served: Served,
) -> None:
    made = _job(served.client, "a.png", start="false")
    path = f"/v1/jobs/{made['id']}"
    assert made["state"] == "received"
    shown = PIL.Image.open(io.BytesIO(served.client.get(f"{path}/images/0/before").content))
    assert (shown.format, shown.size) == ("JPEG", (80, 60))
    assert served.client.get(f"{path}/images/0/after").status_code == 404
    assert served.client.get(f"{path}/images/0/result").status_code == 404
    for version in (1, 2):
        assert served.client.post(f"{path}/start", files={"tile": (None, "64")}).status_code == 200
        image = _finished(served.client, made["id"])["images"][0]
        assert (image["state"], image["version"], image["tiles"]) == ("done", version, 2)
    after = PIL.Image.open(io.BytesIO(served.client.get(f"{path}/images/0/after").content))
    assert after.size == (80, 60)
    assert after.tobytes() != shown.tobytes()
    served.client.delete(path)


def test_a_mask_keeps_parts_and_the_strengths_are_those_of_the_command(served: Served) -> None:
    made = _job(served.client, "a.png")
    _finished(served.client, made["id"])
    path = f"/v1/jobs/{made['id']}/images/0/result"
    mask = io.BytesIO()
    PIL.Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 2, 0)).save(mask, "PNG")
    answer = served.client.post(path, files={"mask": ("m.png", mask.getvalue())})
    kept = np.asarray(PIL.Image.open(io.BytesIO(answer.content)))
    before = np.asarray(PIL.Image.open(io.BytesIO(photo())))
    assert np.array_equal(kept[:, :20], before[:, :20])
    assert not np.array_equal(kept, before)
    gray = served.client.get(f"{path}?strength_chroma=0").content
    assert gray != served.client.get(path).content
    assert served.client.get(f"{path}?strength=0").headers["x-unveil-strength"] == "0"
    bad = served.client.post(path, files={"mask": ("m.png", b"no image")})
    assert bad.status_code == 415
    until(lambda: len(uploads(served.engine)) == 1)
    served.client.delete(f"/v1/jobs/{made['id']}")


def test_cancelling_keeps_the_pictures_and_stops_the_rest(served: Served) -> None:
    with busy(served.engine):
        made = _job(served.client, "a.png", "b.png")
        path = f"/v1/jobs/{made['id']}"
        until(lambda: served.engine.queue.waiting == 1)
        assert served.client.post(f"{path}/start", files={"tile": (None, "64")}).status_code == 422
        status = served.client.get(path).json()
        assert (status["state"], status["images"][0]["position"]) == ("running", 1)
        served.client.post(f"{path}/cancel")
        final = _finished(served.client, made["id"])
        assert [image["state"] for image in final["images"]] == ["cancelled"] * 2
    assert served.engine.queue.waiting == 0
    until(lambda: len(uploads(served.engine)) == 2)
    served.client.delete(path)


def test_a_job_waits_for_room_in_the_line(serve: Serve) -> None:
    served = serve(queue=1)
    with busy(served.engine):
        first = _job(served.client, "a.png")
        until(lambda: served.engine.queue.waiting == 1)
        second = _job(served.client, "b.png")
        assert served.client.get(f"/v1/jobs/{second['id']}").json()["state"] == "running"
    for made in (first, second):
        assert _finished(served.client, made["id"])["state"] == "done"


def test_results_go_some_time_after_their_last_use(serve: Serve) -> None:
    served = serve(keep_s=600)
    made = _job(served.client, "a.png")
    assert _finished(served.client, made["id"])["state"] == "done"
    (folder,) = uploads(served.engine)
    os.utime(folder, (0, 0))
    served.engine.store.sweep()
    assert uploads(served.engine) == []
    answer = served.client.get(f"/v1/jobs/{made['id']}/images/0/result")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("a.png: no longer kept here")


def test_events_end_when_the_server_stops(serve: Serve) -> None:
    served = serve()
    with busy(served.engine):
        made = _job(served.client, "a.png")
        events = _events(served.client, made["id"])
        assert next(events)[0] == "job"
        threading.Thread(target=served.engine.queue.stop, args=[0]).start()
        assert [*events][-1][0] == "end"


@pytest.mark.parametrize(
    ("path", "status"),
    [("unknown", 404), ("unknown/events", 404), ("unknown/images/0/seen", 404),
     ("unknown/images/-1/before", 422), ("unknown/images/x/after", 422)],
)  # fmt: skip
def test_what_is_unknown_is_one_line(served: Served, path: str, status: int) -> None:
    answer = served.client.get(f"/v1/jobs/{path}")
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_too_many_pictures_are_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.serve.jobs_api.MOST_IMAGES", 2)
    files = [("image", (f"{i}.png", photo((9, 9)))) for i in range(3)]
    answer = served.client.post("/v1/jobs", files=files)
    assert answer.status_code == 422
    assert "2 pictures, not 3" in answer.json()["error"]


def test_a_job_that_is_refused_leaves_no_file(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = set(uploads(served.engine))
    monkeypatch.setattr("unveil.serve.batches._MOST_BATCHES", 0)
    files = [("image", (f"{i}.png", photo((9, 9)))) for i in range(2)]
    answer = served.client.post("/v1/jobs", files=files)
    assert answer.status_code == 503
    assert "jobs are kept already" in answer.json()["error"]
    until(lambda: set(uploads(served.engine)) <= earlier)
