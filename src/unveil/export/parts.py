"""Networks that look at the whole image, in files that share its statistics between tiles."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.export.graph_modules import (
    Form,
    ImageStatistics,
    TilesOfAnImage,
    prepared,
    restoration_model,
)
from unveil.export.parity import MOST_OF_TILES, SIZES, Agreement, compare, open_session
from unveil.export.stages import stage_forms
from unveil.imaging.image import Array
from unveil.inference.diagnosis import LinearProbe
from unveil.inference.loading import LoadedModel
from unveil.inference.single_pass import SinglePass
from unveil.inference.tiles import Grid
from unveil.inference.tiling import TiledInference
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics, ImageWide
from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.unet import Pauses, Skips, UNet

Graphs = Mapping[str, onnx.ModelProto]
_EXAMPLE = (2, 3, 52, 68)
_WHOLE_IMAGE = (0.0, 1.0, 0.0, 1.0)


def tile_forms(loaded: LoadedModel) -> dict[str, Form]:
    """Return the graphs that restore tiles with a network, in the order they run in.

    They are the stages of `unveil.export.stages`; of networks whose tiles make their own latent
    ``statistics``, from `statistics_form`, and ``restore``.

    Args:
        loaded: The network.

    Raises:
        InputError: Its tiles take other statistics than those of the whole image.
    """
    if loaded.tiling.whole_latent:
        if loaded.tiling.window is not None:
            raise InputError(
                f"{loaded.name} with task {loaded.task} gathers its statistics from crops, which "
                "files for tiles cannot; give another --task, or leave out --tiles"
            )
        return stage_forms(loaded)
    statistics = statistics_form(loaded)
    known, image = _statistics_of(loaded), torch.rand(_EXAMPLE)
    restore = TilesOfAnImage(prepared(loaded), [*known], loaded.conditioning)
    given = [f"statistic.{name}" for name in known]
    return {
        "statistics": statistics,
        "restore": Form(restore, (image, [*known.values()]), ["image", *given], ["restored"]),
    }


def statistics_form(loaded: LoadedModel, probe: LinearProbe | None = None) -> Form:
    """Return what gathers a network's statistics from crops of an image.

    It maps ``image`` and ``places`` to ``statistic.LAYER``, one for each layer.

    Args:
        loaded: The network.
        probe: Adds ``scores``, see `ImageStatistics`.
    """
    names = [*_statistics_of(loaded)]
    outputs = [*(f"statistic.{name}" for name in names), *(["scores"] if probe else [])]
    image, places = torch.rand(_EXAMPLE), torch.tensor([_WHOLE_IMAGE] * _EXAMPLE[0])
    gather = ImageStatistics(prepared(loaded), names, probe)
    return Form(gather, (image, places), ["image", "places"], outputs)


def _statistics_of(loaded: LoadedModel) -> dict[str, Tensor]:
    """Return statistics of a small random image by layer, as examples of names and shapes."""
    network = restoration_model(loaded)
    side = network.size_multiple * 2
    found = network.collect_statistics(torch.rand(1, 3, side, side)).statistics
    return {name: value for name, value in found.items() if name not in loaded.conditioning}


def check_tiles(loaded: LoadedModel, graphs: Graphs) -> list[Agreement]:
    """Compare images that the package's engine restores with the graphs and the network.

    Both restore an image in the network's tiles, whatever its size. See `compare`.

    Args:
        loaded: The network.
        graphs: Of `tile_forms`.
    """
    network = restoration_model(loaded)
    stages = {name: open_stage(graph) for name, graph in graphs.items()}
    staged = loaded.tiling.whole_latent
    exported = (StagedNetwork if staged else _Pair)(network.size_multiple, stages)
    change = _change_in_stages if staged else _change
    return compare(
        lambda image: change(exported, image, loaded),
        lambda image: change(network, image, loaded),
        SIZES,
        MOST_OF_TILES,
    )


def _change_in_stages(network: RestorationModel, image: Tensor, loaded: LoadedModel) -> Tensor:
    """Return what a network changes about tiles that wait for each other, one after the other."""
    tiling, pixels = loaded.tiling, _rows_first(image)
    grid = Grid(tiling.tile, tiling.overlap)
    # The part of it that the pass needs.
    model = cast("UNet", network)
    once = SinglePass(model, pixels, grid, loaded.conditioning, lambda: None)
    once.prepare()
    tiles = once.grid.tiles(*pixels.shape[:2])
    return torch.cat([once.change(*tile).flatten() for tile in tiles])


def _change(network: RestorationModel, image: Tensor, loaded: LoadedModel) -> Tensor:
    """Return what a network changes about an image in tiles."""
    tiling, pixels = replace(loaded.tiling, whole_megapixels=0.0), _rows_first(image)
    change = np.empty_like(pixels)
    device = torch.device("cpu")
    TiledInference(network, device, tiling, forced=True, conditioning=loaded.conditioning).change(
        pixels, change
    )
    return torch.from_numpy(change)


def _rows_first(image: Tensor) -> Array:
    return np.asarray(image[0].permute(1, 2, 0).contiguous().numpy())


class OpenStage(NamedTuple):
    """A graph that can be run.

    Attributes:
        inputs: Names of its inputs.
        run: Maps inputs to outputs, both by name.
    """

    inputs: list[str]
    run: Callable[[dict[str, Tensor]], dict[str, Tensor]]


def open_stage(graph: onnx.ModelProto) -> OpenStage:
    """Return a graph in ONNX Runtime.

    Args:
        graph: One of `tile_forms`.
    """
    session = open_session(graph)
    names = [output.name for output in session.get_outputs()]

    def run(given: dict[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(names, {name: value.numpy() for name, value in given.items()})
        return dict(zip(names, map(torch.from_numpy, found), strict=True))

    return OpenStage([item.name for item in session.get_inputs()], run)


class _ExportedNetwork(RestorationModel):
    """A network that runs as the graphs of `tile_forms`.

    Args:
        size_multiple: Of the network.
        stages: The graphs, in their order.
    """

    def __init__(self, size_multiple: int, stages: Mapping[str, OpenStage]) -> None:
        super().__init__(ModelConfig())
        self._multiple, self._stages = size_multiple, stages
        self.register_parameter("like", nn.Parameter(torch.zeros(())))

    @property
    def size_multiple(self) -> int:
        return self._multiple

    @property
    def has_statistics(self) -> bool:
        return True


class _Measured(ImageWide):
    """A layer whose statistic of a tile a graph has measured."""

    summed = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.statistic_name = name

    def measure(self, x: Tensor, places: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return x


class StagedNetwork(_ExportedNetwork):
    """A network that runs as its stages, whose tiles the engine lets wait for each other."""

    def refine_latent(self, features: Tensor, statistics: GlobalStatistics | None) -> Tensor:  # noqa: ARG002
        """Refine the latent of a whole image, see `RestorationModel.refine_latent`."""
        held, alone = [features], AccumulatedStatistics({})
        for _ in self.refine_latent_in_parts(held, alone):
            alone.finish()
        return held[0]

    def encode_in_parts(
        self, held: list[Tensor], skips: Skips, statistics: AccumulatedStatistics
    ) -> Pauses:
        """Encode a tile, see `UNet.encode_in_parts`.

        Args:
            held: Features, replaced by the result.
            skips: The skips, coarsest last.
            statistics: Of the image.
        """
        return self._passes("encode", held, skips, statistics)

    def refine_latent_in_parts(
        self, held: list[Tensor], statistics: AccumulatedStatistics
    ) -> Pauses:
        """Refine a piece of the latent, see `UNet.refine_latent_in_parts`.

        Args:
            held: Features, replaced by the result.
            statistics: Of the image.
        """
        return self._passes("refine", held, [], statistics)

    def decode_in_parts(
        self, held: list[Tensor], skips: Skips, statistics: AccumulatedStatistics
    ) -> Pauses:
        """Decode a tile, see `UNet.decode_in_parts`.

        Args:
            held: Features, replaced by the result.
            skips: The skips, coarsest last.
            statistics: Of the image.
        """
        return self._passes("restore", held, skips, statistics)

    def _passes(
        self, part: str, held: list[Tensor], skips: Skips, statistics: AccumulatedStatistics
    ) -> Pauses:
        axis, unit = (2, self._multiple) if part == "encode" else (1, 1)
        own = statistics.part
        positions = [
            torch.arange(*(round(end * length / unit) for end in ends))
            for ends, length in zip(
                (own.rows, own.columns), held[0].shape[axis : axis + 2], strict=True
            )
        ]
        names = [name for name in self._stages if name.startswith(part)]
        for name in names:
            stage = self._stages[name]
            given = {"place": torch.tensor([own.place])}
            given |= dict(zip(("rows", "columns"), positions, strict=True))
            given |= {f"held.{i}": x if name == names[0] else x.half() for i, x in enumerate(held)}
            given |= {f"given.{layer}": x for layer, x in statistics.statistics.items()}
            # Coarsest first, as they are on the stack.
            given |= {i: skips.pop().half() for i in stage.inputs if i.startswith("skip.")}
            found = stage.run({name: given[name] for name in stage.inputs})
            held[:] = [x.float() for n, x in found.items() if n.startswith(("next.", "result"))]
            for output, value in found.items():
                if output.startswith("skip."):
                    skips.append(value.float())
                if output.startswith("statistic."):
                    statistics.add(_Measured(output.removeprefix("statistic.")), value)
            if name != names[-1]:
                yield


class _Pair(_ExportedNetwork):
    """A network in two graphs: statistics, and tiles."""

    def residual(
        self,
        degraded: Tensor,
        statistics: GlobalStatistics | None = None,
        latent: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        gather, restore = self._stages.values()
        known = {"image": degraded}
        if statistics is None or statistics.recording:
            places = None if statistics is None else statistics.places
            if places is None:
                places = torch.tensor([_WHOLE_IMAGE] * len(degraded))
            found = gather.run({**known, "places": places})
            if statistics is not None:
                for name, value in found.items():
                    statistics.statistics[name.removeprefix("statistic.")] = value
            known |= found
        else:
            known |= {f"statistic.{name}": x for name, x in statistics.statistics.items()}
        return restore.run({name: known[name] for name in restore.inputs})["restored"] - degraded
