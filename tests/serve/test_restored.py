"""Results blend at any strength, without the network, to what the restorer makes of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.serve.conftest import WAIT_S, photo

from unveil.errors import ImageFileError, InputError, OutputError
from unveil.imaging import Image, read_image, write_image
from unveil.imaging.formats import format_named
from unveil.imaging.image import Metadata
from unveil.inference import Restorer
from unveil.inference.options import RestoreOptions as Options
from unveil.inference.strength import Strength
from unveil.serve.engine import Engine
from unveil.serve.settings import Settings


@pytest.fixture(scope="module")
def engine(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = Settings(models=(tiny_weights,), threads=1)
    made = Engine(settings, folder=tmp_path_factory.mktemp("engine"))
    yield made
    made.stop(1)


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("strength", [0.0, 0.37, 1.0])
def test_each_strength_is_the_restorers_own(
    engine: Engine, tiny_weights: Path, tmp_path: Path, depth: str, strength: float
) -> None:
    rng = np.random.default_rng(0)
    top = 1.0 if depth == "float32" else np.iinfo(depth).max
    pixels = (rng.random((65, 90, 3)) * top).astype(depth)
    source = tmp_path / "a.tif"
    write_image(source, Image(pixels, format=format_named("tiff")))
    restored = engine.submit(
        engine.store.receive("a.tif", source.read_bytes()), Options()
    ).future.result(WAIT_S)
    expected = Restorer(tiny_weights, strength=strength).restore_image(read_image(source)).pixels
    target = restored.write(tmp_path / "b.tif", strength=Strength(strength, strength))
    np.testing.assert_array_equal(read_image(target).pixels, expected)
    if strength == 0:
        np.testing.assert_array_equal(expected, pixels)


def test_blending_does_not_run_the_network(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored = engine.submit(engine.store.receive("a.png", photo()), Options()).future.result(
        WAIT_S
    )
    monkeypatch.setattr("unveil.inference.network_pass.NetworkPass.residual", None)
    assert restored.write(tmp_path / "a.png", strength=Strength(0.5, 0.5)).exists()


def test_gray_is_previewed_in_three_channels_and_written_in_one(
    engine: Engine, tmp_path: Path
) -> None:
    source = tmp_path / "a.png"
    write_image(source, Image(np.full((9, 8, 1), 77, np.uint8), np.full((9, 8), 5, np.uint8)))
    restored = engine.submit(
        engine.store.receive("a.png", source.read_bytes()), Options()
    ).future.result(WAIT_S)
    assert restored.size == (8, 9)
    shown = PIL.Image.open(engine.preview(restored.source))
    assert (shown.mode, shown.size, shown.getpixel((3, 3))) == ("RGB", (8, 9), (77, 77, 77))
    written = read_image(restored.write(tmp_path / "b.png"))
    assert written.pixels.shape == (9, 8, 1)
    assert written.alpha is not None
    assert (written.alpha == 5).all()


def test_turned_photos_are_previewed_upright(engine: Engine, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    source = tmp_path / "a.jpg"
    image = Image(pixels, format=format_named("jpeg"), metadata=Metadata(orientation=6))
    write_image(source, image)
    restored = engine.submit(
        engine.store.receive("a.jpg", source.read_bytes()), Options()
    ).future.result(WAIT_S)
    for file in (engine.preview(restored.source), restored.preview()):
        shown = read_image(file)
        assert shown.metadata.orientation == 1
        assert shown.pixels.shape == read_image(source).pixels.shape == (40, 30, 3)


def test_a_result_goes_into_a_folder_under_the_commands_name(
    engine: Engine, tmp_path: Path
) -> None:
    restored = engine.submit(engine.store.receive("a.b.png", photo()), Options()).future.result(
        WAIT_S
    )
    assert restored.write(tmp_path).name == "a.b.restored.png"
    assert restored.write(tmp_path, format="jpg", quality=50).name == "a.b.restored.jpg"
    assert restored.write(tmp_path / "x.png", format="webp").name == "x.webp"


def test_what_cannot_be_written_is_said(engine: Engine, tmp_path: Path) -> None:
    restored = engine.submit(engine.store.receive("a.png", photo()), Options()).future.result(
        WAIT_S
    )
    with pytest.raises(InputError, match="quality"):
        restored.write(tmp_path, format="jpeg", quality=101)
    with pytest.raises(ImageFileError, match="format"):
        restored.write(tmp_path, format="gif")


def test_a_result_that_is_no_longer_kept_says_so(engine: Engine, tmp_path: Path) -> None:
    restored = engine.submit(engine.store.receive("a.png", photo()), Options()).future.result(
        WAIT_S
    )
    engine.store.discard(restored.source)
    for use in (
        restored.preview,
        lambda: engine.preview(restored.source),
        lambda: restored.write(tmp_path),
    ):
        with pytest.raises(OutputError, match="no longer kept"):
            use()


def test_a_mask_keeps_parts_as_they_were(engine: Engine, tmp_path: Path) -> None:
    """Of any size: a mask of 2 by 1 pixels over 80 by 60."""
    source = engine.store.receive("a.png", photo())
    restored = engine.submit(source, Options()).future.result(WAIT_S)
    before, whole = read_image(source).pixels, read_image(restored.write(tmp_path)).pixels
    mask = np.array([[0, 255]], np.uint8)
    kept = read_image(restored.write(tmp_path / "kept.png", mask=mask)).pixels
    np.testing.assert_array_equal(kept[:, :20], before[:, :20])
    np.testing.assert_array_equal(kept[:, -20:], whole[:, -20:])
    change = np.load(restored.changes[0])
    shares = np.clip((np.arange(80) + 0.5) / 40 - 0.5, 0, 1)[None, :, None]
    blended = np.rint(before + change * shares * 255).clip(0, 255)
    assert np.abs(kept - blended).max() <= 1
    assert not np.array_equal(before, whole)


def test_luminance_and_colour_are_blended_as_by_the_restorer(
    engine: Engine, tiny_weights: Path, tmp_path: Path
) -> None:
    source = engine.store.receive("a.png", photo())
    restored = engine.submit(source, Options()).future.result(WAIT_S)
    target = restored.write(tmp_path / "b.png", strength=Strength(0.9, 0.2))
    restorer = Restorer(tiny_weights, strength_luma=0.9, strength_chroma=0.2)
    expected = restorer.restore_image(read_image(source)).pixels
    np.testing.assert_array_equal(read_image(target).pixels, expected)


def test_pages_and_hidden_colours_are_as_by_the_restorer(
    engine: Engine, tiny_weights: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    floats = rng.random((40, 50, 3), dtype=np.float32)
    pages = (Image(rng.random((30, 64, 3), dtype=np.float32), bits=32),)
    alpha = np.where(np.arange(50) < 25, 255, 0)[None].repeat(40, 0).astype(np.uint8)
    colours = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for name, image in (
        ("pages.tif", Image(floats, format=format_named("tiff"), bits=32, pages=pages)),
        ("hidden.png", Image(colours, alpha)),
    ):
        source, expected = tmp_path / name, tmp_path / f"expected-{name}"
        write_image(source, image)
        Restorer(tiny_weights, strength=0.7).restore_file(source, expected)
        held = engine.store.receive(name, source.read_bytes())
        restored = engine.submit(held, Options()).future.result(WAIT_S)
        made = restored.write(tmp_path / f"made-{name}", strength=Strength(0.7, 0.7))
        assert made.read_bytes() == expected.read_bytes()
        with PIL.Image.open(restored.preview()) as shown:
            assert shown.size == (50, 40)
