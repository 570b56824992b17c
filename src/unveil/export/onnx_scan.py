"""The selective scan in standard ONNX operators: by rows of an image, in three `Scan` nodes.

A `Scan` that stepped through an image token by token would take one tiny step per pixel. Here the
first steps through the columns of all rows at once, each row from a zero state, and ends with one
state per row. The second steps through the rows: what enters a row is what entered the last one,
decayed by exp(A · ΣΔ), plus that row's own state. The third steps through the columns again, from
what enters each row, and makes the output. Exponents are never positive: nothing overflows.

The other scan orders exchange rows and columns, or step backwards; a sequence is an image of one
row. See docs/decisions/0018-onnx-by-rows.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from unveil.export.nodes import Nodes
from unveil.layers.channel_ssm import ChannelSSM
from unveil.layers.scan import ImageScan
from unveil.ops import ScanOrder

DOMAIN, OPERATOR = "unveil", "SelectiveScan"

Constant = npt.NDArray[Any]


def replace_scans(network: nn.Module) -> None:
    """Let a network's scans leave one node each in an exported graph, for `scan_nodes`."""
    for module in network.modules():
        if isinstance(module, ImageScan | ChannelSSM):
            image = isinstance(module, ImageScan)
            setattr(module, "scan", image_placeholder if image else sequence_placeholder)  # noqa: B010


def image_placeholder(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    orders: tuple[ScanOrder, ...] = ("row",),
    delta_weight: Tensor | None = None,
) -> Tensor:
    """Stand in for `unveil.ops.selective_scan_2d`: its arguments, one node.

    Args:
        u: (b, h, w, d).
        delta: (b, h, w, k, d), or (b, h, w, k, r) with `delta_weight`.
        A: (k, d, n).
        B: (b, h, w, k, n).
        C: (b, h, w, k, n).
        D: (k, d).
        delta_bias: (k, d).
        delta_softplus: Whether softplus follows the bias.
        orders: Scan order of each k.
        delta_weight: (k, d, r).
    """
    given = (u, delta, A, B, C, D, delta_bias, delta_weight)
    return _placeholder(given, ",".join(orders), delta_softplus)


def sequence_placeholder(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *, delta_softplus: bool = False
) -> Tensor:
    """Stand in for `unveil.ops.selective_scan`, layout "bdl": an image of one row.

    Args:
        u: (b, d, l).
        delta: (b, d, l).
        A: (d, n).
        B: (b, n, l).
        C: (b, n, l).
        delta_softplus: Whether delta passes through softplus.
    """
    tokens = [x.transpose(1, 2)[:, None] for x in (u, delta, B, C)]
    delta, B, C = (x[:, :, :, None] for x in tokens[1:])
    given = (tokens[0], delta, A[None], B, C, None, None, None)
    return _placeholder(given, "row", delta_softplus)[:, 0].transpose(1, 2)


def _placeholder(given: Sequence[Tensor | None], orders: str, softplus: bool) -> Tensor:
    u = given[0]
    assert u is not None
    made: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OPERATOR}",
        given,
        {"orders": orders, "softplus": int(softplus)},
        dtype=u.dtype,
        shape=u.shape,
        version=1,
    )
    return made


def scan_nodes(node: onnx.NodeProto, constants: Mapping[str, Constant], prefix: str) -> Nodes:
    """Return what takes a placeholder's place: standard nodes with the same output.

    Args:
        node: The placeholder's node.
        constants: Constants of the graph by name: A, D, Δ's bias and weight are among them.
        prefix: Starts the new names.
    """
    nodes = Nodes(prefix)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    u, delta, A, B, C, D, bias, weight = inputs
    orders = attributes["orders"].decode().split(",")
    parts = zip(*(_by_direction(nodes, x, len(orders)) for x in (delta, B, C)), strict=True)
    outputs = []
    for k, (order, (low_rank, B_k, C_k)) in enumerate(zip(orders, parts, strict=True)):
        step = low_rank
        if weight:
            step = nodes.add("MatMul", step, nodes.constant(constants[weight][k].T))
        if bias:
            step = nodes.add("Add", step, nodes.constant(constants[bias][k]))
        if attributes["softplus"]:
            step = softplus(nodes, step)
        drive = nodes.add("Mul", step, u)
        outputs.append(_direction(nodes, Direction(step, drive, B_k, C_k, constants[A][k], order)))
    if D:
        outputs.append(nodes.add("Mul", u, nodes.constant(constants[D].sum(0))))
    *first, last = outputs
    for y in first:
        last = nodes.add("Add", last, y)
    nodes.nodes.append(helper.make_node("Identity", [last], list(node.output)))
    return nodes


def _by_direction(nodes: Nodes, x: str, directions: int) -> list[str]:
    """Split (b, h, w, k, ·) into k tensors (b, h, w, ·)."""
    axis = nodes.constant([3], np.int64)
    parts = nodes.add_many("Split", [x], directions, axis=3, num_outputs=directions)
    return [nodes.add("Squeeze", part, axis) for part in parts]


def softplus(nodes: Nodes, x: str) -> str:
    """Add ln(1 + eˣ), and return its name.

    ONNX Runtime's own operator takes several times as long as its parts. ln(1 + e) · e / ((1 + e)
    − 1) in place of ln(1 + e) keeps small results exact (Kahan); they would lose up to 2 %.

    Args:
        nodes: The graph that is built.
        x: Name of the value.
    """
    one = nodes.constant(1.0)
    e = nodes.add("Exp", nodes.add("Neg", nodes.add("Abs", x)))
    sum_ = nodes.add("Add", e, one)
    rounded = nodes.add("Sub", sum_, one)
    lost = nodes.add("Equal", rounded, nodes.constant(0.0))
    divisor = nodes.add("Max", rounded, nodes.constant(1e-30))
    log = nodes.add("Div", nodes.add("Mul", nodes.add("Log", sum_), e), divisor)
    return nodes.add("Add", nodes.add("Relu", x), nodes.add("Where", lost, e, log))


@dataclass(frozen=True)
class Direction:
    """One scan order of a call: names of tensors (b, h, w, d) or (b, h, w, n), and A.

    Attributes:
        delta: Step sizes.
        drive: Δ · u.
        B: B of every token.
        C: C of every token.
        A: (d, n).
        order: Scan order.
    """

    delta: str
    drive: str
    B: str
    C: str
    A: Constant
    order: str

    @property
    def along(self) -> int:
        """The axis of (b, h, w, ·) within a row."""
        return 1 if self.order.startswith("column") else 2

    @property
    def backwards(self) -> int:
        """1 when tokens come in reverse."""
        return int(self.order.endswith("reversed"))


def _direction(nodes: Nodes, d: Direction) -> str:
    """Add one direction, and return the name of its output (b, h, w, d); states are (n, b, ·, d).

    "Rows" below are columns where the order scans columns.
    """
    # (step, n, b, row, 1): the steps first, as `Scan` would have to bring them there itself.
    steps_first = [d.along, 3, 0, 3 - d.along]
    last = nodes.constant([4], np.int64)
    B, C = (
        nodes.add("Unsqueeze", nodes.add("Transpose", x, perm=steps_first), last)
        for x in (d.B, d.C)
    )
    row_sums = nodes.add("ReduceSum", d.delta, nodes.constant([d.along], np.int64), keepdims=0)
    zero = nodes.add("Mul", row_sums, nodes.constant(np.zeros((d.A.shape[1], 1, 1, 1))))
    (ends,) = nodes.add_many(
        "Scan", [zero, d.delta, d.drive, B], 1, body=_row_body(nodes, d), num_scan_inputs=3,
        scan_input_axes=[d.along, d.along, 0], scan_input_directions=[d.backwards] * 3,
    )  # fmt: skip
    start = nodes.add("ReduceSum", zero, nodes.constant([2], np.int64), keepdims=0)
    _, entering = nodes.add_many(
        "Scan", [start, row_sums, ends], 2, body=_carry_body(nodes, d), num_scan_inputs=2,
        scan_input_axes=[1, 2], scan_input_directions=[d.backwards] * 2,
        scan_output_axes=[2], scan_output_directions=[d.backwards],
    )  # fmt: skip
    _, y = nodes.add_many(
        "Scan", [entering, d.delta, d.drive, B, C], 2, body=_row_body(nodes, d, output=True),
        num_scan_inputs=4, scan_input_axes=[d.along, d.along, 0, 0],
        scan_input_directions=[d.backwards] * 4,
        scan_output_axes=[d.along], scan_output_directions=[d.backwards],
    )  # fmt: skip
    return y


def _row_body(nodes: Nodes, d: Direction, *, output: bool = False) -> onnx.GraphProto:
    """Return h' = exp(ΔA) h + (Δu) B of one step in all rows, and C h' when it is asked for."""
    inner = Nodes(nodes.name())
    h, delta, drive, B, C = (inner.name() for _ in range(5))
    decay = inner.add("Exp", inner.add("Mul", delta, inner.constant(d.A.T[:, None, None])))
    after = inner.add("Add", inner.add("Mul", decay, h), inner.add("Mul", drive, B))
    if not output:
        return inner.body({h: 4, delta: 3, drive: 3, B: 4}, {after: 4})
    states = inner.constant([0], np.int64)
    y = inner.add("ReduceSum", inner.add("Mul", after, C), states, keepdims=0)
    return inner.body({h: 4, delta: 3, drive: 3, B: 4, C: 4}, {after: 4, y: 3})


def _carry_body(nodes: Nodes, d: Direction) -> onnx.GraphProto:
    """Return what enters the next row, and what entered this one."""
    inner = Nodes(nodes.name())
    h, row_sum, end = (inner.name() for _ in range(3))
    decay = inner.add("Exp", inner.add("Mul", row_sum, inner.constant(d.A.T[:, None])))
    after = inner.add("Add", inner.add("Mul", decay, h), end)
    return inner.body({h: 3, row_sum: 2, end: 3}, {after: 3, h: 3})
