"""The compiled module `causal_conv1d_cuda`, whose functions vision networks call directly.

Its arguments grew with its versions. A call is understood by their number.
"""

from typing import Any

import torch
from torch import Tensor

from unveil.compat import causal_conv1d as convolution
from unveil.errors import InputError

# How many arguments a call has → their names, by version of causal_conv1d.
_FORWARD = {
    4: ("silu",),  # 1.0
    5: ("seq_idx", "silu"),  # 1.1
    7: ("seq_idx", "initial", "final", "silu"),  # 1.2 to 1.4
    8: ("seq_idx", "initial", "out", "final", "silu"),  # 1.5
}
_BACKWARD = {
    6: ("dx", "silu"),
    7: ("seq_idx", "dx", "silu"),
    10: ("seq_idx", "initial", "dfinal", "dx", "with_dinitial", "silu"),
    12: ("seq_idx", "initial", "dfinal", "dx", "dweight", "dbias", "dinitial", "silu"),
}
_UPDATE = {
    5: ("silu",),
    6: ("silu", "seqlens"),
    7: ("silu", "seqlens", "indices"),
    8: ("out", "silu", "seqlens", "indices"),
}


def causal_conv1d_fwd(x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
    """Convolve; see `causal_conv1d_fn`.

    Args:
        x: `(b, d, l)`.
        weight: `(d, width)`.
        bias: `(d,)` or None.
        options: As in versions 1.0 to 1.6.

    Returns:
        `(b, d, l)`; also written to the `out` that newer versions pass.

    Raises:
        InputError: No version takes this number of arguments.
    """
    given = _named("causal_conv1d_fwd", _FORWARD, 3, options)
    with torch.no_grad():
        y = _convolve(x, weight, bias, given.get("seq_idx"), given.get("initial"), given["silu"])
        if given.get("final") is not None:
            _write_final(given["final"], x, given.get("initial"))
    return y if given.get("out") is None else given["out"].copy_(y)


def causal_conv1d_bwd(
    x: Tensor, weight: Tensor, bias: Tensor | None, dout: Tensor, *options: Any
) -> list[Tensor | None]:
    """Return the gradients of `causal_conv1d_fwd`.

    `x`, `weight` and `bias` are what that was given, `dout` is the gradient of its result,
    `(b, d, l)`. Tensors for gradients among the options are overwritten.

    Returns:
        Gradients of x, weight and bias, and of the initial states where a version has them.

    Raises:
        InputError: No version takes this number of arguments.
    """
    given = _named("causal_conv1d_bwd", _BACKWARD, 4, options)
    initial = given.get("initial")
    leaves = [
        None if t is None else t.detach().requires_grad_() for t in (x, weight, bias, initial)
    ]
    with torch.enable_grad():
        of_x, of_weight, of_bias, of_initial = leaves
        y = _convolve(of_x, of_weight, of_bias, given.get("seq_idx"), of_initial, given["silu"])
        results, upstream = [y], [dout.to(y.dtype)]
        if given.get("dfinal") is not None:
            final = torch.empty_like(given["dfinal"])
            results.append(_write_final(final, of_x, of_initial))
            upstream.append(given["dfinal"])
    wanted = [leaf for leaf in leaves if leaf is not None]
    found = iter(torch.autograd.grad(results, wanted, upstream))
    gradients = [None if leaf is None else next(found) for leaf in leaves]
    names = ("dx", "dweight", "dbias", "dinitial")
    filled = [
        gradient if gradient is None or given.get(name) is None else given[name].copy_(gradient)
        for name, gradient in zip(names, gradients, strict=True)
    ]
    return filled if len(options) > 3 else filled[:3]


def causal_conv1d_update(
    x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None, *options: Any
) -> Tensor:
    """Continue a convolution; see `causal_conv1d_update` of the package.

    Args:
        x: `(b, d)` or `(b, d, l)`.
        conv_state: `(b, d, s)`, updated.
        weight: `(d, width)`.
        bias: `(d,)` or None.
        options: As in versions 1.0 to 1.6.

    Returns:
        Like `x`; also written to the `out` that newer versions pass.

    Raises:
        InputError: No version takes this number of arguments.
    """
    given = _named("causal_conv1d_update", _UPDATE, 4, options)
    activation = "silu" if given["silu"] else None
    seqlens, indices = given.get("seqlens"), given.get("indices")
    y = convolution.causal_conv1d_update(x, conv_state, weight, bias, activation, seqlens, indices)
    return y if given.get("out") is None else given["out"].copy_(y)


def _named(
    function: str, versions: dict[int, tuple[str, ...]], before: int, options: tuple[Any, ...]
) -> dict[str, Any]:
    names = versions.get(before + len(options))
    if names is None:
        counts = ", ".join(map(str, versions))
        raise InputError(f"{function} got {before + len(options)} arguments, expected {counts}")
    return dict(zip(names, options, strict=True))


def _convolve(
    x: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    seq_idx: Tensor | None,
    initial: Tensor | None,
    silu: bool,
) -> Tensor:
    assert x is not None
    assert weight is not None
    activation = "silu" if silu else None
    y = convolution.causal_conv1d_fn(
        x, weight, bias, seq_idx, initial_states=initial, activation=activation
    )
    assert isinstance(y, Tensor)
    return y


def _write_final(final: Tensor, x: Tensor | None, initial: Tensor | None) -> Tensor:
    assert x is not None
    past = final.shape[-1]
    before = x.new_zeros(*x.shape[:2], past) if initial is None else initial.to(x.dtype)
    return final.copy_(torch.cat([before, x], dim=-1)[..., -past:])
