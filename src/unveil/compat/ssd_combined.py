"""Mamba-2's scan and the inside of its block, with the interface of `mamba_ssm`'s functions.

Everything here ends in `unveil.ops.ssd`.

Source: Mamba-2 (arXiv 2405.21060), section 6 and figure 6.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.compat.causal_conv1d import causal_conv1d_fn
from unveil.compat.layernorm_gated import rmsnorm_fn
from unveil.compat.selective_scan_interface import by_the_loop
from unveil.errors import InputError
from unveil.ops.ssd import SsdBackend, ssd_scan

Limit = tuple[float, float]
_NO_LIMIT: Limit = (0.0, math.inf)


def mamba_chunk_scan_combined(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int | None = None,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    *options: Any,
    **named: Any,
) -> Any:
    """Scan with one decay per head.

    Args:
        x: `(b, l, h, p)`.
        dt: `(b, l, h)`.
        A: `(h,)`.
        B: `(b, l, g, n)`.
        C: `(b, l, g, n)`.
        chunk_size: Taken for the interface's sake: the kernel has its own.
        D: `(h,)` or `(h, p)`, or None.
        z: `(b, l, h, p)` or None; the result is multiplied by SiLU of it.
        dt_bias: `(h,)` or None.
        initial_states: `(b, h, p, n)` or None.
        seq_idx: `(b, l)` integers or None; where the number changes, the state is forgotten.
        options: In this order, `cu_seqlens` (`(s + 1,)` integers, from version 2.2 on),
            `dt_softplus`, `dt_limit`, `return_final_states`, `return_varlen_states`, `state_dtype`.
        named: The same by name, and `backend`, which is not part of the original interface.

    Returns:
        `(b, l, h, p)`; with `return_final_states` and `return_varlen_states` a tuple with the last
        state `(b, h, p, n)` and the last state of every sequence of `cu_seqlens` `(s, h, p, n)`.

    Raises:
        InputError: A shape does not fit, or an option is unknown.
    """
    del chunk_size
    given = _options(options, named)
    cu_seqlens = given["cu_seqlens"]
    if given["return_varlen_states"] and (cu_seqlens is None or x.shape[0] != 1):
        raise InputError("return_varlen_states needs cu_seqlens and a batch of one")
    x, dt, A, B, C, D, z, dt_bias, initial_states = map(
        _plain, (x, dt, A, B, C, D, z, dt_bias, initial_states)
    )
    steps = {
        "dt_bias": dt_bias,
        "dt_softplus": given["dt_softplus"],
        "dt_limit": given["dt_limit"],
        "backend": given["backend"],
    }
    y, last = ssd_scan(
        *(x, dt, A, B, C, D, z),
        **steps,
        initial_state=initial_states,
        sequence_index=seq_idx,
    )
    results = [y]
    if given["return_final_states"]:
        results.append(last)
    if given["return_varlen_states"]:
        bounds = cu_seqlens.tolist()
        parts = [[v[:, begin:end] for v in (x, dt, B, C)] for begin, end in pairwise(bounds)]
        lasts = [ssd_scan(u, step, A, in_, out, **steps)[1] for u, step, in_, out in parts]
        results.append(torch.cat(lasts))
    return y if len(results) == 1 else tuple(results)


_ORDER = (
    "cu_seqlens",
    "dt_softplus",
    "dt_limit",
    "return_final_states",
    "return_varlen_states",
    "state_dtype",
)


def _options(options: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    # Before version 2.2 there was no cu_seqlens: a bool in its place is dt_softplus.
    order = _ORDER[1:] if options and isinstance(options[0], bool) else _ORDER
    given: dict[str, Any] = dict.fromkeys(_ORDER, False)
    given.update(cu_seqlens=None, dt_limit=_NO_LIMIT, state_dtype=None, backend="auto")
    if unknown := sorted(set(named) - set(given)):
        raise InputError(f"mamba_chunk_scan_combined has no option {unknown[0]!r}")
    if len(options) > len(order):
        raise InputError(f"mamba_chunk_scan_combined got {11 + len(options)} arguments")
    given.update(zip(order, options, strict=False))
    return given | named


def mamba_chunk_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int | None = None,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    *,
    backend: SsdBackend = "auto",
) -> Tensor:
    """Scan as `mamba_chunk_scan_combined` does."""
    y: Tensor = mamba_chunk_scan_combined(
        *(x, dt, A, B, C, chunk_size, D, z, dt_bias),
        dt_softplus=dt_softplus,
        backend=backend,
    )
    return y


ssd_chunk_scan_combined_ref = by_the_loop(mamba_chunk_scan)


def ssd_selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: Limit = _NO_LIMIT,
) -> Tensor:
    """Scan as `mamba_chunk_scan_combined` does."""
    y: Tensor = mamba_chunk_scan_combined(
        x, dt, A, B, C, None, D, z, dt_bias, dt_softplus=dt_softplus, dt_limit=dt_limit
    )
    return y


def mamba_conv1d_scan_ref(
    xBC: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt: Tensor,
    A: Tensor,
    chunk_size: int | None = None,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: Limit = _NO_LIMIT,
    activation: str | None = "silu",
    headdim: int | None = None,
    ngroups: int = 1,
) -> Tensor:
    """Convolve and scan, by the plain loop.

    The arguments are those of `mamba_split_conv1d_scan_combined`, whose input comes in parts here:
    `xBC`, `(b, l, h p + 2 g n)`, the step sizes `dt`, `(b, l, h)`, and the gate `z`, `(b, l, h p)`
    or None. With `dt_softplus`, `dt` passes through softplus after the bias.

    Returns:
        `(b, l, h p)`.
    """
    del chunk_size
    width = _headdim(D, headdim)
    x, B, C = _convolve(xBC, conv1d_weight, conv1d_bias, None, activation, len(A) * width, ngroups)
    y: Tensor = mamba_chunk_scan_combined(
        *(torch.unflatten(x, -1, (-1, width)), dt, A, B, C, None, D),
        z=None if z is None else torch.unflatten(z, -1, (-1, width)),
        dt_bias=dt_bias,
        dt_softplus=dt_softplus,
        dt_limit=dt_limit,
        backend="reference",
    )
    return y.flatten(2)


def mamba_split_conv1d_scan_combined(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int | None = None,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    dt_limit: Limit = _NO_LIMIT,
    return_final_states: bool = False,
    activation: str | None = "silu",
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor | None = None,
    outproj_bias: Tensor | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
    state_dtype: torch.dtype | None = None,
    *,
    backend: SsdBackend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run a Mamba-2 block from the output of its input projection to its own output.

    Args:
        zxbcdt: `(b, l, 2 m + 2 h p + 2 g n + h)`: two halves of a gated MLP of width m, the gate,
            the input, B, C and the step sizes.
        conv1d_weight: `(h p + 2 g n, width)`.
        conv1d_bias: `(h p + 2 g n,)` or None.
        dt_bias: `(h,)`.
        A: `(h,)`.
        D: `(h,)` or `(h, p)`.
        chunk_size: Taken for the interface's sake.
        initial_states: `(b, h, p, n)` or None.
        seq_idx: `(b, l)` integers or None; where the number changes, the state is forgotten.
        dt_limit: Range that the step sizes are held to.
        return_final_states: Also return the last state.
        activation: Of the convolution, `"silu"`, `"swish"` or None.
        rmsnorm_weight: `(h p,)`: normalise and gate; without it, gate alone.
        rmsnorm_eps: Added to the mean square.
        outproj_weight: `(d, m + h p)` or None.
        outproj_bias: `(d,)` or None.
        headdim: p, where `D` does not give it.
        ngroups: g.
        norm_before_gate: Gate the normalised values; otherwise normalise the gated ones.
        state_dtype: Taken for the interface's sake: states are fp32.
        backend: As in `unveil.ops.ssd`; not part of the original interface.

    Returns:
        `(b, l, d)`; with `return_final_states`, a pair.

    Raises:
        InputError: A shape does not fit.
    """
    del chunk_size, state_dtype
    split = _split(zxbcdt, conv1d_weight, len(A), _headdim(D, headdim), ngroups)
    y, last = _convolve_and_scan(
        split,
        *(conv1d_weight, conv1d_bias, dt_bias, A, D, initial_states, seq_idx),
        dt_limit=dt_limit,
        activation=activation,
        gated=rmsnorm_weight is None,
        backend=backend,
    )
    if rmsnorm_weight is not None:
        size = y.shape[-1] // ngroups
        y = rmsnorm_fn(y, rmsnorm_weight, None, split.z, rmsnorm_eps, size, norm_before_gate)
    if split.mlp.shape[-1]:
        opened, passed = split.mlp.chunk(2, dim=-1)
        y = torch.cat([F.silu(opened) * passed, y], dim=-1)
    if outproj_weight is not None:
        y = F.linear(y, outproj_weight, outproj_bias)
    return (y, last) if return_final_states else y


def mamba_split_conv1d_scan_ref(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int | None = None,
    dt_limit: Limit = _NO_LIMIT,
    activation: str | None = "silu",
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor | None = None,
    outproj_bias: Tensor | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
) -> Tensor:
    """Run a block as the original's reference does, by the plain loop.

    It normalises over all channels, as the original does under this name. The original's block and
    its `mamba_split_conv1d_scan_combined` normalise each group: with `ngroups` above 1 and
    `rmsnorm_weight` the two functions give different values, there and here. The arguments are its
    own; `zxbcdt` has no MLP.

    Returns:
        `(b, l, d)`.

    Raises:
        InputError: A shape does not fit.
    """
    del chunk_size
    split = _split(zxbcdt, conv1d_weight, len(A), _headdim(D, headdim), ngroups)
    y, _ = _convolve_and_scan(
        split,
        *(conv1d_weight, conv1d_bias, dt_bias, A, D, None, None),
        dt_limit=dt_limit,
        activation=activation,
        gated=rmsnorm_weight is None,
        backend="reference",
    )
    if rmsnorm_weight is not None:
        y = rmsnorm_fn(y, rmsnorm_weight, None, split.z, rmsnorm_eps, None, norm_before_gate)
    return y if outproj_weight is None else F.linear(y, outproj_weight, outproj_bias)


class _Split(NamedTuple):
    """What the input projection of a block gives, and its sizes."""

    mlp: Tensor
    z: Tensor
    mixed: Tensor
    dt: Tensor
    width: int
    groups: int


def _split(zxbcdt: Tensor, conv1d_weight: Tensor, heads: int, width: int, groups: int) -> _Split:
    inner, mixed = heads * width, len(conv1d_weight)
    left = zxbcdt.shape[-1] - inner - mixed - heads
    if left < 0 or left % 2 or mixed <= inner or (mixed - inner) % (2 * groups):
        raise InputError(
            f"zxbcdt has {zxbcdt.shape[-1]} channels and the convolution {mixed}, which do not fit "
            f"{heads} heads of {width} channels and {groups} groups"
        )
    mlp, z, xBC, dt = torch.split(zxbcdt, [left, inner, mixed, heads], dim=-1)
    return _Split(mlp, z, xBC, dt, width, groups)


def _convolve_and_scan(
    split: _Split,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    initial_states: Tensor | None,
    seq_idx: Tensor | None,
    *,
    dt_limit: Limit,
    activation: str | None,
    gated: bool,
    backend: SsdBackend,
) -> tuple[Tensor, Tensor]:
    """Return `(b, l, h p)` and the last state."""
    x, B, C = _convolve(
        *(split.mixed, conv1d_weight, conv1d_bias, seq_idx, activation),
        split.z.shape[-1],
        split.groups,
    )
    heads = (-1, split.width)
    gate = torch.unflatten(split.z, -1, heads) if gated else None
    y, last = mamba_chunk_scan_combined(
        *(torch.unflatten(x, -1, heads), split.dt, A, B, C, None, D, gate, dt_bias),
        *(initial_states, seq_idx),
        dt_softplus=True,
        dt_limit=dt_limit,
        return_final_states=True,
        backend=backend,
    )
    return y.flatten(2), last


def _headdim(D: Tensor | None, headdim: int | None) -> int:
    width = D.shape[1] if D is not None and D.dim() == 2 else headdim
    if width is None:
        raise InputError("headdim is None and D has one axis: expected the channels of a head")
    return width


def _convolve(
    xBC: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    seq_idx: Tensor | None,
    activation: str | None,
    inner: int,
    groups: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x `(b, l, h p)`, B and C `(b, l, g, n)`."""
    mixed = causal_conv1d_fn(xBC.transpose(1, 2), weight, bias, seq_idx, activation=activation)
    assert isinstance(mixed, Tensor)
    projection = (weight.shape[0] - inner) // 2
    x, B, C = torch.split(mixed.transpose(1, 2), [inner, projection, projection], dim=-1)
    return x, torch.unflatten(B, -1, (groups, -1)), torch.unflatten(C, -1, (groups, -1))


def _plain(x: Tensor | None) -> Any:
    """Take a subclass of a network's own for the tensor that it is."""
    return x if x is None or type(x) is Tensor else x.as_subclass(Tensor)
