"""A network as ONNX files that run without unveil, checked before they are written."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import onnx
import torch
from torch import Tensor

from unveil._version import __version__
from unveil.errors import InputError, OutputError
from unveil.export.graph import build_graph
from unveil.export.graph_modules import (
    FixedStatistics,
    ImageStatistics,
    TilesOfAnImage,
    WholeImages,
)
from unveil.export.onnx_scan import replace_scans
from unveil.export.parity import SIZES, Agreement, compare, open_session
from unveil.imaging.atomic import write_bytes
from unveil.inference.loading import LoadedModel, load
from unveil.inference.options import TaskChoice
from unveil.inference.padding import restore_tensor
from unveil.models.base import RestorationModel
from unveil.models.card import read_card
from unveil.models.checkpoint import bundled_weights

SMALLEST, LARGEST = 1, 8192
# Sizes of the examples that are exported: not multiples, and different from each other.
_EXAMPLE = (2, 3, 52, 68)
_WHOLE_IMAGE = (0.0, 1.0, 0.0, 1.0)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        files: The files.
        agreements: How well they agree with the network, by size.
    """

    files: tuple[Path, ...]
    agreements: tuple[Agreement, ...]


def export_onnx(
    model: str | Path,
    target: Path,
    *,
    size: int | Literal["dynamic"] = "dynamic",
    tiles: bool = False,
    task: TaskChoice = "auto",
    force: bool = False,
) -> Exported:
    """Write a network as an ONNX file of standard operators (opset 18, IR version 8).

    The graph maps ``image`` ``(batch, 3, height, width)``, float32, sRGB-encoded in [0, 1], to
    ``restored``, the same shape, not clipped: what `unveil.inference.restore_tensor` makes of it.
    Sizes are padded and cropped inside.

    Args:
        model: A model's id, weights file or folder.
        target: The file.
        size: Side of square images, or ``"dynamic"`` for images of every size.
        tiles: For networks that look at the whole image: write two files, ``NAME.statistics.onnx``
            and ``NAME.restore.onnx``, so that tiles share the statistics of their image.
        task: Turn an all-in-one network to one task.
        force: Replace files that are there.

    Returns:
        The files, and how well they agree with the network in ONNX Runtime.

    Raises:
        InputError: An option does not fit the network.
        CheckpointError: The weights are missing or damaged.
        OutputError: A file is there already or cannot be written, or the exported network differs
            from the network.
    """
    loaded = load(model, task)
    network = restoration_model(loaded)
    if tiles and not network.has_statistics:
        raise InputError(
            f"{loaded.name} looks at no whole image: its one file serves for tiles too"
        )
    if size != "dynamic" and not SMALLEST <= size <= LARGEST:
        raise InputError(f"size is {size}; expected dynamic, or {SMALLEST} to {LARGEST} pixels")
    if tiles and size != "dynamic":
        raise InputError("tiles are of several sizes: give size or tiles, not both")
    files = _pair_of(target) if tiles else (target,)
    refuse_existing(files, force)
    graphs: tuple[onnx.ModelProto, ...]
    if tiles:
        graphs = gather, restore = build_pair(loaded)
        agreements = check_pair(loaded, (gather, restore))
    else:
        graphs = (build_whole(loaded, size),)
        sizes = SIZES if size == "dynamic" else ((size, size),)
        agreements = check_whole(loaded, graphs[0], sizes)
    for file, graph in zip(files, graphs, strict=True):
        write_bytes(file, graph.SerializeToString())
    return Exported(files, tuple(agreements))


def restoration_model(loaded: LoadedModel) -> RestorationModel:
    """Return the network of a loaded model.

    Raises:
        InputError: It is none of unveil's.
    """
    if not isinstance(loaded.network, RestorationModel):
        raise InputError(f"{loaded.name} cannot be exported: expected a network of unveil's own")
    return loaded.network


def refuse_existing(files: tuple[Path, ...], force: bool) -> None:
    """Check that files are not there, or may be replaced.

    Args:
        files: To be written.
        force: Whether files that are there may be replaced.

    Raises:
        OutputError: One is there.
    """
    found = next((file for file in files if file.exists()), None)
    if found is not None and not force:
        raise OutputError(f"{found}: exists; give --force to replace it")


def _pair_of(target: Path) -> tuple[Path, Path]:
    stem = target.name.removesuffix(".onnx")
    return target.with_name(f"{stem}.statistics.onnx"), target.with_name(f"{stem}.restore.onnx")


def build_whole(loaded: LoadedModel, size: int | Literal["dynamic"] = "dynamic") -> onnx.ModelProto:
    """Return the graph that restores whole images.

    Args:
        loaded: The network, with its task.
        size: As for `export_onnx`.
    """
    form = WholeImages(prepared(loaded), loaded.conditioning)
    shape = _EXAMPLE if size == "dynamic" else (1, 3, size, size)
    graph = build_graph(
        form, (torch.rand(shape),), ["image"], ["restored"], dynamic=size == "dynamic"
    )
    _describe(graph, loaded, "whole")
    return graph


def build_pair(loaded: LoadedModel) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the graphs that gather an image's statistics, and that restore tiles with them."""
    network = restoration_model(loaded)
    statistics = statistics_of(network)
    names = [name for name in statistics if name not in loaded.conditioning]
    outputs = [f"statistic.{name}" for name in names]
    image, places = torch.rand(_EXAMPLE), torch.tensor([_WHOLE_IMAGE] * _EXAMPLE[0])
    first = build_graph(
        ImageStatistics(prepared(loaded), names), (image, places), ["image", "places"], outputs,
        dynamic=True,
    )  # fmt: skip
    given = [statistics[name] for name in names]
    second = build_graph(
        TilesOfAnImage(prepared(loaded), names, loaded.conditioning), (image, given),
        ["image", *outputs], ["restored"], dynamic=True,
    )  # fmt: skip
    shapes = {key: list(value.shape) for key, value in zip(outputs, given, strict=True)}
    _describe(first, loaded, "statistics", shapes)
    _describe(second, loaded, "restore", shapes)
    return first, second


def check_whole(
    loaded: LoadedModel, graph: onnx.ModelProto, sizes: tuple[tuple[int, int], ...]
) -> list[Agreement]:
    """Compare a graph of whole images with the network; see `compare`.

    Args:
        loaded: The network.
        graph: That takes whole images.
        sizes: Heights and widths to compare at, in pixels.
    """
    session = open_session(graph)

    def exported(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

    return compare(exported, _network(loaded), sizes)


def check_pair(
    loaded: LoadedModel, graphs: tuple[onnx.ModelProto, onnx.ModelProto]
) -> list[Agreement]:
    """Compare the pair with the network, the image itself being the one sample and the one tile.

    Args:
        loaded: The network.
        graphs: The graph of statistics, and that of tiles.
    """
    gather, restore = (open_session(graph) for graph in graphs)
    names = [output.name for output in gather.get_outputs()]
    places = torch.tensor([_WHOLE_IMAGE]).numpy()

    def exported(image: Tensor) -> Tensor:
        found = gather.run(names, {"image": image.numpy(), "places": places})
        given = {"image": image.numpy(), **dict(zip(names, found, strict=True))}
        return torch.from_numpy(restore.run(None, given)[0])

    return compare(exported, _network(loaded), SIZES)


def _network(loaded: LoadedModel) -> Callable[[Tensor], Tensor]:
    """Return the network itself, on whole images, with the statistics of its task."""
    context = FixedStatistics(loaded.conditioning) if loaded.conditioning else None
    model = restoration_model(loaded)
    return lambda image: restore_tensor(model, image, context)


def prepared(loaded: LoadedModel) -> RestorationModel:
    """Return a copy of the network that can be exported.

    Args:
        loaded: The network.

    Raises:
        InputError: It is none of unveil's.
    """
    network = copy.deepcopy(restoration_model(loaded)).cpu().float().eval().requires_grad_(False)
    replace_scans(network)
    return network


def statistics_of(network: RestorationModel) -> dict[str, Tensor]:
    """Return statistics of a small random image by layer, as examples of names and shapes."""
    side = network.size_multiple * 2
    return dict(network.collect_statistics(torch.rand(1, 3, side, side)).statistics)


def _describe(
    graph: onnx.ModelProto,
    loaded: LoadedModel,
    part: Literal["whole", "statistics", "restore"],
    statistics: Mapping[str, list[int]] | None = None,
) -> None:
    """Write into a graph what it is and how it is used."""
    network, tiling = restoration_model(loaded), loaded.tiling
    entries: dict[str, Any] = {
        "id": network.model_id,
        "version": __version__,
        "licence": read_card(loaded.name).license if loaded.name in bundled_weights() else "",
        "sha256": weights_digest(network),
        "config": json.dumps(network.config.model_dump(mode="json")),
        "part": part,
        "task": loaded.task,
        "size_multiple": network.size_multiple,
        "tile": tiling.tile,
        "overlap": tiling.overlap,
        "samples": "sRGB-encoded, 0 to 1, planes red, green, blue; the result is not clipped",
    }
    if statistics is not None:
        entries["statistics"] = json.dumps(statistics)
        entries["places"] = "top, bottom, left, right of each sample as shares of its image"
    for key, value in entries.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = f"unveil.{key}", str(value)


def weights_digest(network: torch.nn.Module) -> str:
    """Return the SHA-256 of a network's weights: names and values, in the order of the names."""
    state = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        state.update(name.encode())
        state.update(cast("Any", tensor.detach().cpu().contiguous().numpy()).tobytes())
    return state.hexdigest()
