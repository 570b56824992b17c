"""The inside of a Mamba block, with `mamba_ssm`'s interface and that of Vision Mamba's fork.

Source: Mamba (arXiv 2312.00752), figure 3; Vision Mamba (arXiv 2401.09417), algorithm 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unveil.compat.complex_scan import complex_scan, paired
from unveil.compat.selective_scan_interface import by_the_loop
from unveil.errors import InputError
from unveil.ops import causal_conv1d, selective_scan
from unveil.ops.selective_scan.contract import Backend


class Branch(NamedTuple):
    """What a scan takes: everything about one direction but the states' decay.

    Attributes:
        u: `(b, l, d)`.
        delta: `(b, l, d)`.
        B: `(b, l, n)`, `(b, l, g, n)` or `(d, n)`.
        C: Like `B`.
        z: `(b, l, d)`.
    """

    u: Tensor
    delta: Tensor
    B: Tensor
    C: Tensor
    z: Tensor

    def reversed(self) -> "Branch":
        """Return the same with the last token first."""
        B, C = (p if p.dim() == 2 else p.flip(1) for p in (self.B, self.C))
        return Branch(self.u.flip(1), self.delta.flip(1), B, C, self.z.flip(1))

    def scan(
        self,
        A: Tensor,
        D: Tensor | None,
        delta_bias: Tensor | None,
        delta_softplus: bool,
        backend: Backend,
    ) -> tuple[Tensor, Tensor]:
        """Return the gated result `(b, l, d)` and the state after the last token `(b, d, n)`.

        Args:
            A: (d, n).
            D: (d,).
            delta_bias: (d,).
            delta_softplus: Whether delta passes through softplus.
            backend: As for `unveil.ops.selective_scan`.
        """
        given = self.u, self.delta, A, self.B, self.C, D, self.z
        if A.is_complex():
            return complex_scan(*given, delta_bias, delta_softplus, layout="bld", backend=backend)
        result = selective_scan(
            *given,
            delta_bias=delta_bias,
            delta_softplus=delta_softplus,
            return_last_state=True,
            layout="bld",
            backend=backend,
        )
        assert isinstance(result, tuple)
        return result


def mamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
    b_rms_weight: Tensor | None = None,
    c_rms_weight: Tensor | None = None,
    dt_rms_weight: Tensor | None = None,
    b_c_dt_rms_eps: float = 1e-6,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Run a Mamba block from the output of its input projection to its own output.

    Args:
        xz: `(b, 2 d, l)`: the branch to scan, then the gate.
        conv1d_weight: `(d, 1, width)`, causal and depthwise.
        conv1d_bias: `(d,)` or None.
        x_proj_weight: `(r [+ n] [+ n], d)`: rows for Δ's low rank, then for B and C if projected,
            two for each complex state.
        delta_proj_weight: `(d, r)`.
        out_proj_weight: `(d_model, d)`.
        out_proj_bias: `(d_model,)` or None.
        A: `(d, n)`, real or complex.
        B: What `selective_scan_fn` takes, or None to project it from the input.
        C: Like `B`.
        D: `(d,)` or None.
        delta_bias: `(d,)` or None.
        B_proj_bias: `(n,)` or None, added to a projected `B`.
        C_proj_bias: `(n,)` or None.
        delta_softplus: Apply softplus to Δ.
        checkpoint_lvl: Taken for the interface's sake; the scan always recomputes its states.
        b_rms_weight: `(n,)` or None: RMS-normalise a projected `B` and scale it.
        c_rms_weight: Likewise for `C`.
        dt_rms_weight: `(d,)` or None: likewise for the projected Δ.
        b_c_dt_rms_eps: Added to the mean square.
        backend: As in `unveil.ops.selective_scan`; not part of the original interface.

    Returns:
        `(b, l, d_model)`.

    Raises:
        InputError: A shape does not fit.

    Example:
        >>> import torch
        >>> xz, taps, one = torch.ones(1, 2, 5), torch.ones(1, 1, 4), torch.ones(1, 1)
        >>> mamba_inner_fn(xz, taps, None, torch.ones(3, 1), one, one, None, -one).shape
        torch.Size([1, 5, 1])
    """
    del checkpoint_lvl
    weights = b_rms_weight, c_rms_weight, dt_rms_weight
    branch = project(
        *(xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, A.shape[1]),
        *(B, C, B_proj_bias, C_proj_bias, weights, b_c_dt_rms_eps),
        pairs=A.is_complex(),
    )
    y, _ = branch.scan(A, D, delta_bias, delta_softplus, backend)
    return F.linear(y, out_proj_weight, out_proj_bias)


def mamba_inner_fn_no_out_proj(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    A: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Run a Mamba block up to, not including, its output projection; channels first.

    The arguments are those of `mamba_inner_fn`.

    Returns:
        `(b, d, l)`.

    Raises:
        InputError: A shape does not fit.
    """
    del checkpoint_lvl
    branch = project(
        *(xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, A.shape[1]),
        *(B, C, B_proj_bias, C_proj_bias),
        pairs=A.is_complex(),
    )
    y, _ = branch.scan(A, D, delta_bias, delta_softplus, backend)
    return y.transpose(1, 2)


def bimamba_inner_fn(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    A: Tensor,
    A_b: Tensor,
    B: Tensor | None = None,
    C: Tensor | None = None,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    delta_softplus: bool = True,
    checkpoint_lvl: int = 1,
    *,
    backend: Backend = "auto",
) -> Tensor:
    """Run a Mamba block whose scan goes both ways with shared projections, `bimamba_type="v1"`.

    The arguments are those of `mamba_inner_fn`, and `A_b`, `(d, n)`: the decay of the scan from the
    last token to the first.

    Returns:
        `(b, l, d_model)`.

    Raises:
        InputError: A shape does not fit.
    """
    del checkpoint_lvl
    branch = project(
        *(xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, A.shape[1]),
        *(B, C, B_proj_bias, C_proj_bias),
        pairs=A.is_complex(),
    )
    forwards, _ = branch.scan(A, D, delta_bias, delta_softplus, backend)
    backwards, _ = branch.reversed().scan(A_b, D, delta_bias, delta_softplus, backend)
    return F.linear(forwards + backwards.flip(1), out_proj_weight, out_proj_bias)


def project(
    xz: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    x_proj_weight: Tensor,
    delta_proj_weight: Tensor,
    n: int,
    B: Tensor | None = None,
    C: Tensor | None = None,
    B_proj_bias: Tensor | None = None,
    C_proj_bias: Tensor | None = None,
    rms_weights: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None),
    eps: float = 1e-6,
    pairs: bool = False,
) -> Branch:
    """Convolve the branch to scan and project Δ, B and C from it.

    The arguments are those of `mamba_inner_fn` but for the states per channel `n`; `rms_weights`,
    which are `b_rms_weight`, `c_rms_weight` and `dt_rms_weight`; `eps`, its `b_c_dt_rms_eps`; and
    `pairs`: states are complex, with a real and an imaginary row each in `x_proj_weight`.

    Raises:
        InputError: `xz` has another shape, or no tokens.
    """
    if xz.dim() != 3 or xz.shape[1] != 2 * len(conv1d_weight) or xz.shape[2] == 0:
        raise InputError(
            f"xz has shape {tuple(xz.shape)}, expected (b, {2 * len(conv1d_weight)}, l), l > 0"
        )
    rank = delta_proj_weight.shape[1]
    x, z = xz.chunk(2, dim=1)
    wide = torch.promote_types(x.dtype, conv1d_weight.dtype)
    bias = None if conv1d_bias is None else conv1d_bias.to(wide)
    u = causal_conv1d(x.transpose(1, 2).to(wide), conv1d_weight.to(wide), bias).to(x.dtype)
    projected = F.linear(u, x_proj_weight)
    of_B, of_C, of_delta = rms_weights
    delta = F.linear(projected[..., :rank], delta_proj_weight)
    rows = 2 * n if pairs else n
    for_B, for_C = projected[..., rank : rank + rows], projected[..., -rows:]
    join = paired if pairs else _unchanged
    B = join(_normalised(for_B, B_proj_bias, of_B, eps)) if B is None else _channels_last(B, join)
    C = join(_normalised(for_C, C_proj_bias, of_C, eps)) if C is None else _channels_last(C, join)
    return Branch(u, _normalised(delta, None, of_delta, eps), B, C, z.transpose(1, 2))


mamba_inner_ref = by_the_loop(mamba_inner_fn)
bimamba_inner_ref = by_the_loop(bimamba_inner_fn)


class MambaInnerFn:
    """What `mamba_ssm` calls its autograd function: callers use `apply` alone."""

    apply = staticmethod(mamba_inner_fn)


class MambaInnerFnNoOutProj:
    """Likewise without the output projection."""

    apply = staticmethod(mamba_inner_fn_no_out_proj)


class BiMambaInnerFn:
    """Likewise with a scan that goes both ways."""

    apply = staticmethod(bimamba_inner_fn)


def _normalised(x: Tensor, bias: Tensor | None, scale: Tensor | None, eps: float) -> Tensor:
    x = x if bias is None else x + bias.to(x.dtype)
    return x if scale is None else F.rms_norm(x, scale.shape, scale.to(x.dtype), eps)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _channels_last(x: Tensor, join: Callable[[Tensor], Tensor]) -> Tensor:
    """Turn `(b, [g,] n, l)` into `(b, l, [g,] n)`; a constant `(d, n)` stays."""
    return x if x.dim() == 2 else join(x).movedim(-1, 1)
