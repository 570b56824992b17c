"""The engine: options refused early, networks kept, files held while used."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serve.conftest import MODEL, WAIT_S, busy, photo, until, uploads

from unveil.errors import CheckpointError, ImageTooLargeError, InputError, OutputError
from unveil.inference.loading import load
from unveil.inference.options import TASKS
from unveil.inference.options import RestoreOptions as Options
from unveil.models.checkpoint import bundled_weights
from unveil.serve.catalogue import Catalogue
from unveil.serve.engine import Engine
from unveil.serve.settings import Settings
from unveil.serve.store import plain_message


@pytest.fixture
def engine(tiny_weights: Path, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(Settings(models=(tiny_weights,), threads=1, keep_s=60), folder=tmp_path)
    yield made
    made.stop(1)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (Options(model="nonsense"), "no model"),
        (Options(task="dehaze", model="cu_mamba_small"), "it does denoise"),
    ],
)
def test_senseless_options_are_refused_before_anything_waits(
    engine: Engine, options: Options, word: str
) -> None:
    source = engine.store.receive("a.png", photo())
    with pytest.raises(InputError, match=word):
        engine.submit(source, options)
    assert engine.queue.waiting == 0


def test_a_task_that_the_model_does_not_do_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Catalogue, "tasks", TASKS)
    with pytest.raises(InputError, match="it does denoise"):
        engine.catalogue.choose("cu_mamba_small", "derain")


def test_the_bundled_networks_are_offered_and_chosen_as_the_restorer_does() -> None:
    catalogue = Catalogue()
    assert [offer.id for offer in catalogue.offers if offer.default] == [load(None).name]
    assert {offer.id for offer in catalogue.offers} == set(bundled_weights())
    for task in catalogue.tasks:
        assert catalogue.choose(None, task).id == load(None, task).name
    for task in set(TASKS) - set(catalogue.tasks):
        with pytest.raises(InputError):
            catalogue.choose(None, task)


def test_no_weights_file_is_opened_again_once_the_server_runs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a weights file is opened")

    monkeypatch.setattr("unveil.models.weights_file.safe_open", refused)
    offer = engine.catalogue.choose(None, "auto")
    restorers = [engine._restorer(offer, Options(tile=tile)) for tile in ("auto", 64)]
    assert restorers[0].loaded.network is restorers[1].loaded.network
    assert [restorer.options.tile for restorer in restorers] == ["auto", 64]


def test_given_weights_are_preferred_for_what_they_do(engine: Engine) -> None:
    assert engine.catalogue.choose(None, "auto").id == MODEL
    assert engine.catalogue.choose(None, "denoise").id == MODEL
    assert engine.catalogue.offers[0].id == MODEL


def test_weights_of_one_name_are_told_apart_by_their_folders(
    tiny_weights: Path, tmp_path: Path
) -> None:
    given = [tmp_path / run / "best.safetensors" for run in ("a", "b")]
    for path in given:
        path.parent.mkdir()
        path.write_bytes(tiny_weights.read_bytes())
    catalogue = Catalogue([tiny_weights, *given])
    assert {"tiny", "a/best", "b/best"} <= {offer.id for offer in catalogue.offers}
    offers = [catalogue.choose(f"{run}/best", "auto") for run in ("a", "b")]
    assert [catalogue.loaded(offer).name for offer in offers] == list(map(str, given))
    with pytest.raises(InputError, match="two models called a/best"):
        Catalogue([given[0], given[0]])


def test_networks_used_long_ago_leave_the_memory(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unveil.serve.catalogue._MOST_KEPT", 2)
    catalogue = Catalogue([tiny_weights])
    one, *others = catalogue.offers
    network = catalogue.loaded(one).network
    assert catalogue.loaded(one).network is network
    for other in others:
        catalogue.loaded(other)
    assert len(others) > 1
    assert catalogue.loaded(one).network is not network


def test_missing_weights_are_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, InputError)):
        Engine(Settings(models=(tmp_path / "none.safetensors",)), folder=tmp_path)


def test_a_device_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device"):
        Engine(Settings(device="nonsense"), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_loaded_once_and_not_kept_for_ever(engine: Engine) -> None:
    source = engine.store.receive("a.png", photo((9, 9)))
    first = engine.submit(source, Options(tile=64))
    first.future.result(WAIT_S)
    kept = next(iter(engine._restorers.values()))
    engine.submit(source, Options(tile=64)).future.result(WAIT_S)
    assert next(iter(engine._restorers.values())) is kept
    for tile in range(65, 75):
        engine.submit(source, Options(tile=tile)).future.result(WAIT_S)
    assert len(engine._restorers) <= 6
    assert kept not in engine._restorers.values()


def test_files_stay_while_their_job_runs_and_go_when_old(engine: Engine) -> None:
    source = engine.store.receive("a.png", photo())
    with busy(engine):
        job = engine.submit(source, Options())
        engine.store.sweep()
        assert source.exists()
    restored = job.future.result(WAIT_S)
    assert restored.preview().exists()
    engine.store.discard(source)
    assert uploads(engine) == []
    with pytest.raises(OutputError, match="no longer kept"):
        engine.submit(source, Options()).future.result(WAIT_S)


def test_what_is_too_large_says_so_when_its_turn_comes(tiny_weights: Path, tmp_path: Path) -> None:
    engine = Engine(Settings(models=(tiny_weights,), max_megapixels=0.001), folder=tmp_path)
    job = engine.submit(engine.store.receive("my photo.png", photo()), Options())
    with pytest.raises(ImageTooLargeError) as refused:
        job.future.result(WAIT_S)
    message = plain_message(refused.value, engine.store.folder)
    assert message.startswith("my photo.png: 80×60")
    engine.stop(1)


def test_the_time_left_is_known_from_the_second_image_on(engine: Engine) -> None:
    source = engine.store.receive("a.png", photo((300, 200)))
    engine.submit(source, Options()).future.result(WAIT_S)
    assert engine._seconds_per_megapixel[f"{MODEL} False"] > 0


def test_stopping_removes_all_files(engine: Engine) -> None:
    engine.store.receive("a.png", photo())
    engine.stop(1)
    until(lambda: not engine.store.folder.exists())


def test_tiles_that_wait_for_each_other_are_counted_once(engine: Engine) -> None:
    source = engine.store.receive("a.png", photo((200, 100)))
    options = Options(model="mtair_small", tile=128)
    assert engine.submit(source, options).future.result(WAIT_S).tiles == 2
