"""Whether a package that is installed can scan on this machine: a small scan, not an import."""

import importlib
from collections.abc import Callable
from typing import Any

# What somebody else's module may raise on a machine it was not made for.
_FAILURES = (
    ImportError,
    OSError,
    RuntimeError,
    AttributeError,
    TypeError,
    ValueError,
    AssertionError,
    NameError,
    KeyError,
    SyntaxError,
)


def failure(package: str) -> str | None:
    """Return why an installed package cannot scan here, None when it can.

    Args:
        package: One of `inventory.PACKAGES`, importable or not.

    >>> failure("no_such_package")
    "No module named 'no_such_package'"
    """
    try:
        importlib.import_module(package)
        found, expected = _PROOFS[package]()
    except _FAILURES as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    if found.shape != expected.shape or not ((found.cpu() - expected).abs() < 1e-4).all():
        return "a small scan gave wrong values"
    return None


def _tensors() -> tuple[Any, Any, Any, Any]:
    import torch  # noqa: PLC0415 - slow, and needed only where a package is installed

    device = "cuda" if torch.cuda.is_available() else "cpu"
    ones = torch.ones(1, 1, 3, device=device)
    sums = torch.tensor([[[1.0, 2.0, 3.0]]])
    return ones, torch.zeros(1, 1, device=device), ones.unsqueeze(1), sums


def _interface(module: str) -> Any:
    ones, A, _, sums = _tensors()
    scan = importlib.import_module(module).selective_scan_fn
    return scan(ones, ones, A, ones, ones), sums


def _grouped(module: str) -> Any:
    ones, A, projections, sums = _tensors()
    scan = importlib.import_module(module).selective_scan_fn
    return scan(ones, ones, A, projections, projections), sums


def _extension(module: str, *options: Any) -> Any:
    ones, A, projections, sums = _tensors()
    forward = importlib.import_module(module).fwd
    return forward(ones, ones, A, projections, projections, *options)[0], sums


def _convolution() -> Any:
    import torch  # noqa: PLC0415

    ones, *_ = _tensors()
    x, weight = (
        ones[:, :, :1].expand(1, 8, 4).contiguous(),
        ones[0, 0, :2].expand(8, 2).contiguous(),
    )
    convolve = importlib.import_module("causal_conv1d").causal_conv1d_fn
    return convolve(x, weight), torch.tensor([1.0, 2.0, 2.0, 2.0]).expand(1, 8, 4)


def _convolution_extension() -> Any:
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        raise RuntimeError("it is compiled for a GPU, and there is none")
    return torch.zeros(1), torch.zeros(1)


_PROOFS: dict[str, Callable[[], Any]] = {
    "selective_scan_cuda": lambda: _extension("selective_scan_cuda", None, None, None, False),
    "selective_scan_cuda_core": lambda: _extension(
        "selective_scan_cuda_core", None, None, False, 1
    ),
    "selective_scan_cuda_oflex": lambda: _extension(
        "selective_scan_cuda_oflex", None, None, False, 1, True
    ),
    "causal_conv1d_cuda": _convolution_extension,
    "causal_conv1d": _convolution,
    "selective_scan": lambda: _grouped("selective_scan"),
    "mamba_ssm": lambda: _interface("mamba_ssm.ops.selective_scan_interface"),
}
