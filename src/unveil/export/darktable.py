"""`export_darktable`: a denoiser as a package for darktable's neural restore (darktable 5.6).

A ``.dtmodel`` is a zip archive with one folder, named like the model: first ``config.json``, then
``model.onnx``. The interface is darktable's: input and output of one image ``(1, 3, H, W)``,
float32, sRGB-encoded, tiles of a size that the configuration names, with a margin of 64 pixels
that darktable mirrors at the image's rim and cuts off again.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from unveil._version import __version__
from unveil.errors import InputError
from unveil.export.graph_modules import restoration_model
from unveil.export.onnx import (
    Exported,
    build_whole,
    check_whole,
    refuse_existing,
)
from unveil.imaging.atomic import replacing
from unveil.inference.loading import load
from unveil.models.card import ModelCard, read_card
from unveil.models.checkpoint import bundled_weights
from unveil.models.registry import get_record

TILE = 768
# Zip archives cannot hold earlier dates; a fixed one makes the file the same every time.
_DATE = (1980, 1, 1, 0, 0, 0)
# Others than the CPU have not been tried with these graphs.
_PROVIDERS = ("CoreML", "CUDA", "DirectML", "MIGraphX", "OpenVINO")


def export_darktable(model: str | Path, target: Path, *, force: bool = False) -> Exported:
    """Write a denoiser as a package that darktable installs.

    Args:
        model: A model's id, weights file or folder.
        target: The ``.dtmodel`` file.
        force: Replace a file that is there.

    Returns:
        The file, and how well it agrees with the network in ONNX Runtime.

    Raises:
        InputError: The network is not for noise, or looks at the whole image: darktable shows it
            tiles alone.
        OutputError: As `unveil.export.export_onnx`.
    """
    loaded = load(model)
    network = restoration_model(loaded)
    if network.has_statistics:
        raise InputError(
            f"{loaded.name} looks at the whole image, and darktable shows it tiles alone; export a "
            "network without such layers, e.g. cu_mamba_small"
        )
    if "denoise" not in get_record(network.model_id).tasks:
        raise InputError(f"{loaded.name} is not for noise, which darktable's task denoise is")
    refuse_existing((target,), force)
    graph = build_whole(loaded)
    # Batch 1 is darktable's; a fixed one lets its runtime plan memory.
    for item in (*graph.graph.input, *graph.graph.output):
        item.type.tensor_type.shape.dim[0].dim_value = 1
    agreements = check_whole(loaded, graph, ((64, 64), (TILE, TILE)))
    about = read_card(loaded.name) if loaded.name in bundled_weights() else None
    content = configuration(network.model_id, about)
    config = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _add(archive, f"{network.model_id}/config.json", config.encode())
        _add(archive, f"{network.model_id}/model.onnx", graph.SerializeToString())
    return Exported((target,), tuple(agreements))


def configuration(model_id: str, about: ModelCard | None = None) -> dict[str, Any]:
    """Return what ``config.json`` holds.

    Args:
        model_id: Of the network.
        about: What darktable shows of the weights; None for weights that are not bundled.

    >>> configuration("cu_mamba_small")["task"]
    'denoise'
    """
    major, minor = __version__.split(".")[:2]
    record = get_record(model_id)
    made: dict[str, Any] = {
        "id": model_id,
        "name": f"unveil {model_id}",
        "description": f"Blind colour denoising by {record.paper}",
        "task": "denoise",
        "arch": model_id.rpartition("_")[0],
        "backend": "onnx",
        "version": f"{major}.{minor}",
        "tiling": True,
        "num_inputs": 1,
        "attributes": {"input_sizes": [TILE]},
        "cpu_only": list(_PROVIDERS),
    }
    if about is not None:
        made["model_card"] = {
            "long_description": about.summary,
            "scope": "single-image denoising",
            "author": about.author,
            "paper": f"https://arxiv.org/abs/{about.arxiv}",
            "license": about.license,
            "training_data": about.training_data,
            "training_data_license": about.training_data_license,
            "notes": about.notes,
        }
    return made


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    archive.writestr(entry, content)
