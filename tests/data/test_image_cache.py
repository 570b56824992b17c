"""The store keeps what fits and reads the rest."""

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

from unveil.data import ImageStore
from unveil.errors import ImageFileError
from unveil.imaging import save_png
from unveil.imaging.convert import to_uint8


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths:
        save_png(path, rng.integers(0, 256, (10, 20, 3), dtype=np.uint8))
    return paths


def test_photos_are_kept_up_to_the_limit(photos):
    store = ImageStore(limit_bytes=2 * 600 + 1)
    for path in photos:
        store.get(path)
    assert [path in store for path in photos] == [True, True, False, False]
    assert store.used_bytes == 1200
    assert store.get(photos[3]).shape == (10, 20, 3)


def test_a_kept_photo_is_not_read_again(photos):
    store = ImageStore()
    first = store.get(photos[0])
    photos[0].unlink()
    assert store.get(photos[0]) is first


def test_an_unreadable_photo_raises(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ImageFileError):
        ImageStore().get(tmp_path / "x.png")


def test_a_pickled_store_shares_one_file_of_photos(photos):
    store = ImageStore()
    for path in photos[:3]:
        store.get(path)
    sent = [pickle.loads(pickle.dumps(store)) for _ in range(2)]
    files = {other.get(photos[0]).base.filename for other in sent}
    assert len(files) == 1
    assert store.get(photos[0]).base.filename in files
    for other in sent:
        assert [path in other for path in photos] == [True, True, True, False]
        assert other.used_bytes == store.used_bytes == 1800
    for other in sent:
        for path in photos:
            assert np.array_equal(other.get(path), store.get(path))
    (file,) = files
    assert Path(file).exists()
    del store
    gc.collect()
    assert not Path(file).exists()
    assert sent[0].get(photos[0]).any()


def test_a_store_without_room_for_its_file_travels_empty(photos, monkeypatch, tmp_path, caplog):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    store = ImageStore()
    for path in photos:
        store.get(path)
    monkeypatch.setattr("unveil.data.image_cache.os.fdopen", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sent = pickle.loads(pickle.dumps(store))
    assert "No space left" in caplog.text
    assert photos[0] not in sent
    assert not list(tmp_path.glob("unveil-photos-*"))
    assert np.array_equal(sent.get(photos[0]), store.get(photos[0]))


def test_every_sample_type_is_rounded_to_8_bits(tmp_path):
    deep = np.arange(0, 65536, 37, dtype=np.uint16)
    assert np.array_equal(to_uint8(deep), np.rint(deep / 257))
    assert to_uint8(np.float32([-1, 0.5, 2])).tolist() == [0, 128, 255]
    save_png(tmp_path / "deep.png", deep[:768].reshape(16, 16, 3))
    assert ImageStore().get(tmp_path / "deep.png").dtype == np.uint8
