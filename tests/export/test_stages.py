"""Stages of a network: tiles that wait for each other between them give the network's pixels."""

from functools import partial

import numpy as np
import pytest
import torch

from unveil import create_model, save_pretrained
from unveil.inference.loading import load
from unveil.inference.single_pass import SinglePass
from unveil.inference.tiles import Grid

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

from unveil.export.graph import build_graph
from unveil.export.parts import OpenStage, StagedNetwork, open_stage
from unveil.export.stages import stage_forms


def _run_eagerly(form, given):
    groups = {"held": [], "skip": [], "own": [], "given": []}
    for name in form.inputs:
        groups.get(name.partition(".")[0], groups["own"]).append(given[name])
    return dict(zip(form.outputs, form.module(*groups.values()), strict=True))


@pytest.mark.parametrize(
    "exports", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["modules", "graphs"]
)
def test_tiles_in_stages_give_what_the_network_gives(tmp_path, exports):
    torch.manual_seed(0)
    save_pretrained(create_model("mtair_tiny", layer_scale=1.0), tmp_path)
    loaded = load(tmp_path)
    forms = stage_forms(loaded)
    # Of scans, modules hold places only, which graphs fill.
    network = loaded.network if exports else forms["encode.0"].module.model
    stages = {
        name: open_stage(build_graph(*form, dynamic=True))
        if exports
        else OpenStage(form.inputs, partial(_run_eagerly, form))
        for name, form in forms.items()
    }
    staged = StagedNetwork(loaded.network.size_multiple, stages)
    pixels = np.random.default_rng(0).random((90, 131, 3), np.float32)
    changes = []
    for model in (network, staged):
        once = SinglePass(model, pixels, Grid(48, 8), {}, lambda: None)
        once.prepare()
        tiles = once.grid.tiles(*pixels.shape[:2])
        changes.append([once.change(*tile) for tile in tiles])
    most = max(change.abs().max() for change in changes[0])
    for expected, found in zip(*changes, strict=True):
        # What waits is rounded to half precision by both, at other places of the latent.
        torch.testing.assert_close(found, expected, atol=2e-3 * float(most), rtol=0)
