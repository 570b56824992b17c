"""The page as a folder for any static host: the browser restores, no server is needed."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from unveil.errors import CheckpointError, OutputError
from unveil.export.forms import ImageStatistics, TilesOfAnImage, WholeImages
from unveil.export.graph import build_graph
from unveil.export.latent import EncodedTile, RefinedLatent, TileWithLatent
from unveil.export.onnx import check_whole, prepared, restoration_model, statistics_of
from unveil.imaging.atomic import replacing_folder
from unveil.inference.loading import LoadedModel, load, read_out
from unveil.inference.readout import Readout
from unveil.serve.app import WEB
from unveil.serve.samples import SAMPLES

DEFAULT_MODEL = "mtair_small"
_WEIGHTS = "weights.bin"
# Smaller tensors stay in their graph.
_SMALLEST = 1024
_CHECKED = ((65, 47), (128, 96))
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'"
)
# For hosts that read it: threads need an isolated page.
_HEADERS = """/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
"""
_LEFT_OUT = ("server.js",)


def write_site(target: Path, model: str = DEFAULT_MODEL, *, force: bool = False) -> list[Path]:
    """Write the page, a network and the runtime; nothing is fetched.

    Args:
        target: The folder; a file `site.json` marks it as such.
        model: Id, weights file or folder.
        force: Replace a site that is there.

    Returns:
        The files.

    Raises:
        OutputError: If the folder holds something else, or cannot be written.
        InputError: If there is no such model.
        CheckpointError: If its weights are missing or damaged.
    """
    if target.exists() and any(target.iterdir()):
        if not (target / "site.json").exists():
            raise OutputError(f"{target}: holds other files; name a new or empty folder")
        if not force:
            raise OutputError(f"{target}: exists; give --force to replace it")
    loaded = load(model)
    with replacing_folder(target) as folder:
        _write_page(folder)
        description = _write_network(folder / "network", loaded)
        description["samples"] = _write_samples(folder / "samples", description["removes"])
        (folder / "site.json").write_text(json.dumps(description))
    return sorted(file for file in target.rglob("*") if file.is_file())


def _write_page(folder: Path) -> None:
    shutil.copytree(
        WEB, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_LEFT_OUT, "*.gz")
    )
    for packed in (WEB / "vendor").glob("*.gz"):
        (folder / "vendor" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    page = folder / "index.html"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    text = page.read_text(encoding="utf-8")
    text = text.replace('data-engine="server"', 'data-engine="browser"')
    page.write_text(text.replace("<title>", f"{policy}\n<title>", 1), encoding="utf-8")
    (folder / "_headers").write_text(_HEADERS)


def _write_samples(folder: Path, tasks: list[str]) -> list[dict[str, str]]:
    folder.mkdir()
    found = [sample for sample in SAMPLES if sample.task in tasks]
    for sample in found:
        (folder / f"{sample.id}.png").write_bytes(sample.content())
        (folder / f"{sample.id}.thumbnail.png").write_bytes(sample.thumbnail())
    return [{"id": s.id, "degradation": s.degradation, "about": s.about} for s in found]


def _write_network(folder: Path, loaded: LoadedModel) -> dict[str, Any]:
    """Write the graphs and their weights; return what the page needs to know about them."""
    folder.mkdir()
    network, tiling = restoration_model(loaded), loaded.tiling
    readout = _readout(loaded)
    forms = network_forms(loaded, readout)
    graphs = {name: build_graph(*form, dynamic=True) for name, form in forms.items()}
    check_whole(loaded, graphs["whole"], _CHECKED)
    data = share_weights(list(graphs.values()), _WEIGHTS)
    (folder / _WEIGHTS).write_bytes(data)
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    tasks = [task for task in ("denoise", "derain", "dehaze") if _does(loaded, task)]
    return {
        "model": {
            "id": loaded.name,
            "tasks": [],
            "inspects": readout is not None,
            "causes": list(readout.causes) if readout else [],
        },
        "removes": tasks,
        "weights": _WEIGHTS,
        "size_multiple": network.size_multiple,
        "tile": tiling.tile,
        "overlap": tiling.overlap,
        "whole_megapixels": tiling.whole_megapixels,
        "whole_latent": tiling.whole_latent,
        "statistics": network.has_statistics,
    }


def _does(loaded: LoadedModel, task: str) -> bool:
    from unveil.models.registry import get_record  # noqa: PLC0415

    model_id = getattr(loaded.network, "model_id", "")
    return bool(model_id) and task in get_record(model_id).tasks


def _readout(loaded: LoadedModel) -> Readout | None:
    try:
        return read_out(loaded)
    except CheckpointError:
        return None


Form = tuple[torch.nn.Module, tuple[Any, ...], list[str], list[str]]


def network_forms(loaded: LoadedModel, readout: Readout | None) -> dict[str, Form]:
    """Return the forms of a network that `worker.js` runs, by the names it calls them.

    Args:
        loaded: The network.
        readout: Its degradation estimate, if it has one.

    Returns:
        Module, example arguments (of two images, as a size of one would become a constant), names
        of the inputs and of the outputs.
    """
    network = prepared(loaded)
    image = torch.rand(2, 3, 52, 68)
    forms: dict[str, Form] = {
        "whole": (WholeImages(network, loaded.steering), (image,), ["image"], ["restored"])
    }
    if not network.has_statistics:
        return forms
    sample = statistics_of(network)
    names = list(sample)
    places = torch.tensor([[0.0, 1.0, 0.0, 1.0]] * 2)
    outputs = names if readout is None else [*names, "scores"]
    gather = ImageStatistics(network, names, readout)
    forms["statistics"] = gather, (image, places), ["image", "places"], outputs

    def given(chosen: list[str]) -> list[torch.Tensor]:
        return [sample[name] for name in chosen]

    if not loaded.tiling.whole_latent:
        tiles = TilesOfAnImage(network, names, loaded.steering)
        forms["restore"] = tiles, (image, given(names)), ["image", *names], ["restored"]
        return forms
    features = network.encode(torch.rand(2, 3, 56, 72), None)[0].permute(0, 3, 1, 2).contiguous()
    last = f"prompts.{len(network.downs)}."  # type: ignore[arg-type]
    deep = [name for name in names if name.startswith(("latent.", last))]
    early = [name for name in names if name.startswith("encoder.")]
    late = [name for name in names if name not in deep]
    forms["encode"] = (
        EncodedTile(network, early), (image, given(early)), ["image", *early], ["latent"]
    )  # fmt: skip
    forms["refine"] = (
        RefinedLatent(network, deep), (features, given(deep)), ["image", *deep], ["refined"]
    )  # fmt: skip
    forms["refine_whole"] = RefinedLatent(network, None), (features,), ["image"], ["refined"]
    forms["restore"] = (
        TileWithLatent(network, late, loaded.steering), (image, features, given(late)),
        ["image", "latent", *late], ["restored"],
    )  # fmt: skip
    return forms


def share_weights(graphs: list[onnx.ModelProto], location: str) -> bytes:
    """Move large constants of graphs into one file; equal ones are stored once.

    Constants that half precision holds exactly are stored so, and cast back in the graph.

    Args:
        graphs: Changed in place.
        location: Name of the file beside them.

    Returns:
        The file's bytes.
    """
    places: dict[tuple[bytes, str], tuple[int, int]] = {}
    data = bytearray()
    for model in graphs:
        for constant in [*model.graph.initializer]:
            values = numpy_helper.to_array(constant)
            if values.nbytes < _SMALLEST:
                continue
            half = values.astype(np.float16) if values.dtype == np.float32 else values
            exact = bool((half.astype(values.dtype) == values).all())
            stored = half if exact else values
            raw = np.ascontiguousarray(stored).tobytes()
            key = raw, str(stored.dtype)
            if key not in places:
                data += bytes(-len(data) % 64)
                places[key] = len(data), len(raw)
                data += raw
            name, kind = constant.name, helper.np_dtype_to_tensor_dtype(stored.dtype)
            if stored.dtype != values.dtype:
                constant.name = f"{name}.half"
                cast = helper.make_node("Cast", [constant.name], [name], to=TensorProto.FLOAT)
                model.graph.node.insert(0, cast)
            constant.ClearField("raw_data")
            constant.ClearField("float_data")
            constant.data_type = kind
            constant.data_location = TensorProto.EXTERNAL
            offset, length = places[key]
            entries = {"location": location, "offset": str(offset), "length": str(length)}
            for entry_key, value in entries.items():
                entry = constant.external_data.add()
                entry.key, entry.value = entry_key, value
    return bytes(data)
