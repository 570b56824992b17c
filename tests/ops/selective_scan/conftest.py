"""Cases of the selective scan, drawn as Mamba initialises it, and what they are compared with."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from unveil.ops import native, selective_scan, selective_scan_2d

Case = dict[str, Any]


def _mamba_parameters(*lead: int, d: int, n: int) -> tuple[Tensor, Tensor]:
    """A = -(1..n) and the bias whose softplus is log-uniform in [1e-3, 1e-1]."""
    A = -torch.arange(1, n + 1, dtype=torch.float64).expand(*lead, d, n).clone()
    step = torch.exp(torch.rand(*lead, d, dtype=torch.float64) * math.log(100.0) + math.log(1e-3))
    return A, step + torch.log(-torch.expm1(-step))


@pytest.fixture
def sequence() -> Callable[..., Case]:
    """Draw arguments of `selective_scan` in float64."""

    def draw(b: int, d: int, l: int, n: int, *, groups: int = 0, layout: str = "bld") -> Case:  # noqa: E741
        def tokens(*channels: int) -> Tensor:
            x = torch.randn(b, l, *channels, dtype=torch.float64)
            return x if layout == "bld" else x.permute(0, *range(2, x.dim()), 1).contiguous()

        A, bias = _mamba_parameters(d=d, n=n)
        projection = (groups, n) if groups else (n,)
        return {
            "u": tokens(d),
            "delta": 0.3 * tokens(d),
            "A": A,
            "B": tokens(*projection),
            "C": tokens(*projection),
            "D": torch.randn(d, dtype=torch.float64),
            "z": tokens(d),
            "delta_bias": bias,
            "delta_softplus": True,
            "initial_state": torch.randn(b, d, n, dtype=torch.float64),
            "layout": layout,
        }

    return draw


@pytest.fixture
def image() -> Callable[..., Case]:
    """Draw arguments of `selective_scan_2d` in float64."""

    def draw(
        b: int, h: int, w: int, d: int, n: int, orders: tuple[str, ...], rank: int = 0
    ) -> Case:
        k = len(orders)
        A, bias = _mamba_parameters(k, d=d, n=n)

        def tokens(*channels: int) -> Tensor:
            return torch.randn(b, h, w, *channels, dtype=torch.float64)

        case = {
            "u": tokens(d),
            "delta": 0.3 * tokens(k, rank or d),
            "A": A,
            "B": tokens(k, n),
            "C": tokens(k, n),
            "D": torch.randn(k, d, dtype=torch.float64),
            "delta_bias": bias,
            "delta_softplus": True,
            "orders": orders,
        }
        if rank:
            case["delta_weight"] = torch.randn(k, d, rank, dtype=torch.float64)
        return case

    return draw


def run(case: Case, backend: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the output, the last state and all gradients, for fixed random gradients of both."""
    given = {
        name: value.detach().to(dtype).requires_grad_() if isinstance(value, Tensor) else value
        for name, value in case.items()
    }
    leaves = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    # Strides survive: `to` keeps them for dense tensors, views are cast before they are cut.
    if "orders" in case:
        outputs = {"y": selective_scan_2d(**given, backend=backend)}
    else:
        y, last = selective_scan(**given, return_last_state=True, backend=backend)
        outputs = {"y": y, "last_state": last}
    generator = torch.Generator().manual_seed(7)
    loss = torch.zeros((), dtype=torch.float64)
    for output in outputs.values():
        weight = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        loss = loss + (output * weight.to(output.dtype)).sum()
    gradients = torch.autograd.grad(
        loss, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return outputs | dict(zip(leaves, gradients, strict=True))


def distance(got: Tensor, expected: Tensor) -> float:
    """Relative error in the norm."""
    norm = expected.double().norm().item()
    return (got.double() - expected.double()).norm().item() / (norm or 1.0)


@pytest.fixture
def results() -> Callable[..., dict[str, Tensor]]:
    return run


@pytest.fixture
def relative_error() -> Callable[[Tensor, Tensor], float]:
    return distance


@pytest.fixture
def agrees_with_float64() -> Callable[..., None]:
    """Hold a backend in float32 to the reference in float64, values and every gradient."""

    def compare(case: Case, backend: str) -> None:
        expected = run(case, "reference", torch.float64)
        got = run(case, backend, torch.float32)
        for name, value in expected.items():
            # Rounding of float32; gradients sum over tokens what the forward does not.
            limit = 2e-6 if name in ("y", "last_state") else 5e-6
            assert got[name].shape == value.shape, name
            assert distance(got[name], value) <= limit, name

    return compare


@pytest.fixture(params=["avx512", "avx2", "portable"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run with each instruction set of the kernel library that this machine has."""
    status = native.status()
    if status.reason is not None:
        pytest.skip(f"no kernel library: {status.reason}")
    if request.param not in status.usable:
        pytest.skip(f"this machine has no {request.param}")
    library = native.load()
    names = [library.unveil_isa_name(i).decode() for i in range(library.unveil_isa_count())]
    before = library.unveil_isa_chosen()
    library.unveil_isa_choose(names.index(request.param))
    yield request.param
    library.unveil_isa_choose(before)


@pytest.fixture
def kernels() -> None:
    """Skip where there is no kernel library."""
    reason = native.status().reason
    if reason is not None:
        pytest.skip(f"no kernel library: {reason}")
