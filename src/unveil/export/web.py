"""A network as ONNX graphs over one file of weights, as the page of `unveil web` runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from unveil.export.graph import build_graph
from unveil.export.graph_modules import Form, WholeImages, prepared, restoration_model
from unveil.export.onnx import check_whole
from unveil.export.parts import statistics_form, tile_forms
from unveil.export.stages import PARTS
from unveil.inference.diagnosis import LinearProbe
from unveil.inference.loading import LoadedModel

WEIGHTS = "weights.bin"
# Smaller tensors stay in their graph.
_SMALLEST = 1024
_CHECKED = ((65, 47), (128, 96))


def write_network(folder: Path, loaded: LoadedModel, readout: LinearProbe | None) -> dict[str, Any]:
    """Write the graphs and their weights.

    Args:
        folder: A new folder.
        loaded: The network.
        readout: Its degradation estimate, if it has one.

    Returns:
        How tiles are laid and what they share.

    Raises:
        UnveilError: If a graph does not give what the network gives, or the network cannot be
            exported.
    """
    folder.mkdir(parents=True)
    network, tiling = restoration_model(loaded), loaded.tiling
    forms = network_forms(loaded, readout)
    graphs = {name: build_graph(*form, dynamic=True) for name, form in forms.items()}
    check_whole(loaded, graphs["whole"], _CHECKED)
    data = share_weights(list(graphs.values()), WEIGHTS)
    (folder / WEIGHTS).write_bytes(data)
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    return {
        "size_multiple": network.size_multiple,
        "tile": tiling.tile,
        "overlap": tiling.overlap,
        "whole_megapixels": tiling.whole_megapixels,
        "statistics": network.has_statistics,
        "stages": {part: sum(name.startswith(f"{part}.") for name in forms) for part in PARTS},
    }


def network_forms(loaded: LoadedModel, readout: LinearProbe | None) -> dict[str, Form]:
    """Return the forms of a network that `worker.js` runs, by the names it calls them.

    Args:
        loaded: The network.
        readout: Its degradation estimate, if it has one.

    Returns:
        Module, example arguments (of two images, as a size of one would become a constant), names
        of the inputs and of the outputs.
    """
    image = torch.rand(2, 3, 52, 68)
    network = prepared(loaded)
    whole = Form(WholeImages(network, loaded.conditioning), (image,), ["image"], ["restored"])
    if not network.has_statistics:
        return {"whole": whole}
    return {"whole": whole, **tile_forms(loaded), "statistics": statistics_form(loaded, readout)}


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
