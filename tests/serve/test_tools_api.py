"""Samples, degradations and scores: the same as the command line's and the library's."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.serve.conftest import Served, photo, until, uploads

from unveil.degradations import parse
from unveil.imaging import save_png
from unveil.metrics import psnr, ssim


def _pixels(content: bytes) -> Any:
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


def test_a_degradation_is_that_of_the_library(served: Served) -> None:
    description = "haze:beta=1+noise:sigma_255=30"
    data = {"degradation": description, "seed": "5"}
    # Finished jobs of earlier tests are kept for a while.
    earlier = set(uploads(served.engine))
    answer = served.client.post("/v1/degrade", files={"image": photo()}, data=data)
    clean = (_pixels(photo()) / np.float32(255)).astype(np.float32)
    expected = parse(description)(clean, np.random.default_rng(5))
    np.testing.assert_array_equal(
        _pixels(answer.content), np.rint(expected.clip(0, 1) * 255).astype(np.uint8)
    )
    until(lambda: set(uploads(served.engine)) <= earlier)


def test_a_large_picture_is_reduced_by_means(served: Served) -> None:
    image = photo((80, 60))
    data = {"max_megapixels": "0.0012"}
    answer = served.client.post("/v1/degrade", files={"image": image}, data=data)
    expected = _pixels(image).reshape(30, 2, 40, 2, 3).mean((1, 3))
    assert np.abs(_pixels(answer.content) - expected).max() <= 0.5
    data = {"max_megapixels": "5e-324"}
    answer = served.client.post("/v1/degrade", files={"image": image}, data=data)
    assert _pixels(answer.content).shape == (1, 1, 3)


@pytest.mark.parametrize("description", ["nonsense", "noise:sigma_255=-1", "noise:sigma=x"])
def test_a_degradation_that_is_none_is_named(served: Served, description: str) -> None:
    data = {"degradation": description}
    answer = served.client.post("/v1/degrade", files={"image": photo()}, data=data)
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]


def test_a_picture_of_16_bits_is_taken_at_8(served: Served, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (12, 16, 3), dtype=np.uint16)
    save_png(tmp_path / "deep.png", deep)
    files = {"image": (tmp_path / "deep.png").read_bytes()}
    made = served.client.post("/v1/degrade", files=files)
    assert np.array_equal(_pixels(made.content), np.rint(deep / 257))


def test_scores_are_those_of_the_metrics(served: Served) -> None:
    one, other = photo(seed=1), photo(seed=2)
    answer = served.client.post("/v1/score", files={"image": one, "reference": other}).json()
    assert answer["psnr"] == pytest.approx(psnr(_pixels(one), _pixels(other), data_range=255))
    assert answer["ssim"] == pytest.approx(ssim(_pixels(one), _pixels(other), data_range=255))
    same = served.client.post("/v1/score", files={"image": one, "reference": one}).json()
    assert same == {"psnr": None, "ssim": 1.0}
    odd = served.client.post("/v1/score", files={"image": one, "reference": photo((9, 9))})
    assert odd.status_code == 422
    assert "80×60" in odd.json()["error"]


def test_every_sample_is_shown_and_sent(served: Served) -> None:
    """No small picture is black: what is dark in one of them is no more than its shadows."""
    found = served.client.get("/v1/samples").json()
    assert {s["id"] for s in found} >= {"noisy-cat", "cat", "portrait", "coffee", "rocket"}
    for sample in found:
        small = _pixels(served.client.get(f"/v1/samples/{sample['id']}/thumbnail").content)
        assert small.mean() > 30, sample["id"]
        assert small.std() > 10, sample["id"]
        whole = PIL.Image.open(io.BytesIO(served.client.get(f"/v1/samples/{sample['id']}").content))
        assert min(whole.size) > small.shape[0]
    assert served.client.get("/v1/samples/unknown").status_code == 404
