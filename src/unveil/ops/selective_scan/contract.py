"""What the selective scan accepts: names, shapes, dtypes; every backend gets checked arguments."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unveil.errors import InputError

Layout = Literal["bdl", "bld"]
Backend = Literal["auto", "reference", "native", "torch", "triton"]
ScanOrder = Literal["row", "column", "row_reversed", "column_reversed"]

LAYOUTS: tuple[Layout, ...] = ("bdl", "bld")
BACKENDS: tuple[Backend, ...] = ("auto", "reference", "native", "torch", "triton")
ORDERS: tuple[ScanOrder, ...] = ("row", "column", "row_reversed", "column_reversed")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True, slots=True)
class ScanArguments:
    """Checked arguments of one scan, in the caller's axes.

    Attributes:
        u: Input, (b, d, l) or (b, l, d); 2-D: (b, h, w, d).
        delta: Step sizes, shaped as u, d may be 1; 2-D: (b, h, w, k, d), or (b, h, w, k, r) to be
            multiplied by `delta_weight`.
        A: (d, n) or (1, n); 2-D: (k, d, n).
        B: (d, n), or per token (b, n, l) / (b, l, n), or per token and group (b, g, n, l) /
            (b, l, g, n); 2-D: (b, h, w, k, n).
        C: As B.
        D: (d,); 2-D: (k, d).
        z: As u.
        delta_bias: (d,) or (1,); 2-D: (k, d).
        delta_softplus: Whether delta passes through softplus, after the bias.
        initial_state: (b, d, n).
        layout: Order of the axes; "bhwd" is the 2-D form.
        orders: Scan orders of the 2-D form, one per direction k.
        delta_weight: 2-D: (k, d, r).
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    z: Tensor | None
    delta_bias: Tensor | None
    delta_softplus: bool
    initial_state: Tensor | None = None
    layout: Literal["bdl", "bld", "bhwd"] = "bld"
    orders: tuple[ScanOrder, ...] = ("row",)
    delta_weight: Tensor | None = None

    def tensors(self) -> list[tuple[str, Tensor]]:
        """List the tensors that are present, with their names."""
        names = (
            "u",
            "delta",
            "A",
            "B",
            "C",
            "D",
            "z",
            "delta_bias",
            "initial_state",
            "delta_weight",
        )
        pairs = ((name, getattr(self, name)) for name in names)
        return [(name, value) for name, value in pairs if value is not None]


def state_dtype(arguments: ScanArguments) -> torch.dtype:
    """Return the dtype of the state: float64 when u is, otherwise float32.

    >>> x = torch.zeros(1, 2, 3)
    >>> state_dtype(ScanArguments(x, x, x[0], x, x, None, None, None, False))
    torch.float32
    """
    return torch.float64 if arguments.u.dtype == torch.float64 else torch.float32


def check_1d(arguments: ScanArguments) -> None:
    """Check the arguments of `selective_scan`.

    Args:
        arguments: What the caller gave.

    Raises:
        InputError: An argument has a wrong shape, dtype or device.

    >>> x = torch.zeros(1, 5, 2)
    >>> check_1d(ScanArguments(x, x, x[0, :2, :1], x, x, None, None, None, False))
    Traceback (most recent call last):
    ...
    unveil.errors.InputError: B has shape (1, 5, 2), expected (2, 1), (1, 5, 1) or (1, 5, groups, 1)
    """
    layout, u, A = arguments.layout, arguments.u, arguments.A
    if layout not in LAYOUTS:
        raise InputError(f"layout is {layout!r}, expected one of {', '.join(map(repr, LAYOUTS))}")
    if u.dim() != 3:
        raise InputError(f"u has shape {tuple(u.shape)}, expected ({', '.join(layout)})")
    batch, d, length = u.shape if layout == "bdl" else (u.shape[0], u.shape[2], u.shape[1])
    if A.dim() != 2 or A.shape[0] not in (1, d):
        _wrong("A", A, f"({d}, n)")
    n = A.shape[1]
    delta_shapes = [tuple(u.shape), (batch, 1, length) if layout == "bdl" else (batch, length, 1)]
    _expect("delta", arguments.delta, *delta_shapes)
    for name, value in (("B", arguments.B), ("C", arguments.C)):
        _check_projection(name, value, (batch, d, length, n), layout)
    _expect("D", arguments.D, (d,))
    _expect("z", arguments.z, tuple(u.shape))
    _expect("delta_bias", arguments.delta_bias, (d,), (1,))
    _expect("initial_state", arguments.initial_state, (batch, d, n))
    _check_types(arguments)


def check_2d(arguments: ScanArguments) -> None:
    """Check the arguments of `selective_scan_2d`.

    Args:
        arguments: What the caller gave.

    Raises:
        InputError: An argument has a wrong shape, dtype or device, or an order is unknown.
    """
    u, A, orders = arguments.u, arguments.A, arguments.orders
    if not orders or any(order not in ORDERS for order in orders):
        raise InputError(
            f"orders is {orders!r}, expected a tuple of {', '.join(map(repr, ORDERS))}"
        )
    if u.dim() != 4:
        raise InputError(f"u has shape {tuple(u.shape)}, expected (b, h, w, d)")
    (batch, height, width, d), k = u.shape, len(orders)
    if A.dim() != 3 or tuple(A.shape[:2]) != (k, d):
        _wrong("A", A, f"({k}, {d}, n) for {k} orders")
    rank, weight = d, arguments.delta_weight
    if weight is not None:
        if weight.dim() != 3 or tuple(weight.shape[:2]) != (k, d):
            _wrong("delta_weight", weight, f"({k}, {d}, rank)")
        rank = weight.shape[2]
    _expect("delta", arguments.delta, (batch, height, width, k, rank))
    _expect("B", arguments.B, (batch, height, width, k, A.shape[2]))
    _expect("C", arguments.C, (batch, height, width, k, A.shape[2]))
    _expect("D", arguments.D, (k, d))
    _expect("z", arguments.z, tuple(u.shape))
    _expect("delta_bias", arguments.delta_bias, (k, d))
    _check_types(arguments)


def check_finite(arguments: ScanArguments) -> None:
    """Check every tensor for NaN and infinities: the debug switch ``UNVEIL_CHECK_FINITE=1``.

    Args:
        arguments: Checked arguments.

    Raises:
        InputError: A tensor holds a value that is not finite, with its name and how many.
    """
    for name, value in arguments.tensors():
        wrong = value.numel() - int(torch.isfinite(value).sum())
        if wrong:
            raise InputError(f"{name} holds {wrong} values that are not finite, expected none")


def _check_projection(name: str, value: Tensor, sizes: tuple[int, ...], layout: Layout) -> None:
    batch, d, length, n = sizes
    shape = tuple(value.shape)
    per_token = (batch, n, length) if layout == "bdl" else (batch, length, n)
    if shape in ((d, n), per_token):
        return
    groups = 0
    if len(shape) == 4:
        groups = shape[1] if layout == "bdl" else shape[2]
    grouped = (batch, groups, n, length) if layout == "bdl" else (batch, length, groups, n)
    if groups and shape == grouped:
        if d % groups == 0:
            return
        raise InputError(f"{name} has {groups} groups, expected a divisor of d = {d}")
    per_group = f"({batch}, groups, {n}, {length})"
    if layout == "bld":
        per_group = f"({batch}, {length}, groups, {n})"
    _wrong(name, value, f"({d}, {n}), {per_token} or {per_group}")


def _expect(name: str, value: Tensor | None, *shapes: tuple[int, ...]) -> None:
    if value is not None and tuple(value.shape) not in shapes:
        _wrong(name, value, " or ".join(map(str, dict.fromkeys(shapes))))


def _wrong(name: str, value: Tensor, expected: str) -> None:
    raise InputError(f"{name} has shape {tuple(value.shape)}, expected {expected}")


def _check_types(arguments: ScanArguments) -> None:
    device = arguments.u.device
    for name, value in arguments.tensors():
        if value.dtype not in _DTYPES:
            raise InputError(f"{name} is {value.dtype}, expected a real floating dtype")
        if value.device != device:
            raise InputError(f"{name} is on {value.device}, expected {device} as u")
