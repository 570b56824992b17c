"""Validation scores clipped images and draws them side by side."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from unveil import create_model
from unveil.models.checkpoint import save_checkpoint
from unveil.training.best import comparable_best
from unveil.training.data_loaders import validation_images
from unveil.training.recipe import EvaluationSection
from unveil.training.validation import ValidationImage, validate


class Plus(nn.Module):
    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))

    def forward(self, x):
        return x + self.amount


def pair(group, degraded, clean, side=16):
    return ValidationImage(
        "x", group, torch.full((3, side, side), degraded), torch.full((3, side, side), clean)
    )


def test_scores_are_means_of_groups_of_clipped_images():
    pairs = [pair("a", 0.5, 0.5), pair("a", 0.4, 0.5), pair("b", 2.0, 1.0)]
    result = validate(Plus(0.1).eval(), pairs)
    # 20 dB and 100 dB (the cap for equal images) in a; 2.1 clips to 1.0 in b
    assert result.groups == pytest.approx({"a": 60.0, "b": 100.0}, abs=1e-3)
    assert result.psnr == pytest.approx(80.0, abs=1e-3)


def test_photographs_that_are_not_degraded_do_not_count_in_the_mean():
    pairs = [pair("noise", 0.4, 0.5), pair("rain", 0.6, 0.5), pair("identity", 0.5, 0.5)]
    result = validate(Plus(0.0).eval(), pairs)
    assert result.groups["identity"] == pytest.approx(100.0)
    assert result.psnr == pytest.approx(20.0, abs=1e-3)
    assert validate(Plus(0.0).eval(), pairs[2:]).psnr == pytest.approx(100.0)


def test_a_best_score_of_before_is_measured_anew(tmp_path):
    facts = {"step": 8, "validation": {"noise": 28.0, "rain": 30.0, "identity": 50.0}}
    network = create_model("cu_mamba_tiny")
    save_checkpoint(network, tmp_path / "model.safetensors", {"training": json.dumps(facts)})
    before = {"step": 8, "psnr": 36.0}
    after = comparable_best(before, tmp_path, {"identity"})
    assert after == {"step": 8, "psnr": 29.0}
    assert comparable_best(after, tmp_path, {"identity"}) == after
    assert comparable_best(before, tmp_path / "gone", {"identity"}) == before


def test_the_picture_shows_degraded_restored_and_clean():
    montage = validate(Plus(0.2).eval(), [pair("a", 0.2, 0.6)]).montage
    assert montage.shape == (16, 3 * 16 + 2 * 4, 3)
    assert [int(montage[8, x, 0]) for x in (8, 28, 48)] == [51, 102, 153]


def test_rows_of_several_sizes_fit_into_one_picture():
    pairs = [pair(str(side), 0.2, 0.6, side) for side in (300, 16, 8)]
    montage = validate(Plus(0.0).eval(), pairs).montage
    assert montage.shape == (256 + 16 + 8 + 2 * 4, 3 * 256 + 2 * 4, 3)


def test_pairs_are_seeded_spread_over_the_folder_and_cut(photos, caplog):
    evaluation = EvaluationSection.model_validate(
        {
            "sets": [{"clean": str(photos / "train")}],
            "degradations": ["noise:sigma_255=25", "identity"],
            "every": "1m",
            "images": 2,
            "crop": 30,
        }
    )
    once, again = (validation_images(evaluation, 4) for _ in range(2))
    assert len(once) == 4
    assert len({one.name for one in once}) == 2
    for one, other in zip(once, again, strict=True):
        assert torch.equal(one.degraded, other.degraded)
        assert one.clean.shape == (3, 28, 28)
    noise = np.concatenate([(p.degraded - p.clean).numpy().ravel() for p in once[:2]])
    assert noise.std() * 255 == pytest.approx(25, rel=0.05)
    assert not caplog.records
    validation_images(evaluation, 4, list((photos / "train").iterdir()))
    assert "trained on" in caplog.text
