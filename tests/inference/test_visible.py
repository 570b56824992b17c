"""What cannot be seen decides nothing; what is gray stays gray."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from tests.inference.conftest import Blur, Darker, Identity, MinusMean
from torch import Tensor, nn

from unveil.imaging import Image, read_image, write_image
from unveil.inference.restorer import Restorer
from unveil.inference.visible import visible_part


def _disc(height: int = 60, width: int = 80) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.where((y - 30) ** 2 + (x - 40) ** 2 < 20**2, 200, 0).astype(np.uint8)


def _pictures() -> list[np.ndarray]:
    """Return RGBA pictures that look the same: they differ where alpha is 0."""
    rng = np.random.default_rng(0)
    alpha = _disc()
    colours = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    hidden = [0 * colours, np.full_like(colours, 255), rng.integers(0, 256, colours.shape)]
    return [
        np.dstack([np.where(alpha[..., None] > 0, colours, other), alpha]).astype(np.uint8)
        for other in hidden
    ]


@pytest.mark.parametrize("network", [Blur, MinusMean])
@pytest.mark.parametrize("tile", ["auto", 64])
def test_hidden_colours_do_not_matter_and_stay(network: type[nn.Module], tile: object) -> None:
    restorer = Restorer(network(), tile=tile)
    pictures = _pictures()
    results = [restorer(picture) for picture in pictures]
    seen = pictures[0][..., 3] > 0
    for picture, result in zip(pictures, results, strict=True):
        np.testing.assert_array_equal(result[seen], results[0][seen])
        np.testing.assert_array_equal(result[~seen], picture[~seen])
        np.testing.assert_array_equal(result[..., 3], picture[..., 3])


def test_hidden_colours_do_not_matter_in_files_and_pillow_images(tmp_path: Path) -> None:
    restorer = Restorer(Blur())
    pictures = _pictures()
    wanted = restorer(pictures[0])
    seen = wanted[..., 3] > 0
    for number, picture in enumerate(pictures):
        made = restorer(PIL.Image.fromarray(picture))
        np.testing.assert_array_equal(np.asarray(made)[seen], wanted[seen])
        PIL.Image.fromarray(picture).save(tmp_path / f"{number}.png")
        file = restorer(tmp_path / f"{number}.png")
        again = np.dstack([read_image(file).pixels, read_image(file).alpha])
        np.testing.assert_array_equal(again[seen], wanted[seen])
        np.testing.assert_array_equal(again[~seen], picture[~seen])


def test_a_picture_that_cannot_be_seen_comes_back() -> None:
    picture = np.zeros((9, 8, 4), np.uint8)
    picture[..., :3] = 77
    np.testing.assert_array_equal(Restorer(Darker())(picture), picture)


def test_the_rim_is_not_mixed_with_what_is_hidden() -> None:
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[10:30, 10:30] = 180
    result = Restorer(Blur())(picture)
    np.testing.assert_array_equal(result[10:30, 10:30], 180)


def test_hidden_pixels_are_filled_from_their_row_or_the_nearest() -> None:
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5, 1)
    alpha = np.array([[0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]])
    part = visible_part(pixels, alpha.astype(np.uint8))
    assert part is not None
    assert part.pixels[..., 0].tolist() == [
        [2, 1, 2, 1, 2], [2, 1, 2, 1, 2], [15, 15, 15, 19, 19], [15, 15, 15, 19, 19]
    ]  # fmt: skip
    assert visible_part(pixels, np.ones((4, 5), np.uint8)) is None


class Tinted(Identity):
    """Changes each channel by another amount."""

    def forward(self, x: Tensor, context: object = None) -> Tensor:  # noqa: ARG002
        return x + torch.tensor([0.05, -0.02, 0.09]).view(1, 3, 1, 1)


def _array(pixels: np.ndarray, restorer: Restorer, _: Path) -> np.ndarray:
    return restorer(pixels)


def _with_alpha(pixels: np.ndarray, restorer: Restorer, _: Path) -> np.ndarray:
    alpha = np.full(pixels.shape[:2], 9, pixels.dtype)
    return restorer(np.dstack([pixels, alpha]))[..., :3]


def _tensor(pixels: np.ndarray, restorer: Restorer, _: Path) -> np.ndarray:
    scaled = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return restorer(scaled)[0].permute(1, 2, 0).numpy()


def _pillow(pixels: np.ndarray, restorer: Restorer, _: Path) -> np.ndarray:
    return np.asarray(restorer(PIL.Image.fromarray(pixels)))


def _png(pixels: np.ndarray, restorer: Restorer, folder: Path) -> np.ndarray:
    write_image(folder / "a.png", Image(pixels))
    return read_image(restorer(folder / "a.png")).pixels


def _jpeg(pixels: np.ndarray, restorer: Restorer, folder: Path) -> np.ndarray:
    write_image(folder / "a.jpg", Image(pixels))
    return read_image(restorer(folder / "a.jpg")).pixels


@pytest.mark.parametrize("way", [_array, _with_alpha, _tensor, _pillow, _png, _jpeg])
@pytest.mark.parametrize("ensemble", [False, True])
def test_equal_channels_stay_exactly_equal(
    way: Callable[..., np.ndarray], ensemble: bool, tmp_path: Path
) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (40, 50, 1), dtype=np.uint8)
    result = way(gray.repeat(3, axis=2), Restorer(Tinted(), ensemble=ensemble), tmp_path)
    assert result.shape == (40, 50, 3)
    np.testing.assert_array_equal(result[..., 0], result[..., 1])
    np.testing.assert_array_equal(result[..., 0], result[..., 2])
    assert not np.array_equal(result[..., :1], gray)


def test_gray_is_restored_alike_with_one_channel_and_with_three() -> None:
    gray = np.random.default_rng(0).integers(0, 65536, (30, 40), dtype=np.uint16)
    restorer = Restorer(Tinted())
    three = restorer(gray[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(three[..., 1], restorer(gray))
    with_nan = gray.astype(np.float32)[..., None].repeat(3, axis=2) / 65535
    with_nan[3, 4] = np.nan
    result = restorer(with_nan)
    np.testing.assert_array_equal(result[..., 0], result[..., 2])


def test_a_colour_picture_is_not_taken_for_gray() -> None:
    pixels = np.full((300, 5, 3), 90, np.uint8)
    pixels[299, 4, 2] = 91
    result = Restorer(Tinted())(pixels)
    assert result[0, 0].tolist() == [90 + 13, 90 - 5, 90 + 23]
