"""Nodes and constants of an ONNX graph in the making."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper


class Nodes:
    """Nodes and constants, with names of their own.

    Args:
        prefix: Starts every name.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self._count = 0

    def name(self) -> str:
        """Return a new name."""
        self._count += 1
        return f"{self.prefix}.{self._count}"

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, and return its name.

        Args:
            operator: Of ONNX, such as ``Mul``.
            *inputs: Names of values.
            **attributes: Of the operator.
        """
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        """Add a node, and return the names of its outputs.

        Args:
            operator: Of ONNX, such as ``Split``.
            inputs: Names of values.
            outputs: How many.
            **attributes: Of the operator.
        """
        names = [self.name() for _ in range(outputs)]
        node = helper.make_node(operator, inputs, names, name=self.name(), **attributes)
        self.nodes.append(node)
        return names

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant, and return its name.

        Args:
            values: Of any shape.
            dtype: Type of the constant.
        """
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def body(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> onnx.GraphProto:
        """Return the nodes as the body of a `Scan`.

        Args:
            inputs: Names and numbers of axes.
            outputs: Likewise; ONNX Runtime runs no body whose outputs' axes it cannot count.
        """
        # A body's output must be a node's: an input is passed on through `Identity`.
        made = {
            self.add("Identity", name) if name in inputs else name: axes
            for name, axes in outputs.items()
        }
        return helper.make_graph(
            self.nodes, self.prefix, _floats(inputs), _floats(made), initializer=self.constants
        )


def _floats(names: Mapping[str, int]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * axes)
        for name, axes in names.items()
    ]
