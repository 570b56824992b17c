"""Networks that look at the whole image, in files that share out its statistics over tiles."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from unveil.export.graph import build_graph
from unveil.export.graph_modules import (
    Form,
    ImageStatistics,
    TilesOfAnImage,
    prepared,
    restoration_model,
)
from unveil.export.latent import PARTS, latent_forms
from unveil.export.parity import MOST_OF_TILES, SIZES, Agreement, compare, open_session
from unveil.inference.loading import LoadedModel
from unveil.inference.tiling import TiledInference
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import ModelConfig, RestorationModel

PAIR = ("statistics", "restore")
Graphs = dict[str, onnx.ModelProto]
_EXAMPLE = (2, 3, 52, 68)
_WHOLE_IMAGE = (0.0, 1.0, 0.0, 1.0)


def parts_of(loaded: LoadedModel) -> tuple[str, ...]:
    """Return the names of the files that restore tiles with a network."""
    return PARTS if loaded.tiling.whole_latent else PAIR


def build_tiles(loaded: LoadedModel) -> Graphs:
    """Return the graphs that restore tiles, by `parts_of`.

    Args:
        loaded: The network.
    """
    forms = latent_forms(loaded) if loaded.tiling.whole_latent else _pair_forms(loaded)
    return {name: build_graph(*form, dynamic=True) for name, form in forms.items()}


def statistics_of(network: RestorationModel) -> dict[str, Tensor]:
    """Return statistics of a small random image by layer, as examples of names and shapes."""
    side = network.size_multiple * 2
    return dict(network.collect_statistics(torch.rand(1, 3, side, side)).statistics)


def _pair_forms(loaded: LoadedModel) -> dict[str, Form]:
    network = prepared(loaded)
    statistics = statistics_of(restoration_model(loaded))
    names = [name for name in statistics if name not in loaded.conditioning]
    outputs, given = [f"statistic.{name}" for name in names], [statistics[name] for name in names]
    image, places = torch.rand(_EXAMPLE), torch.tensor([_WHOLE_IMAGE] * _EXAMPLE[0])
    gather = ImageStatistics(network, names)
    restore = TilesOfAnImage(network, names, loaded.conditioning)
    return {
        "statistics": Form(gather, (image, places), ["image", "places"], outputs),
        "restore": Form(restore, (image, given), ["image", *outputs], ["restored"]),
    }


def check_tiles(loaded: LoadedModel, graphs: Graphs) -> list[Agreement]:
    """Compare images that the package's engine restores with the graphs and the network.

    Images of both are cut into tiles by the same rules, which are the network's, except that none
    is too small for it. Statistics of both are gathered from crops: tiles of `unveil restore` wait
    for each other instead, which graphs cannot. See `compare`.

    Args:
        loaded: The network.
        graphs: From `build_tiles`.
    """
    kind = _Parts if loaded.tiling.whole_latent else _Pair
    tiling = replace(loaded.tiling, whole_megapixels=0.0)

    def restored(network: nn.Module, image: Tensor) -> Tensor:
        engine = TiledInference(
            network,
            torch.device("cpu"),
            tiling,
            forced=True,
            conditioning=loaded.conditioning,
            together=False,
        )
        pixels = image[0].permute(1, 2, 0).contiguous().numpy()
        change = torch.empty_like(torch.from_numpy(pixels))
        engine.change(pixels, change.numpy())
        return change

    exported = kind(restoration_model(loaded), graphs)
    return compare(
        lambda image: restored(exported, image),
        lambda image: restored(restoration_model(loaded), image),
        SIZES,
        MOST_OF_TILES,
    )


class _Exported(RestorationModel):
    """A network whose parts run in ONNX Runtime."""

    def __init__(self, model: RestorationModel, graphs: Graphs) -> None:
        super().__init__(ModelConfig())
        self._multiple = model.size_multiple
        self.register_parameter("like", nn.Parameter(torch.zeros(())))
        self._sessions = {name: open_session(graph) for name, graph in graphs.items()}

    @property
    def size_multiple(self) -> int:
        return self._multiple

    @property
    def has_statistics(self) -> bool:
        return True

    def run(self, part: str, given: Mapping[str, Any]) -> dict[str, Tensor]:
        """Run one of the graphs.

        Args:
            part: Its name.
            given: Inputs; some may be another graph's.
        """
        session = self._sessions[part]
        names = [output.name for output in session.get_outputs()]
        feeds = {item.name: given[item.name].numpy() for item in session.get_inputs()}
        return dict(zip(names, map(torch.from_numpy, session.run(names, feeds)), strict=True))


class _Parts(_Exported):
    """A network in three parts, of `unveil.export.latent`."""

    def encode(
        self, degraded: Tensor, statistics: GlobalStatistics | None
    ) -> tuple[Tensor, list[Tensor]]:
        found = self._run("encode", {"image": degraded}, statistics)
        skips = [value for name, value in found.items() if name.startswith("skip.")]
        return found["latent"], skips

    def refine_latent(self, features: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        return self._run("refine", {"latent": features}, statistics)["refined"]

    def decode(
        self, latent: Tensor, skips: list[Tensor], statistics: GlobalStatistics | None
    ) -> Tensor:
        sides = (self._multiple * side for side in latent.shape[1:3])
        # Restored of nothing is the change.
        image = torch.zeros(len(latent), 3, *sides)
        named = {f"skip.{level}": skip for level, skip in enumerate(skips)}
        return self._run("restore", {"image": image, "refined": latent, **named}, statistics)[
            "restored"
        ]

    def _run(
        self, part: str, given: dict[str, Tensor], statistics: GlobalStatistics | None
    ) -> dict[str, Tensor]:
        gather = statistics is None or statistics.recording
        places = None if statistics is None else statistics.places
        number = len(next(iter(given.values())))
        if places is None:
            places = torch.tensor([_WHOLE_IMAGE] * number)
        inputs: dict[str, Tensor] = {**given, "places": places, "gather": torch.tensor(gather)}
        for item in self._sessions[part].get_inputs():
            layer = item.name.removeprefix("given.")
            if layer != item.name:
                known = torch.zeros(item.shape) if gather else statistics.statistics[layer]  # type: ignore[union-attr]
                inputs[item.name] = known
        found = self.run(part, inputs)
        if statistics is not None and gather:
            for name, value in found.items():
                if name.startswith("statistic."):
                    statistics.statistics[name.removeprefix("statistic.")] = value
        return found


class _Pair(_Exported):
    """A network in two graphs: statistics, and tiles."""

    def residual(
        self,
        degraded: Tensor,
        statistics: GlobalStatistics | None = None,
        latent: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        places = torch.tensor([_WHOLE_IMAGE] * len(degraded))
        if statistics is not None and not statistics.recording:
            given = {f"statistic.{name}": value for name, value in statistics.statistics.items()}
            return self.run("restore", {"image": degraded, **given})["restored"] - degraded
        if statistics is not None and statistics.places is not None:
            places = statistics.places
        found = self.run("statistics", {"image": degraded, "places": places})
        if statistics is not None:
            for name, value in found.items():
                statistics.statistics[name.removeprefix("statistic.")] = value
        return self.run("restore", {"image": degraded, **found})["restored"] - degraded
