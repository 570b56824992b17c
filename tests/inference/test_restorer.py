"""The same kind comes back: path, PIL image, array, tensor."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.inference.conftest import Darker, Identity

import unveil
from unveil.errors import ImageFileError, InputError, OutputError, UnveilError
from unveil.imaging import read_image
from unveil.models.registry import get_record

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
        torch.zeros(2, 4, 5),
        torch.zeros(3, 4, 5, dtype=torch.int64),
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
        ({"tile": 10}, "tile is 10; expected auto, off, or 64 to"),
        ({"tile": "x"}, "tile is 'x'"),
        ({"device": "abacus"}, "device 'abacus': expected auto, cpu, cuda"),
        ({"model": "mtair_smal"}, "no model 'mtair_smal'"),
        ({"model": ""}, "model is ''"),
        ({"model": torch.nn.ReLU}, "expected an id, a weights file, or a network"),
        ({"model": torch.nn.Conv2d(3, 3, 1).bfloat16()}, "bfloat16; call .float"),
        ({"max_megapixels": float("nan")}, "max_megapixels is nan"),
        ({"max_megapixels": "a"}, "max_megapixels is 'a'"),
        ({"ensemble": "no"}, "ensemble is 'no'"),
        ({"model": unveil.create_model("mtair_tiny"), "task": "derain"}, "id or its weights file"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UnveilError, match=message):
        unveil.Restorer(**{"model": Identity(), **options})


def test_numbers_of_numpy_are_numbers() -> None:
    unveil.Restorer(Identity(), strength=np.float32(0.5), tile=np.int64(64), ensemble=np.True_)


def test_a_file_that_lies_about_its_format_is_refused(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (4, 5)).save(tmp_path / "a.jpg", "PNG")
    with pytest.raises(ImageFileError, match="holds png"):
        _DARKER(tmp_path / "a.jpg")


def test_strength_zero_changes_nothing() -> None:
    x = torch.rand(3, 9, 9)
    assert unveil.restore(x, Darker(), strength=0.0).equal(x)


@pytest.mark.parametrize("dtype", [">f4", ">u2", "<f8"])
def test_bytes_may_come_in_any_order(dtype: str) -> None:
    x = (np.random.default_rng(0).random((9, 7, 3)) * (1 if "f" in dtype else 60_000)).astype(dtype)
    out = _DARKER(x)
    assert out.dtype == x.dtype
    native = x.astype(x.dtype.newbyteorder("="))
    np.testing.assert_array_equal(out.astype(native.dtype), _DARKER(native))


@pytest.mark.parametrize(("mode", "key"), [("RGB", (9, 9, 9)), ("L", 9)])
def test_a_colour_that_stands_for_transparency_becomes_alpha(
    mode: str, key: int | tuple[int, ...]
) -> None:
    picture = PIL.Image.new(mode, (6, 5), 200 if mode == "L" else (200, 200, 200))
    picture.putpixel((2, 3), key)
    picture.info["transparency"] = key
    out = _DARKER(picture)
    assert (out.mode, "transparency" in out.info) == (f"{mode}A", False)
    alpha = np.asarray(out)[..., -1]
    assert np.argwhere(alpha == 0).tolist() == [[3, 2]]


def test_a_network_in_training_goes_on_training() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    network[0].running_mean += 0.5
    x = torch.rand(1, 3, 9, 7)
    out = unveil.restore(x, network)
    assert network.training
    assert network[0].num_batches_tracked == 0
    torch.testing.assert_close(out, network.eval()(x))


class _Broken(Identity):
    def forward(self, x: torch.Tensor, context: object = None) -> torch.Tensor:  # noqa: ARG002
        return x * float("nan")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Broken(), "values that are no numbers"),
        (torch.nn.Conv2d(3, 3, 3), "one that keeps the size"),
    ],
)
def test_what_a_broken_network_makes_is_no_result(network: torch.nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unveil.restore(np.zeros((9, 7, 3), np.uint8), network)


def test_a_masked_array_is_refused() -> None:
    masked = np.ma.masked_array(np.zeros((4, 5)), mask=np.eye(4, 5))
    with pytest.raises(InputError, match="masked"):
        _DARKER(masked)


def test_a_file_has_the_quality_that_was_asked_for(tmp_path: Path) -> None:
    PIL.Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "a.png")
    restorer = unveil.Restorer(Identity())
    for quality in (30, 90):
        target = tmp_path / f"{quality}.jpg"
        restorer.restore_file(tmp_path / "a.png", target, quality=quality)
        followed = read_image(target).metadata.quality
        assert followed is not None
        assert followed[0] == quality


def test_a_file_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    restorer = unveil.Restorer(Identity(), max_megapixels=0.05)
    with pytest.raises(ImageFileError, match="megapixels"):
        restorer.restore_file(tmp_path / "a.png", tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
    PIL.Image.new("RGB", (200, 200)).save(tmp_path / "a.png")
    restorer.restore_file(tmp_path / "a.png", tmp_path / "b.png")


@pytest.mark.parametrize("model", ["mtair_small", "cu_mamba_small"])
def test_tiles_are_cut_as_the_models_record_says(model: str) -> None:
    record = get_record(model)
    tiling = unveil.Restorer(model, tile=128).engine.tiling
    assert (tiling.tile, tiling.overlap, tiling.window) == (128, record.overlap, record.window)
    tiling = unveil.Restorer(model).engine.tiling
    assert (tiling.tile, tiling.whole_megapixels) == (record.tile, record.whole_megapixels)
    assert tiling.overlap == record.overlap
