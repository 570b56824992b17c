"""Causal depth-wise convolution along tokens, Mamba's, with the activation behind it."""

from typing import Literal, get_args

from torch import Tensor

from unveil.errors import InputError
from unveil.ops.causal_conv1d.native import CAUSAL_CONV, MOST_TAPS
from unveil.ops.dispatch import OpBackend, route
from unveil.ops.selective_scan import ScanOrder

__all__ = ["causal_conv1d"]


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Literal["none", "silu"] = "silu",
    *,
    order: ScanOrder = "row",
    backend: OpBackend = "auto",
) -> Tensor:
    """Convolve every channel along the tokens, seeing only earlier ones, and apply SiLU.

    y_t = SiLU(bias + sum_i weight_i x_(t - taps + 1 + i)), zeros before the first token. The tokens
    of an image are taken in any scan order by index arithmetic, without copies. Where the native
    kernel runs: see `depthwise_conv`.

    Args:
        x: Tokens (b, l, d) or an image (b, h, w, d).
        weight: (d, 1, taps), as `torch.nn.Conv1d` stores it, the last tap for the present token;
            with more than 4 taps the native kernel does not run.
        bias: (d,).
        activation: ``"silu"`` or ``"none"``.
        order: The scan order along which the convolution is causal; "row" or "row_reversed" for
            (b, l, d).
        backend: ``"auto"``, or ``"reference"`` or ``"native"``, which then runs or raises.

    Returns:
        Shaped and typed as x.

    Raises:
        InputError: An argument has the wrong shape, or a name is unknown.
        BackendUnavailableError: The backend asked for cannot run this call.

    Source: Gu and Dao, "Mamba" (arXiv:2312.00752), section 3.4.

    >>> import torch
    >>> x, weight = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[10.0, 1.0]]])
    >>> causal_conv1d(x, weight, activation="none").flatten()
    tensor([ 1., 12., 23.])
    """
    _check(x, weight, bias, activation, order)
    options = activation == "silu", order.startswith("column"), order.endswith("reversed")
    taps = weight.shape[2]
    limit = f"{taps} taps, expected at most {MOST_TAPS}" if taps > MOST_TAPS else None
    chosen = route(backend, x, weight, bias, limit=limit)
    image = x if x.dim() == 4 else x.unsqueeze(1)
    y = CAUSAL_CONV.run(chosen, image, weight, bias, *options)
    return y if x.dim() == 4 else y.squeeze(1)


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, order: str) -> None:
    if x.dim() not in (3, 4):
        raise InputError(f"x has shape {tuple(x.shape)}, expected (b, l, d) or (b, h, w, d)")
    orders = get_args(ScanOrder) if x.dim() == 4 else ("row", "row_reversed")
    if order not in orders:
        raise InputError(f"order is {order!r}, expected one of {', '.join(orders)}")
    if activation not in ("none", "silu"):
        raise InputError(f"activation is {activation!r}, expected 'none' or 'silu'")
    channels = x.shape[-1]
    if weight.dim() != 3 or weight.shape[:2] != (channels, 1) or weight.shape[2] == 0:
        given = tuple(weight.shape)
        raise InputError(f"weight has shape {given}, expected ({channels}, 1, taps)")
    if bias is not None and bias.shape != (channels,):
        raise InputError(f"bias has shape {tuple(bias.shape)}, expected ({channels},)")
