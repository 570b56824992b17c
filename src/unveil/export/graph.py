"""From a module to an ONNX graph of standard operators that takes every size."""

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.export import Dim

from unveil.export.onnx_scan import DOMAIN, OPERATOR, Constant, scan_nodes

OPSET = 18
# That of opset 18; programs with older runtimes refuse newer ones.
IR_VERSION = 8
# Of an image.
_CHANNELS = 3
# What the exporter calls a free size.
_SYMBOL = re.compile(r"\bs\d+\b")

_FOLDED: dict[str, Callable[[Constant], Constant]] = {
    "Exp": np.exp,
    "Neg": np.negative,
    "Identity": np.asarray,
}


def build_graph(
    form: nn.Module,
    examples: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    dynamic: bool,
) -> onnx.ModelProto:
    """Export a module.

    Args:
        form: Of its inputs of four axes, ``image`` is ``(n, 3, h, w)``, others are features
            ``(n, h, w, f)``. Lists named like their layers are statistics, of one size.
        examples: Arguments for it; their sizes are not those of the graph.
        inputs: Names of the graph's inputs.
        outputs: Names of its outputs.
        dynamic: Whether batch, height and width are free; else they are those of the examples.

    Returns:
        The model: opset 18, IR version 8, weights inside, nothing of this machine.
    """
    with _quiet(), torch.no_grad():
        program = torch.export.export(
            form,
            examples,
            dynamic_shapes=_shapes(examples) if dynamic else None,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        # Such as the way to a stage of a network.
        program.graph.eliminate_dead_code()
        made = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert made is not None
    model = made.model_proto
    _expand_scans(model)
    _clean(model)
    if dynamic:
        _name_axes(model, several=len(_first(examples)) > 1)
    onnx.checker.check_model(model)
    return model


def _shapes(examples: tuple[Any, ...]) -> tuple[Any, ...]:
    """Free batch, height and width of images and features, and the batch of what else has one."""
    # With named axes the exporter refuses sizes below the network's multiple, which its graph takes
    # all the same; `_name_axes` sees to it that the axes stay free.
    number = len(_first(examples))

    def free(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [free(one) for one in value]
        if value.dtype == torch.int64:
            # Positions, of any number.
            return {0: Dim.AUTO}
        if not value.ndim or len(value) != number:
            return None
        return {axis: Dim.AUTO for axis in (0, *_sides(value)) if value.shape[axis] > 1}

    return tuple(free(value) for value in examples)


def _first(values: Any) -> Any:
    return _first(values[0]) if isinstance(values, list | tuple) else values


def _sides(value: Tensor) -> tuple[int, ...]:
    """Return the axes of height and width."""
    if value.ndim != 4:
        return ()
    return (2, 3) if value.shape[1] == _CHANNELS else (1, 2)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's own messages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _expand_scans(model: onnx.ModelProto) -> None:
    """Put standard nodes in the place of the scans' placeholders."""
    graph = model.graph
    constants = _constants(graph)
    nodes: list[onnx.NodeProto] = []
    for node in list(graph.node):
        if (node.domain, node.op_type) != (DOMAIN, OPERATOR):
            nodes.append(node)
            continue
        made = scan_nodes(node, constants, f"scan{len(nodes)}")
        nodes += made.nodes
        graph.initializer.extend(made.constants)
    del graph.node[:]
    graph.node.extend(nodes)


def _constants(graph: onnx.GraphProto) -> dict[str, Constant]:
    """Return the graph's constants, and what a scan's parameters are made of them."""
    known: dict[str, Constant] = {
        item.name: numpy_helper.to_array(item) for item in graph.initializer
    }
    for node in graph.node:
        fold = _FOLDED.get(node.op_type)
        if fold is not None and node.input[0] in known:
            known[node.output[0]] = fold(known[node.input[0]])
        elif node.op_type == "Unsqueeze" and all(name in known for name in node.input):
            known[node.output[0]] = np.expand_dims(
                known[node.input[0]], tuple(known[node.input[1]].tolist())
            )
        elif node.op_type == "Expand" and all(name in known for name in node.input):
            shape = tuple(known[node.input[1]].tolist())
            known[node.output[0]] = known[node.input[0]] * np.ones(shape, np.float32)
    return known


def _clean(model: onnx.ModelProto) -> None:
    """Remove what is not used, and what the exporter notes of its own doings."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "unveil", ""
    del model.metadata_props[:]
    for opset in list(model.opset_import):
        if opset.domain:
            model.opset_import.remove(opset)
    graph = model.graph
    _remove_unused(graph)
    del graph.value_info[:]
    graph.name, graph.doc_string = "unveil", ""
    items = [*graph.node, *graph.input, *graph.output, *graph.initializer, graph]
    for item in items:
        item.doc_string = ""
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that no output comes from."""
    wanted = {item.name for item in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    nodes, constants = kept[::-1], [c for c in graph.initializer if c.name in wanted]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _name_axes(model: onnx.ModelProto, *, several: bool) -> None:
    """Call the free axes by their names, and make sure that they are free.

    Args:
        model: The graph.
        several: Whether its examples were several images, so that the batch is free.
    """
    items = [*model.graph.input, *model.graph.output]
    symbols: dict[str, str] = {}
    for item in items:
        axes = item.type.tensor_type.shape.dim
        for axis, name in _axis_names(item.name, axes).items():
            if name == "batch" and not several:
                continue
            assert not axes[axis].HasField("dim_value"), f"{item.name}: {name} became a constant"
            symbols.setdefault(axes[axis].dim_param, name)
            axes[axis].dim_param = name
    for item in items:
        for size in item.type.tensor_type.shape.dim:
            if size.dim_param:
                # Such as s11//2.
                size.dim_param = _SYMBOL.sub(lambda m: symbols.get(m[0], m[0]), size.dim_param)


def _axis_names(item: str, axes: Sequence[Any]) -> dict[int, str]:
    """Return the names of an input's or output's free axes, by axis.

    Args:
        item: Its name.
        axes: Its sizes.
    """
    if item in ("rows", "columns"):
        return {0: item}
    if item == "places":
        return {0: "batch"}
    if item not in ("image", "restored", "held.0"):
        return {}
    down = 2 if axes[1].dim_value == _CHANNELS else 1
    return {0: "batch", down: "height", down + 1: "width"}
