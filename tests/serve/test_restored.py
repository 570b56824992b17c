"""Results blend at any strength, without the network, to what the restorer makes of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serve.conftest import photo

from unveil.errors import ImageFileError, InputError, OutputError
from unveil.imaging import Image, read_image, write_image
from unveil.imaging.formats import BMP, format_named
from unveil.imaging.image import Metadata, converted
from unveil.inference import Restorer
from unveil.serve.engine import Engine, Options
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
    restored = engine.submit(engine.receive("a.tif", source.read_bytes()), Options()).wait(20)
    expected = Restorer(tiny_weights, strength=strength).restore_image(read_image(source)).pixels
    target = restored.write(tmp_path / "b.tif", strength=strength)
    np.testing.assert_array_equal(read_image(target).pixels, expected)
    np.testing.assert_array_equal(restored.before(), converted(pixels, BMP))
    np.testing.assert_array_equal(restored.after(strength), converted(expected, BMP))
    if strength == 0:
        np.testing.assert_array_equal(expected, pixels)


def test_blending_does_not_run_the_network(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored = engine.submit(engine.receive("a.png", photo()), Options()).wait(20)
    monkeypatch.setattr("unveil.inference.engine.Engine._run", None)
    assert restored.after(0.5).shape == (60, 80, 3)
    assert restored.write(tmp_path / "a.png", strength=0.5).exists()


def test_gray_is_previewed_in_three_channels_and_written_in_one(
    engine: Engine, tmp_path: Path
) -> None:
    source = tmp_path / "a.png"
    write_image(source, Image(np.full((9, 8, 1), 77, np.uint8), np.full((9, 8), 5, np.uint8)))
    restored = engine.submit(engine.receive("a.png", source.read_bytes()), Options()).wait(20)
    assert restored.size == (8, 9)
    assert restored.before().tolist() == np.full((9, 8, 3), 77).tolist()
    written = read_image(restored.write(tmp_path / "b.png"))
    assert written.pixels.shape == (9, 8, 1)
    assert written.alpha is not None
    assert (written.alpha == 5).all()


def test_turned_photos_are_previewed_upright(engine: Engine, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    source = tmp_path / "a.jpg"
    image = Image(pixels, format=format_named("jpeg"), metadata=Metadata(orientation=6))
    write_image(source, image)
    restored = engine.submit(engine.receive("a.jpg", source.read_bytes()), Options()).wait(20)
    np.testing.assert_array_equal(restored.before(), read_image(source).pixels)


def test_a_result_goes_into_a_folder_under_the_commands_name(
    engine: Engine, tmp_path: Path
) -> None:
    restored = engine.submit(engine.receive("a.b.png", photo()), Options()).wait(20)
    assert restored.write(tmp_path).name == "a.b.restored.png"
    assert restored.write(tmp_path, format="jpg", quality=50).name == "a.b.restored.jpg"
    assert restored.write(tmp_path / "x.png", format="webp").name == "x.webp"


def test_what_cannot_be_written_is_said(engine: Engine, tmp_path: Path) -> None:
    restored = engine.submit(engine.receive("a.png", photo()), Options()).wait(20)
    with pytest.raises(InputError, match="strength"):
        restored.write(tmp_path, strength=1.1)
    with pytest.raises(ImageFileError, match="format"):
        restored.write(tmp_path, format="gif")


def test_a_result_that_is_no_longer_kept_says_so(engine: Engine, tmp_path: Path) -> None:
    restored = engine.submit(engine.receive("a.png", photo()), Options()).wait(20)
    engine.discard(restored.source)
    for use in (restored.before, restored.after, lambda: restored.write(tmp_path)):
        with pytest.raises(OutputError, match="no longer kept"):
            use()
