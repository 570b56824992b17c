"""A sample is decided by seed, step and index: by nothing else."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from unveil.data import (
    SampleKey,
    StepBatches,
    TrainingSet,
    check_sources,
    clean_source,
    generated_source,
    paired_source,
    worker_context,
)
from unveil.data.training_set import flip_rotate
from unveil.errors import DataError, InputError
from unveil.imaging import save_png


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        photo = rng.integers(0, 256, (60 + i, 70, 3), dtype=np.uint8)
        for side in ("input", "target"):
            (tmp_path / "pairs" / side).mkdir(parents=True, exist_ok=True)
            save_png(tmp_path / "pairs" / side / f"{i}.png", photo // (1 + (side == "input")))
        (tmp_path / "clean").mkdir(exist_ok=True)
        save_png(tmp_path / "clean" / f"{i}.png", photo)
    return tmp_path


@pytest.fixture
def mixture(folder):
    noisy = clean_source(folder / "clean", "noise:sigma_255=0..55", task="denoise", weight=3)
    blurry = clean_source(folder / "clean", "blur:motion,length=7+jpeg:quality=30", task="deblur")
    return [noisy, blurry, paired_source(folder / "pairs", task="derain", weight=2)]


def _plan(step):
    return 6, 16 if step < 2 else 24


def _samples(dataset, workers=0, **options):
    """Load steps through a DataLoader; the degraded tensors by key."""
    batches = StepBatches(_plan, steps=4, **options)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        multiprocessing_context=worker_context(workers),
    )
    found = {}
    for keys, batch in zip(batches, loader, strict=True):
        assert batch["degraded"].shape == (len(keys), 3, keys[0].patch, keys[0].patch)
        found.update(zip(keys, batch["degraded"], strict=True))
    return found


def _equal(part, whole):
    return bool(part) and all(torch.equal(value, whole[key]) for key, value in part.items())


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_processes_and_resuming_change_nothing(mixture):
    dataset = TrainingSet(mixture, seed=3, mixup=0.3)
    whole = _samples(dataset)
    assert len(whole) == 24
    assert _equal(_samples(dataset, workers=1), whole)
    assert _equal(_samples(TrainingSet(mixture, seed=3, mixup=0.3), first_step=2), whole)
    ranks = [_samples(dataset, rank=rank, world_size=2) for rank in (0, 1)]
    assert all(_equal(part, whole) for part in ranks)
    assert ranks[0].keys() | ranks[1].keys() == whole.keys()
    assert not ranks[0].keys() & ranks[1].keys()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_worker_is_refused_instead_of_hanging(mixture):
    loader = DataLoader(
        TrainingSet(mixture),
        batch_sampler=StepBatches(_plan, steps=1),
        num_workers=1,
        multiprocessing_context="fork",
    )
    with pytest.raises(InputError, match="worker_context"):
        list(loader)


def test_the_cache_does_not_change_samples(mixture):
    cached, uncached = TrainingSet(mixture, seed=1), TrainingSet(mixture, seed=1, cache_bytes=0)
    for index in [*range(12), *range(12)]:
        a, b = cached.sample(0, index, 20), uncached.sample(0, index, 20)
        assert torch.equal(a["degraded"], b["degraded"])
        assert (a["name"], a["task"]) == (b["name"], b["task"])


@pytest.mark.parametrize("other", [(3, 0, 1), (0, 1, 1), (0, 0, 2)])
def test_another_seed_step_or_index_gives_another_sample(mixture, other):
    def sample(seed, step, index):
        return TrainingSet(mixture[:1], seed=seed).sample(step, index, 16)["degraded"]

    assert not torch.equal(sample(0, 0, 1), sample(*other))


def test_every_batch_has_each_tasks_share(mixture):
    dataset = TrainingSet(mixture, seed=0)
    for step in range(5):
        tasks = [dataset.sample(step, index, 8)["task"] for index in range(24)]
        # Weights 3 : 1 : 2 of 24.
        for task, share in {"denoise": 12, "deblur": 4, "derain": 8}.items():
            assert abs(tasks.count(task) - share) <= 1


def test_where_a_patch_is_cut_does_not_follow_from_its_source(tmp_path):
    rows = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 40, 3))
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        save_png(tmp_path / name / "rows.png", rows)
    sources = [clean_source(tmp_path / name, "identity", task=name) for name in ("one", "other")]
    dataset = TrainingSet(sources, augment=False)
    samples = [dataset.sample(step, 0, 16) for step in range(100)]
    for task in ("one", "other"):
        tops = [255 * float(s["clean"][0, 0, 0]) for s in samples if s["task"] == task]
        assert min(tops) < 30
        assert max(tops) > 150


def test_the_fingerprint_follows_the_photos(folder):
    def fingerprint(**options):
        return TrainingSet([clean_source(folder / "clean", "noise", **options)]).fingerprint

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(exclude="0.png")


def test_degraded_and_clean_show_the_same_place(folder):
    dataset = TrainingSet([paired_source(folder / "pairs")], seed=0)
    for index in range(20):
        sample = dataset.sample(0, index, 24)
        levels = {side: (sample[side] * 255).round().int() for side in ("degraded", "clean")}
        assert torch.equal(levels["clean"] // 2, levels["degraded"])


def test_a_patch_equals_the_degraded_photos_part(folder):
    """With margins, blur and JPEG on a crop are what they are on the whole photo."""
    from unveil.data.image_cache import ImageStore
    from unveil.degradations import parse

    text = "blur:defocus,radius=2"
    source = clean_source(folder / "clean", text, include="0.png")
    photo = ImageStore().get(source.pairs[0].clean).astype(np.float32) / np.float32(255)
    whole = parse(text)(photo, np.random.default_rng(0))
    dataset = TrainingSet([source], seed=0, augment=False)
    for index in range(10):
        sample = dataset.sample(0, index, 16)
        clean = sample["clean"].numpy().transpose(1, 2, 0)
        degraded = sample["degraded"].numpy().transpose(1, 2, 0)
        top, left = next(
            (i, j)
            for i in range(photo.shape[0] - 15)
            for j in range(photo.shape[1] - 15)
            if np.array_equal(photo[i : i + 16, j : j + 16], clean)
        )
        assert np.abs(degraded - whole[top : top + 16, left : left + 16]).max() < 1e-4


def test_shrunk_photos_show_more_of_the_scene(tmp_path):
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (160, 200, 3))
    save_png(tmp_path / "ramp.png", ramp)
    source = clean_source(tmp_path, "identity", shrink=4)
    dataset = TrainingSet([source], augment=False)
    slopes = []
    for index in range(60):
        sample = dataset.sample(0, index, 48)
        assert torch.equal(sample["degraded"], sample["clean"])
        assert sample["clean"].shape == (3, 48, 48)
        # Half a row at each end is shrunk with its mirror image.
        steps = sample["clean"][:, :, 4:-4].diff(dim=2) * 255
        assert float(steps.std()) < 0.1
        slopes.append(float(steps.mean()))
    # 160 rows allow 48 to be shrunk by 3.3 at most.
    assert min(slopes) == pytest.approx(1, abs=0.1)
    assert max(slopes) == pytest.approx(160 / 48, abs=0.1)
    assert 1.5 < np.median(slopes) < 2.7


def test_a_patch_over_the_whole_shrunken_photo_is_hazed_as_that_photo():
    from unveil.data.crop import degrade_shrunk
    from unveil.degradations import parse

    photo = np.random.default_rng(0).random((96, 96, 3), dtype=np.float32)
    pipeline = parse("haze:light")
    degraded, clean = degrade_shrunk(photo, pipeline, np.random.default_rng(1), 2.0, 48)
    rng = np.random.default_rng(1)
    rng.integers(1, size=2)
    expected = pipeline(clean, rng)
    # Filters see the mirrored border there and the end of the photo here.
    assert np.abs(degraded - expected)[12:-12, 12:-12].max() < 0.02
    assert np.abs(degraded - clean).mean() > 0.05


@pytest.mark.parametrize(("shrink", "said"), [(0.5, "1 or more"), (float("nan"), "1 or more")])
def test_only_shrinking_is_accepted(folder, shrink, said):
    with pytest.raises(DataError, match=said):
        clean_source(folder / "clean", "identity", shrink=shrink)


def test_pairs_cannot_be_shrunk(folder):
    with pytest.raises(DataError, match="pairs cannot be shrunk"):
        replace(paired_source(folder / "pairs"), shrink=2.0)


def test_all_eight_symmetries_appear(folder):
    source = clean_source(folder / "clean", "identity", include="0.png")
    dataset = TrainingSet([source], seed=0)
    flat = {dataset.sample(0, i, 60)["clean"].numpy().tobytes() for i in range(2000)}
    # 11 places by 8 symmetries.
    assert len(flat) == 88


def test_symmetries_are_those_of_the_square():
    square = np.arange(9.0).reshape(3, 3, 1)
    seen = {flip_rotate(square, turn).tobytes() for turn in range(8)}
    assert len(seen) == 8
    assert np.array_equal(flip_rotate(flip_rotate(square, 1), 3), square)
    with pytest.raises(InputError):
        flip_rotate(square, 8)


def test_mixup_blends_the_share_it_is_given(folder):
    """With identity, a blended sample is not on the 8-bit grid."""
    source = clean_source(folder / "clean", "identity")
    for mixup, low, high in ((0.0, 0, 0), (0.5, 70, 130)):
        dataset = TrainingSet([source], seed=0, mixup=mixup)
        samples = [dataset.sample(0, i, 8) for i in range(200)]
        levels = [255 * sample["clean"] for sample in samples]
        blended = sum(float((level - level.round()).abs().max()) > 1e-3 for level in levels)
        assert low <= blended <= high
        assert all(torch.equal(sample["clean"], sample["degraded"]) for sample in samples)


def test_shares_of_degradations_are_kept(folder):
    source = clean_source(folder / "clean", {"noise:sigma_255=25": 3, "identity": 1})
    dataset = TrainingSet([source], seed=0)
    samples = [dataset.sample(0, i, 8) for i in range(400)]
    unchanged = sum(torch.equal(sample["clean"], sample["degraded"]) for sample in samples)
    assert 75 <= unchanged <= 125


def test_a_photo_smaller_than_the_patch_is_mirrored(folder):
    dataset = TrainingSet([clean_source(folder / "clean", "identity")], augment=False)
    sample = dataset.sample(0, 0, 128)
    assert sample["clean"].shape == (3, 128, 128)
    width = 70
    mirrored = torch.flip(sample["clean"][:, :60, width - 10 : width], dims=(2,))
    assert torch.equal(sample["clean"][:, :60, width : width + 10], mirrored)


def test_pairs_of_different_sizes_are_refused(folder):
    save_png(folder / "pairs" / "input" / "0.png", np.zeros((9, 9, 3), np.uint8))
    dataset = TrainingSet([paired_source(folder / "pairs", include="0.png")])
    with pytest.raises(DataError, match="data check"):
        dataset.sample(0, 0, 8)


def test_the_truth_goes_through_what_belongs_to_the_scene(folder):
    source = clean_source(folder / "clean", "gray+noise:sigma_255=20,common=1+tone:ev=-1")
    dataset = TrainingSet([source, replace(source, shrink=1.5)])
    for index in range(12):
        sample = dataset.sample(0, index, 24)
        clean, degraded = sample["clean"], sample["degraded"]
        assert torch.equal(clean[0], clean[1])
        assert torch.equal(degraded[0], degraded[2])
        assert float((degraded - clean).std()) > 0.02
        assert float(clean.max()) < 0.8  # a white of 1 becomes 0.73 by one stop


def test_pairs_may_go_through_more(folder):
    plain, more = (
        TrainingSet([paired_source(folder / "pairs", degradation=text)], augment=False)
        for text in (None, "jpeg:quality=10+tone:ev=-1")
    )
    for index in range(5):
        first, second = (dataset.sample(0, index, 24) for dataset in (plain, more))
        assert first["name"] == second["name"]
        darker = first["clean"] * 2 ** (-1 / 2.2)
        assert torch.allclose(second["clean"], darker, atol=1e-6)
        assert not torch.allclose(
            second["degraded"], first["degraded"] * 2 ** (-1 / 2.2), atol=0.02
        )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_generated_pictures_are_decided_by_their_address_too(folder):
    drawn = generated_source("any", {"identity": 1, "jpeg:quality=80": 1}, task="clean")
    mixture = [drawn, clean_source(folder / "clean", "noise:sigma_255=5", task="noise")]
    dataset = TrainingSet(mixture, seed=1)
    whole = _samples(dataset)
    assert _equal(_samples(dataset, workers=1), whole)
    assert _equal(_samples(TrainingSet(mixture, seed=1), first_step=2), whole)
    names = {dataset.sample(0, i, 16, (("clean", 1.0),))["name"] for i in range(200)}
    assert names == set(drawn.generated)
    other = TrainingSet([generated_source("flat", task="clean"), mixture[1]], seed=1)
    assert other.fingerprint != dataset.fingerprint


def test_generated_sources_are_checked(folder):
    for kinds in ([], "round", ["flat", "flat"], ["any", "flat"]):
        with pytest.raises(DataError, match="generated pictures are"):
            generated_source(kinds)
    with pytest.raises(DataError, match="neither files nor shrink"):
        replace(generated_source("flat"), shrink=2.0)
    report = check_sources([generated_source("flat"), clean_source(folder / "clean", "noise")])
    assert report.usable
    assert len(report.without_bad([generated_source("flat")])) == 1


def test_a_set_without_photos_or_degradation_is_refused(folder):
    clean = clean_source(folder / "clean", {})
    for sources in ([], [clean]):
        with pytest.raises(DataError):
            TrainingSet(sources)


def test_a_steps_tasks_replace_the_weights_of_the_sources(folder):
    first = clean_source(folder / "clean", "noise:sigma_255=25", task="denoise", weight=1)
    second = clean_source(folder / "clean", "noise:sigma_255=15", task="denoise", weight=3)
    third = paired_source(folder / "pairs", task="derain", weight=40)
    dataset = TrainingSet([first, second, third])
    tasks = (("denoise", 1.0), ("derain", 1.0))
    drawn = [dataset.sample(step, i, 8, tasks) for step in range(20) for i in range(20)]
    assert sum(sample["task"] == "denoise" for sample in drawn) == pytest.approx(200, abs=12)
    noises = [(s["degraded"] - s["clean"]).std() * 255 for s in drawn if s["task"] == "denoise"]
    assert np.mean([noise > 20 for noise in noises]) == pytest.approx(0.25, abs=0.08)
    alone = [dataset.sample(0, i, 8, (("derain", 1.0),))["task"] for i in range(20)]
    assert set(alone) == {"derain"}
    with pytest.raises(InputError, match="dehaze"):
        dataset.sample(0, 0, 8, (("dehaze", 1.0),))


def test_keys_address_samples(mixture):
    dataset = TrainingSet(mixture)
    assert torch.equal(
        dataset[SampleKey(2, 3, 16)]["degraded"], dataset.sample(2, 3, 16)["degraded"]
    )
