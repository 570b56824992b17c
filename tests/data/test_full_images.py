"""Whole photos are degraded the same way in any order of access."""

import numpy as np
import pytest
import torch

from unveil.data import FullImages, clean_source, paired_source
from unveil.errors import DataError, InputError
from unveil.imaging import save_png


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        save_png(tmp_path / f"{i}.png", rng.integers(0, 256, (50, 60 + i, 3), dtype=np.uint8))
    return tmp_path


def test_order_and_runs_do_not_matter(folder):
    source = clean_source(folder, "noise:sigma_255=5..25")
    forward = [FullImages(source, seed=4)[i]["degraded"] for i in range(3)]
    photos = FullImages(source, seed=4)
    backward = [photos[i]["degraded"] for i in (2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forward, backward, strict=True))
    assert not torch.equal(forward[0], FullImages(source, seed=5)[0]["degraded"])
    assert forward[2].shape == (3, 50, 62)


def test_deep_photos_keep_their_depth(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (8, 8, 3), dtype=np.uint16)
    save_png(tmp_path / "deep.png", deep)
    clean = FullImages(clean_source(tmp_path, "identity"))[0]["clean"]
    assert torch.equal(
        (clean * 65535).round().int(), torch.from_numpy(deep.astype(np.int32)).permute(2, 0, 1)
    )


def test_a_crop_is_the_middle_of_the_degraded_photo(folder):
    source = clean_source(folder, "blur:defocus,radius=3")
    whole, crop = FullImages(source)[1], FullImages(source, crop=20)[1]
    for side, error in (("clean", 0), ("degraded", 1e-4)):
        middle = whole[side][:, 15:35, 20:40]
        assert float((crop[side] - middle).abs().max()) <= error
    assert FullImages(source, crop=500)[1]["clean"].shape == whole["clean"].shape


def test_several_degradations_are_refused(folder):
    with pytest.raises(InputError, match="one by one"):
        FullImages(clean_source(folder, {"noise": 1, "identity": 1}))


def test_pairs_come_as_they_are_and_must_agree_in_size(tmp_path):
    for side, value in (("lq", 3), ("gt", 9)):
        (tmp_path / side).mkdir()
        save_png(tmp_path / side / "a.png", np.full((4, 5, 3), value, np.uint8))
    sample = FullImages(paired_source(tmp_path, task="derain"))[0]
    assert (sample["name"], sample["task"]) == ("lq/a.png", "derain")
    assert float(sample["degraded"].mean() * 255) == pytest.approx(3)
    save_png(tmp_path / "lq" / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="differ in size"):
        FullImages(paired_source(tmp_path))[0]
