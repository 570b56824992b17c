"""The calls that public networks make of the stand-in, made again and held to float64.

`calls.json` is what `run.py` recorded: names, options and shapes, no code of theirs.
"""

import copy
import importlib
import inspect
import json
from pathlib import Path

import pytest
import torch

from unveil import compat

NETWORKS = json.loads((Path(__file__).parent / "calls.json").read_text(encoding="utf-8"))
# fp32 through a convolution, projections and a scan; measured 1e-7 to 3e-6.
TOLERANCE = 2e-5
DECAYS = ("A", "A_b")
STEPS = ("delta", "dt")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64}


@pytest.fixture(autouse=True, scope="module")
def _installed():
    compat.install(force=True)
    yield
    compat.uninstall()


def distinct():
    """Return every call once, named after the networks that make it."""
    found = {}
    for network, calls in NETWORKS.items():
        for call in calls:
            found.setdefault(json.dumps(call, sort_keys=True), []).append(network)
    return [
        pytest.param(json.loads(call), id=f"{json.loads(call)['name']}-{networks[0]}")
        for call, networks in found.items()
    ]


def value(data, name, leaves):
    """Make an argument; random tensors are kept in `leaves`."""
    if not isinstance(data, list):
        return data
    if data[0] != "tensor":
        pytest.skip(f"the network passes a {data[1]} of its own")
    shape, dtype = data[1], DTYPES[data[2]]
    if name in DECAYS:
        made = -0.1 - torch.rand(shape)
    elif name in STEPS:
        made = 0.5 * torch.rand(shape)
    else:
        made = 0.5 * torch.randn(shape)
    made = made.to(dtype)
    leaves.append(made)
    return made


def outputs_of(result):
    parts = result if isinstance(result, (list, tuple)) else [result]
    return [part for part in parts if isinstance(part, torch.Tensor)]


def gradients(function, args, kwargs, compiled):
    """Return the outputs, and the gradients of all tensors but for the compiled modules' calls."""
    if compiled:
        return outputs_of(function(*args, **kwargs))
    tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
    leaves = [t.requires_grad_() for t in tensors if t.is_floating_point()]
    outputs = outputs_of(function(*args, **kwargs))
    torch.manual_seed(1)
    heads = [y for y in outputs if y.requires_grad]
    if not heads:
        return outputs
    loss = sum((y * torch.randn(y.shape, dtype=torch.float32).to(y.dtype)).sum() for y in heads)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [*outputs, *(g for g in found if g is not None)]


@pytest.mark.parametrize("call", distinct())
def test_a_call_and_its_gradients_match_float64(call, monkeypatch):
    torch.manual_seed(0)
    module, _, name = call["name"].rpartition(".")
    function = getattr(importlib.import_module(module), name)
    if "made" in call:
        function = function(**{k: value(v, k, []) for k, v in call["made"].items()}).eval()
        names = list(inspect.signature(function.forward).parameters)
    else:
        names = list(inspect.signature(function).parameters)
    names += [""] * len(call["args"])
    leaves = []
    args = [value(v, n, leaves) for v, n in zip(call["args"], names, strict=False)]
    kwargs = {k: value(v, k, leaves) for k, v in call["kwargs"].items()}
    wide = [v.double() if isinstance(v, torch.Tensor) else v for v in args]
    wide_kwargs = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
    reference = copy.deepcopy(function).double() if "made" in call else function
    compiled = module.partition(".")[0].endswith(("_cuda", "_core", "_oflex"))
    found = gradients(function, args, kwargs, compiled)
    monkeypatch.setenv("UNVEIL_SCAN_BACKEND", "torch")
    expected = gradients(reference, wide, wide_kwargs, compiled)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().clamp(min=1e-30)
        assert one.shape == other.shape
        assert (one.double() - other.double()).abs().max() <= TOLERANCE * scale


def test_the_table_names_only_what_is_provided():
    for calls in NETWORKS.values():
        for call in calls:
            module, _, name = call["name"].rpartition(".")
            assert hasattr(importlib.import_module(module), name)
