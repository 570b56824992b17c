"""The same kind comes back: path, PIL image, array, tensor."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.inference.conftest import Darker, Identity

import unveil
from unveil.errors import ImageFileError, InputError, OutputError
from unveil.imaging import read_image

_DARKER = unveil.Restorer(Darker())


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 9, 7), (2, 3, 9, 7), (1, 3, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (3 * torch.rand(shape) - 1).to(dtype)
    out = _DARKER(x)
    assert (out.shape, out.dtype) == (x.shape, dtype)
    atol = 1e-6 if dtype in (torch.float32, torch.float64) else 2e-2
    torch.testing.assert_close(out, (x.double() - 0.1).to(dtype), atol=atol, rtol=0)
    assert unveil.restore(x, Identity()).equal(x)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 2), (9, 7, 3), (9, 7, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_arrays(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.random(shape) * (1 if dtype.startswith("f") else 200)).astype(dtype)
    given = x.copy()
    out = _DARKER(x)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(x, given)
    np.testing.assert_array_equal(unveil.Restorer(Identity())(x), x)
    if len(shape) == 3 and shape[2] in (2, 4):
        np.testing.assert_array_equal(out[..., -1], x[..., -1])
        assert (out[..., 0] != x[..., 0]).any()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "F", "I;16"])
def test_pillow_images(mode: str) -> None:
    rng = np.random.default_rng(0)
    bands = {"LA": 2, "RGB": 3, "RGBA": 4}.get(mode)
    shape = (9, 7, bands) if bands else (9, 7)
    kinds = {"F": "float32", "I;16": "uint16"}
    array = 100 * rng.random(shape) + 60
    array = (array / 255 if mode == "F" else array).astype(kinds.get(mode, "uint8"))
    picture = PIL.Image.fromarray(array)
    picture.info["icc_profile"] = b"profile"
    same = unveil.Restorer(Identity())(picture)
    assert (same.mode, same.size, same.info) == (mode, (7, 9), picture.info)
    np.testing.assert_array_equal(np.asarray(same), array)
    assert (np.asarray(_DARKER(picture)) != array).any()


def test_palettes_become_colours() -> None:
    rng = np.random.default_rng(0)
    picture = PIL.Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)).quantize(9)
    out = unveil.Restorer(Identity())(picture)
    assert out.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(out), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("kind", [str, Path])
def test_paths(kind: type, tmp_path: Path) -> None:
    array = np.full((9, 7, 3), 100, np.uint8)
    PIL.Image.fromarray(array).save(tmp_path / "a.b.png")
    out = _DARKER(kind(tmp_path / "a.b.png"))
    assert isinstance(out, kind)
    assert Path(out).name == "a.b.restored.png"
    assert np.abs(read_image(out).pixels.astype(int) - (100 - 25.5)).max() <= 1
    with pytest.raises(OutputError, match="exists"):
        _DARKER(kind(tmp_path / "a.b.png"))


def test_alpha_is_kept_and_not_restored(tmp_path: Path) -> None:
    array = np.full((9, 7, 4), 100, np.uint8)
    PIL.Image.fromarray(array).save(tmp_path / "a.png")
    out = np.asarray(PIL.Image.open(_DARKER(tmp_path / "a.png")))
    assert (out[..., 3] == 100).all()
    assert (out[..., :3] < 80).all()


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((2, 3, 4, 5), np.uint8),
        np.zeros((4, 5, 7), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 5), np.int64),
        np.zeros((4, 5), bool),
        torch.zeros(4, 5),
        torch.zeros(3, 4, 5, dtype=torch.uint8),
        torch.zeros(2, 4, 5),
        np.full((4, 5, 3), 200.0),
        torch.full((3, 4, 5), 200.0),
        PIL.Image.new("CMYK", (4, 5)),
        [[1, 2], [3, 4]],
        None,
    ],
)
def test_other_things_are_refused_in_one_line(given: object) -> None:
    with pytest.raises(InputError) as caught:
        _DARKER(given)
    assert "expected" in str(caught.value) or "convert" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, "strength is 0 to 1"),
        ({"task": "sharpen"}, "no task 'sharpen'; there are auto, denoise"),
        ({"strength": "a"}, "strength is 0 to 1"),
        ({"tile": 10}, "tile of 10 pixels is too small"),
        ({"tile": "x"}, "tile is 'x'"),
        ({"device": "abacus"}, "device 'abacus': expected auto, cpu, cuda"),
        ({"model": "mtair_smal"}, "no model 'mtair_smal'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        unveil.Restorer(**{"model": Identity(), **options})


def test_a_file_that_lies_about_its_format_is_refused(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (4, 5)).save(tmp_path / "a.jpg", "PNG")
    with pytest.raises(ImageFileError, match="holds png"):
        _DARKER(tmp_path / "a.jpg")


def test_strength_zero_changes_nothing() -> None:
    x = torch.rand(3, 9, 9)
    assert unveil.restore(x, Darker(), strength=0.0).equal(x)
