"""The convolution network that the small variants are timed against."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvolutionYardstick(nn.Module):
    """Twelve dense 3×3 convolutions with 96 channels at half resolution.

    FFDNet-colour's shape (arXiv 1710.04026): 0.85 M parameters, 212 k multiply-adds per pixel, and
    nothing but what CPUs are best at. Channels-last in memory, its faster layout.
    """

    size_multiple = 2

    def __init__(self, depth: int = 12, width: int = 96) -> None:
        super().__init__()
        widths = [12, *[width] * (depth - 1), 12]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 3, padding=1) for c_in, c_out in pairwise(widths)
        )
        # Typed loosely: torch's stubs lack this form of Module.to.
        to_layout: Any = self.to
        to_layout(memory_format=torch.channels_last)

    def forward(self, degraded: Tensor) -> Tensor:
        """Map ``(b, 3, h, w)`` to the same shape; h and w are even."""
        x = F.pixel_unshuffle(degraded, 2).contiguous(memory_format=torch.channels_last)
        *hidden, last = self.convolutions
        for convolution in hidden:
            x = F.relu(convolution(x))
        return degraded + F.pixel_shuffle(last(x), 2)


def in_onnx_runtime(network: ConvolutionYardstick) -> Callable[[Tensor], Tensor] | None:
    """Return the convolutions of `network` in ONNX Runtime, a faster engine for them than PyTorch.

    Returns:
        Maps ``(1, 3, h, w)`` to the same shape, on as many threads as PyTorch uses; None where
        onnx or onnxruntime (extra ``bench``) is not installed.
    """
    try:
        import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415

        model = _onnx_model(network)
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(degraded: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"degraded": degraded.numpy()})[0])

    return run


def _onnx_model(network: ConvolutionYardstick) -> bytes:
    """Write the yardstick as an ONNX graph."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    last = len(network.convolutions) - 1
    nodes = [helper.make_node("SpaceToDepth", ["degraded"], ["x0"], blocksize=2)]
    values = []
    for i, convolution in enumerate(network.convolutions):
        weight, bias = (value.detach() for value in convolution.parameters())
        if i == 0:
            # ONNX's SpaceToDepth counts colours last, PyTorch's pixel_unshuffle first.
            weight = weight.view(-1, 3, 4, 3, 3).transpose(1, 2).reshape(weight.shape)
        arrays = {f"w{i}": weight, f"b{i}": bias}
        values += [numpy_helper.from_array(v.numpy(), k) for k, v in arrays.items()]
        out = f"c{i}" if i < last else "residual"
        nodes.append(helper.make_node("Conv", [f"x{i}", *arrays], [out], pads=[1, 1, 1, 1]))
        if i < last:
            nodes.append(helper.make_node("Relu", [out], [f"x{i + 1}"]))
    nodes.append(helper.make_node("DepthToSpace", ["residual"], ["full"], blocksize=2, mode="CRD"))
    nodes.append(helper.make_node("Add", ["degraded", "full"], ["restored"]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "h", "w"])
        for name in ("degraded", "restored")
    ]
    graph = helper.make_graph(nodes, "yardstick", ends[:1], ends[1:], values)
    opset = [helper.make_opsetid("", 18)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    return model
