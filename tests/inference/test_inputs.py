"""Batches, lists, integer tensors, strengths and threads per call; floats of another range."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from tests.inference.conftest import Darker, Identity

import unveil
from unveil.errors import InputError
from unveil.inference.value_range import require_unit_range

_DARKER = unveil.Restorer(Darker())


def _photo(shape: tuple[int, ...], dtype: str = "uint8") -> Any:
    top = 255 if dtype == "uint8" else 65535 if dtype == "uint16" else 1
    values = np.random.default_rng(0).uniform(0.3 * top, 0.9 * top, shape)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_batch_of_arrays_is_each_of_them(dtype: str) -> None:
    for channels in (1, 3, 4):
        batch = _photo((3, 9, 7, channels), dtype)
        out = _DARKER(batch)
        assert (out.shape, out.dtype) == (batch.shape, batch.dtype)
        np.testing.assert_array_equal(out, np.stack([_DARKER(image) for image in batch]))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tensors_of_integers_keep_their_type(dtype: str) -> None:
    pixels = _photo((2, 3, 9, 7), dtype)
    for given in (torch.from_numpy(pixels), torch.from_numpy(pixels)[0]):
        out = _DARKER(given)
        assert (out.shape, out.dtype) == (given.shape, given.dtype)
        top = 255 if dtype == "uint8" else 65535
        expected = np.rint(given.numpy().astype(float) - 0.1 * top)
        np.testing.assert_allclose(out.numpy(), expected, atol=1)
        assert unveil.restore(given, Identity()).equal(given)


def test_a_list_gives_a_list_in_order(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        PIL.Image.fromarray(_photo((9, 7, 3))).save(tmp_path / name)
    given = [_photo((9, 7, 3)), torch.rand(3, 8, 8), tmp_path / "a.png", str(tmp_path / "b.png")]
    shares: list[float] = []
    out = _DARKER(given, progress=shares.append)
    assert [type(one) for one in out] == [type(one) for one in given]
    np.testing.assert_array_equal(out[0], _DARKER(given[0]))
    assert out[2].name == "a.restored.png"
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert _DARKER([]) == []
    assert isinstance(_DARKER((given[0],)), list)


def test_a_strength_per_call_leaves_the_restorer_as_it_was() -> None:
    image = _photo((9, 7, 3), "float32")
    half = unveil.Restorer(Darker(), strength=0.5)
    np.testing.assert_allclose(half(image, strength=1.0), _DARKER(image), atol=1e-6)
    np.testing.assert_array_equal(half(image, strength=0.0), image)
    np.testing.assert_allclose(half(image), _DARKER(image, strength=0.5), atol=1e-6)
    apart = unveil.Restorer(Darker(), strength=0.5, strength_luma=0.0)
    np.testing.assert_array_equal(half(image, strength_luma=0.0), apart(image))
    for wrong in ({"strength": 2}, {"strength_luma": float("nan")}, {"strength_chroma": "a"}):
        with pytest.raises(InputError, match="is 0 to 1"):
            half(image, **wrong)


def test_threads_are_set_for_the_call_alone() -> None:
    seen = []

    class Watching(Identity):
        def forward(self, x: torch.Tensor, context: Any = None) -> torch.Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(x, context)

    before = torch.get_num_threads()
    other = before + 1
    unveil.Restorer(Watching(), threads=other)(_photo((9, 7, 3)))
    assert set(seen) == {other}
    assert torch.get_num_threads() == before
    for wrong in (0, -1, 10**12, 1.5, True, "2"):
        with pytest.raises(InputError, match="threads is"):
            unveil.Restorer(Identity(), threads=wrong)  # type: ignore[arg-type]


def _waves(low: float, high: float, channels: int = 3) -> Any:
    y, x = np.mgrid[:64, :64] / 9.0
    wave = (np.sin(x) * np.cos(y) + 1) / 2
    return np.repeat((low + (high - low) * wave)[..., None], channels, 2).astype(np.float32)


@pytest.mark.parametrize(
    "image", [_waves(-1, 1), _waves(-1, 1, 1), _waves(-0.6, 0.9), _waves(0, 1) * 2 - 1]
)
def test_floats_from_minus_one_are_refused(image: Any) -> None:
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for given in (image, image[None], tensor, tensor[None].double(), [image]):
        with pytest.raises(InputError, match=r"runs from -1 to 1.*take \(x \+ 1\) / 2"):
            _DARKER(given)


def test_noise_gamut_and_damage_are_not_taken_for_it() -> None:
    rng = np.random.default_rng(0)
    require_unit_range(rng.normal(0, 50 / 255, (64, 64, 3)), "black with noise")
    require_unit_range(np.broadcast_to([-0.59, 1.13, -0.10], (64, 64, 3)), "a vivid green")
    require_unit_range(rng.normal(0.5, 2, (64, 64, 3)), "no picture at all")
    speck = _waves(0, 1)
    speck[5, 5], speck[9, 9], speck[20] = -1, np.nan, -np.inf
    require_unit_range(speck, "dead pixels")
    require_unit_range(np.full((7, 7, 3), -0.5), "too small to say")
