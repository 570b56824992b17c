"""Describe tensors to the kernel library: one array of 64-bit integers, see `native/src/scan.h`."""

import struct
from dataclasses import dataclass

import torch
from torch import Tensor

from unveil.ops.selective_scan.contract import ScanArguments

_DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_ORDERS = {"row": 0, "column": 1, "row_reversed": 2, "column_reversed": 3}
_ABSENT = (0,) * 8

# Where the axes of a tensor go among the kernel's strides (b, h, w, k, g, c).
_B, _H, _W, _K, _G, _C = range(6)
_STRIDE = 2  # strides follow the address and the dtype
_U = {"bdl": (_B, _C, _W), "bld": (_B, _W, _C), "bhwd": (_B, _H, _W, _C)}
_DELTA = {**_U, "bhwd": (_B, _H, _W, _K, _C)}
_PROJECTION = {
    ("bdl", 3): (_B, _C, _W),
    ("bdl", 4): (_B, _G, _C, _W),
    ("bld", 3): (_B, _W, _C),
    ("bld", 4): (_B, _W, _G, _C),
    ("bhwd", 5): (_B, _H, _W, _K, _C),
}
_PARAMETER = {2: (_G, _C), 3: (_K, _G, _C)}
_STATE = {3: (_B, _G, _C), 4: (_B, _K, _G, _C)}
_PER_BATCH = (_B, _K, _G)
_KEPT = (_B, _K, _H, _C, _G)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of one scan, in the kernel's terms.

    Attributes:
        batch: b.
        height: h; 1 for a sequence.
        width: w, or l for a sequence.
        directions: k.
        channels: d.
        states: n.
        groups: Groups of B and C.
        rank: r of the factors of delta; 0 when delta is given itself.
    """

    batch: int
    height: int
    width: int
    directions: int
    channels: int
    states: int
    groups: int
    rank: int

    def packed(self) -> bytes:
        """Pack the leading fields of a `ScanArgs`: the work's partition depends on no others."""
        return struct.pack("8q", *self.fields())

    def fields(self) -> tuple[int, ...]:
        """List the sizes in the order of `ScanArgs`."""
        return (
            self.batch, self.height, self.width, self.directions, self.channels, self.states,
            self.groups, self.rank,
        )  # fmt: skip

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.height * self.width

    @classmethod
    def of(cls, a: ScanArguments) -> "Sizes":
        """Read the sizes off checked arguments.

        >>> x = torch.zeros(2, 3, 5)
        >>> Sizes.of(ScanArguments(x, x, x[0, :, :1], x, x, None, None, None, False)).channels
        5
        """
        shape, n = a.u.shape, a.A.shape[-1]
        if a.layout == "bhwd":
            rank = 0 if a.delta_weight is None else a.delta_weight.shape[2]
            return cls(shape[0], shape[1], shape[2], len(a.orders), shape[3], n, 1, rank)
        group_axis = 1 if a.layout == "bdl" else 2
        groups = max(x.shape[group_axis] if x.dim() == 4 else 1 for x in (a.B, a.C))
        d, length = (shape[1], shape[2]) if a.layout == "bdl" else (shape[2], shape[1])
        return cls(shape[0], 1, length, 1, d, n, groups, 0)


def pack(
    a: ScanArguments,
    sizes: Sizes,
    *,
    out: Tensor | None = None,
    last: Tensor | None = None,
    kept: Tensor | None = None,
    parts: int = 1,
    gradients: dict[str, Tensor | None] | None = None,
) -> bytes:
    """Pack a call's arguments for the kernel library.

    Args:
        a: Checked arguments.
        sizes: Their sizes.
        out: Result, as u.
        last: Last state.
        kept: States kept for the backward (b, k, segments, n, d).
        parts: Partial sums in the gradients of B and C, and of a delta that channels share.
        gradients: Backward only: "dout", "dlast" and the buffers for results by argument.

    Returns:
        The bytes of a `ScanArgs`.
    """
    grads = gradients or {}
    u_axes, delta_axes = _U[a.layout], _DELTA[a.layout]
    delta, A, bias = _view(a.delta, delta_axes), _by_rank(a.A, _PARAMETER), _channels(a.delta_bias)
    shared = delta[_STRIDE + _C] == A[_STRIDE + _G] == bias[_STRIDE + _G] == sizes.rank == 0
    summed = shares_delta(a, sizes)
    ddelta, dB, dC = grads.get("delta"), grads.get("B"), grads.get("C")
    values = (
        *sizes.fields(),
        sum(_ORDERS[order] << 2 * k for k, order in enumerate(a.orders)),
        int(a.delta_softplus), int(shared), int(a.B.dim() == 2), int(a.C.dim() == 2),
        int(summed), parts,
        *(0 if x is None else x.stride(0) for x in (dB, dC, ddelta)),
        *_view(a.u, u_axes), *delta, *A, *_projection(a.B, a), *_projection(a.C, a),
        *_channels(a.D), *_view(a.z, u_axes), *bias,
        *_by_rank(a.delta_weight, _PARAMETER), *_by_rank(a.initial_state, _STATE),
        *_view(out, u_axes), *_by_rank(last, _STATE), *_view(kept, _KEPT),
        *_view(grads.get("dout"), u_axes), *_by_rank(grads.get("dlast"), _STATE),
        *_view(grads.get("u"), u_axes),
        *_view(_first_part(ddelta) if summed or sizes.rank else ddelta, delta_axes),
        *_by_rank(grads.get("A"), _STATE),
        *_projection_gradient(a.B, dB, a), *_projection_gradient(a.C, dC, a),
        *_view(grads.get("D"), _PER_BATCH), *_view(grads.get("z"), u_axes),
        *_view(grads.get("delta_bias"), _PER_BATCH), *_by_rank(grads.get("delta_weight"), _STATE),
        *_by_rank(grads.get("initial_state"), _STATE),
    )  # fmt: skip
    return struct.pack(f"{len(values)}q", *values)


def shares_delta(a: ScanArguments, sizes: Sizes) -> bool:
    """Whether one delta serves all channels, so that its gradient is a sum over them.

    Args:
        a: Checked arguments.
        sizes: Their sizes.
    """
    axis = 1 if a.layout == "bdl" else -1
    return sizes.rank == 0 and a.delta.shape[axis] == 1 and sizes.channels > 1


def _view(x: Tensor | None, axes: tuple[int, ...]) -> tuple[int, ...]:
    if x is None:
        return _ABSENT
    strides = [0] * 6
    # An axis of one element has no stride of its own: it serves whatever is asked for.
    for axis, size, stride in zip(axes, x.shape, x.stride()):  # noqa: B905 (checked shapes)
        if size > 1:
            strides[axis] = stride
    return (x.data_ptr(), _DTYPES[x.dtype], *strides)


def _by_rank(x: Tensor | None, axes: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    return _ABSENT if x is None else _view(x, axes[x.dim()])


def _channels(x: Tensor | None) -> tuple[int, ...]:
    return _by_rank(x, {1: (_G,), 2: (_K, _G)})


def _projection(x: Tensor, a: ScanArguments) -> tuple[int, ...]:
    return _view(x, _PARAMETER[2] if x.dim() == 2 else _PROJECTION[a.layout, x.dim()])


def _projection_gradient(x: Tensor, dx: Tensor | None, a: ScanArguments) -> tuple[int, ...]:
    if dx is None or x.dim() == 2:
        return _by_rank(dx, _STATE)
    return _projection(dx[0], a)


def _first_part(x: Tensor | None) -> Tensor | None:
    return None if x is None else x[0]
