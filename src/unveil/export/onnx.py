"""A network as ONNX files that run without unveil, checked before they are written."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import onnx
import torch
from torch import Tensor

from unveil._version import __version__
from unveil.errors import InputError, OutputError
from unveil.export.graph import build_graph
from unveil.export.graph_modules import FixedStatistics, WholeImages, prepared, restoration_model
from unveil.export.parity import SIZES, Agreement, compare, open_session
from unveil.export.parts import check_tiles, tile_forms
from unveil.imaging.atomic import write_bytes
from unveil.inference.loading import LoadedModel, load
from unveil.inference.options import TaskChoice
from unveil.inference.padding import restore_tensor
from unveil.models.card import read_card
from unveil.models.checkpoint import bundled_weights

SMALLEST, LARGEST = 1, 8192
# Sizes of the examples that are exported: not multiples, and different from each other.
_EXAMPLE = (2, 3, 52, 68)


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
        tiles: For networks that look at the whole image: write files whose tiles share what is
            decided by all of it, ``NAME.encode.0.onnx``, … ``NAME.restore.3.onnx``, see
            `unveil.export.stages`; of networks whose tiles make their own latent
            ``NAME.statistics.onnx`` and ``NAME.restore.onnx``. Metadata gives their order, and
            names inputs and outputs.
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
    stem = target.name.removesuffix(".onnx")
    forms = tile_forms(loaded) if tiles else {}
    parts = (*forms,) or ("whole",)
    files = tuple(target.with_name(f"{stem}.{part}.onnx") if tiles else target for part in parts)
    refuse_existing(files, force)
    if tiles:
        graphs = {part: build_graph(*form, dynamic=True) for part, form in forms.items()}
        for part, graph in graphs.items():
            _describe(graph, loaded, part, parts)
        agreements = check_tiles(loaded, graphs)
    else:
        graphs = {"whole": build_whole(loaded, size)}
        sizes = SIZES if size == "dynamic" else ((size, size),)
        agreements = check_whole(loaded, graphs["whole"], sizes)
    for file, part in zip(files, parts, strict=True):
        write_bytes(file, graphs[part].SerializeToString())
    return Exported(files, tuple(agreements))


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
    _describe(graph, loaded, "whole", ())
    return graph


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


def _network(loaded: LoadedModel) -> Callable[[Tensor], Tensor]:
    """Return the network itself, on whole images, with the statistics of its task."""
    statistics = FixedStatistics(loaded.conditioning) if loaded.conditioning else None
    model = restoration_model(loaded)
    return lambda image: restore_tensor(model, image, statistics)


def _describe(
    graph: onnx.ModelProto, loaded: LoadedModel, part: str, parts: tuple[str, ...]
) -> None:
    """Write into a graph what it is, and among which parts in which order it is used."""
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
    if parts:
        entries["inputs"] = json.dumps(_axes(graph.graph.input))
        entries["outputs"] = json.dumps(_axes(graph.graph.output))
        entries["parts"] = ", ".join(parts)
        entries["place"] = "top, bottom, left, right as shares of the image"
    for key, value in entries.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = f"unveil.{key}", str(value)


def _axes(values: Iterable[onnx.ValueInfoProto]) -> dict[str, list[int | str]]:
    """Return the axes of inputs or outputs by name."""
    return {
        value.name: [a.dim_param or a.dim_value for a in value.type.tensor_type.shape.dim]
        for value in values
    }


def weights_digest(network: torch.nn.Module) -> str:
    """Return the SHA-256 of a network's weights: names and values, in the order of the names."""
    state = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        state.update(name.encode())
        state.update(cast("Any", tensor.detach().cpu().contiguous().numpy()).tobytes())
    return state.hexdigest()
