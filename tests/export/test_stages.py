"""Stages of a network: tiles that wait for each other between them give the network's pixels."""

from functools import partial

import numpy as np
import pytest
import torch

from unveil import create_model, save_pretrained
from unveil.inference.loading import load
from unveil.inference.single_pass import SinglePass
from unveil.inference.tiles import Grid
from unveil.layers.statistics import AccumulatedStatistics, ImageWide
from unveil.models.base import ModelConfig, RestorationModel

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")

from unveil.export.graph import build_graph
from unveil.export.parity import open_session
from unveil.export.stages import stage_forms


class _Added(ImageWide):
    """Stands for a layer of which a stage has measured a tile's part."""

    summed = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.statistic_name = name

    def measure(self, x, places=None):  # noqa: ARG002
        return x


class _Staged(RestorationModel):
    """A network as its stages, for `SinglePass`."""

    def __init__(self, size_multiple, stages):
        super().__init__(ModelConfig())
        self.like = torch.nn.Parameter(torch.zeros(()))
        self._multiple, self._stages = size_multiple, stages

    @property
    def size_multiple(self) -> int:
        return self._multiple

    def encode_in_parts(self, held, skips, statistics):
        return self._passes("encode", held, skips, statistics, self._multiple)

    def refine_latent_in_parts(self, held, statistics):
        return self._passes("refine", held, [], statistics, 1)

    def refine_latent(self, features, statistics):  # noqa: ARG002
        held, alone = [features], AccumulatedStatistics({})
        for _ in self.refine_latent_in_parts(held, alone):
            alone.finish()
        return held[0]

    def decode_in_parts(self, held, skips, statistics):
        return self._passes("restore", held, skips, statistics, 1)

    def _passes(self, part, held, skips, statistics, unit):
        axis = 2 if part == "encode" else 1
        size = [length // unit for length in held[0].shape[axis : axis + 2]]
        own, names = statistics.part, [name for name in self._stages if name.startswith(part)]
        rows, columns = (
            torch.arange(*(round(end * length) for end in ends))
            for ends, length in zip((own.rows, own.columns), size, strict=True)
        )
        for name in names:
            given = {"rows": rows, "columns": columns, "place": torch.tensor([own.place])}
            given |= {f"held.{i}": x if name == names[0] else x.half() for i, x in enumerate(held)}
            given |= {f"given.{layer}": x for layer, x in statistics.statistics.items()}
            found = self._stages[name](given, skips)
            held[:] = [x.float() for n, x in found.items() if n.startswith(("next.", "result"))]
            for output, value in found.items():
                if output.startswith("skip."):
                    skips.append(value.float())
                if output.startswith("statistic."):
                    statistics.add(_Added(output.removeprefix("statistic.")), value)
            if name != names[-1]:
                yield


def _eager(form, given, skips):
    held, taken, own, known = ([], [], [], [])
    for name in form.inputs:
        if name.startswith("skip."):
            taken.append(skips.pop().half())
        else:
            group = {"held": held, "given": known}.get(name.partition(".")[0], own)
            group.append(given[name])
    return dict(zip(form.outputs, form.module(held, taken, own, known), strict=True))


def _exported(form):
    session = open_session(build_graph(*form, dynamic=True))

    def run(given, skips):
        feeds = {
            name: (skips.pop().half() if name.startswith("skip.") else given[name]).numpy()
            for name in form.inputs
        }
        made = session.run(form.outputs, feeds)
        return {name: torch.from_numpy(x) for name, x in zip(form.outputs, made, strict=True)}

    return run


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
    stages = {n: _exported(form) if exports else partial(_eager, form) for n, form in forms.items()}
    staged = _Staged(loaded.network.size_multiple, stages)
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
