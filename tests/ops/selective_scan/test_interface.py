"""Choice of the backend; the operator under compile, autocast and fake tensors."""

import pytest
import torch

from unveil.errors import BackendUnavailableError
from unveil.ops import native as library
from unveil.ops import selective_scan, selective_scan_2d
from unveil.ops.selective_scan import interface, native

ORDERS = ("row", "column_reversed")


@pytest.fixture
def no_library(monkeypatch):
    """Act as if the package had been installed without a compiler."""
    reason = "no kernel library for this test"
    monkeypatch.setattr(library, "_load", lambda: (None, library.NativeStatus(reason=reason)))
    interface._report.cache_clear()
    yield reason
    interface._report.cache_clear()


def arguments(dtype=torch.float32):
    x = torch.rand(1, 3, 4, dtype=dtype)
    return (x, x, -torch.ones(3, 2, dtype=dtype), x[:, :2], x[:, :2])


def test_without_the_library_auto_warns_once_and_runs(no_library):
    with pytest.warns(RuntimeWarning, match=no_library):
        y = selective_scan(*arguments())
    selective_scan(*arguments())
    assert y.shape == (1, 3, 4)


def test_a_named_backend_runs_or_raises_the_reason(no_library):
    with pytest.raises(BackendUnavailableError, match=no_library):
        selective_scan(*arguments(), backend="native")


@pytest.mark.usefixtures("kernels")
def test_native_refuses_float64():
    with pytest.raises(BackendUnavailableError, match=r"u is torch\.float64"):
        selective_scan(*arguments(torch.float64), backend="native")
    assert selective_scan(*arguments(torch.float64)).dtype == torch.float64


def test_the_environment_chooses_for_auto(monkeypatch):
    calls = []
    loops = {"reference": lambda *x: calls.append(1) or interface.reference.scan(*x)}
    monkeypatch.setattr(interface, "_LOOPS", interface._LOOPS | loops)
    monkeypatch.setenv("UNVEIL_SCAN_BACKEND", "reference")
    selective_scan(*arguments())
    assert calls == [1]
    selective_scan(*arguments(), backend="torch")
    assert calls == [1]


def operator_arguments(case, layout, orders):
    given = {
        name: value.float().requires_grad_() if isinstance(value, torch.Tensor) else value
        for name, value in case.items()
    }
    tensors = [given.get(name) for name in native._GRADIENTS]
    return (*tensors, True, layout, ",".join(orders), True)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("layout", ["bld", "bdl"])
def test_operator_passes_opcheck(layout, sequence):
    case = sequence(2, 5, 7, 3, layout=layout)
    given = operator_arguments(case, layout, ("row",))
    torch.library.opcheck(torch.ops.unveil.selective_scan.default, given)


@pytest.mark.usefixtures("kernels")
def test_image_operator_passes_opcheck(image):
    given = operator_arguments(image(2, 3, 4, 5, 3, ORDERS, 2), "bhwd", ORDERS)
    torch.library.opcheck(torch.ops.unveil.selective_scan.default, given)


@pytest.mark.usefixtures("kernels")
def test_the_way_around_the_dispatcher_gives_the_operators_bits(sequence, results, monkeypatch):
    case = sequence(2, 20, 40, 4)
    short = results(case, "native", torch.float32)
    monkeypatch.setattr(native, "is_plain", lambda _: False)
    monkeypatch.setattr("unveil.ops._fused.is_plain", lambda _: False)
    through = results(case, "native", torch.float32)
    assert all(torch.equal(short[name], through[name]) for name in short)


@pytest.mark.usefixtures("kernels")
def test_compiles_without_a_graph_break(image):
    case = image(1, 3, 4, 5, 3, ORDERS)
    case = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    case["u"].requires_grad_()
    compiled = torch.compile(selective_scan_2d, fullgraph=True, backend="aot_eager")
    runs = []
    for function in (selective_scan_2d, compiled):
        y = function(**case, backend="native")
        runs.append((y, *torch.autograd.grad(y.sum(), case["u"])))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("backend", ["native", "torch", "reference"])
def test_under_autocast_the_state_stays_float32(backend, sequence):
    case = sequence(1, 5, 300, 4)
    case = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    plain, state = selective_scan(**case, return_last_state=True, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        y, last = selective_scan(**case, return_last_state=True, backend=backend)
    assert last.dtype == torch.float32
    assert torch.equal(y, plain)
    assert torch.equal(last, state)
