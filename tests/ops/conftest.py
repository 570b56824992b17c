"""What the tests of the fused passes share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unveil.ops import native

Operation = Callable[..., Tensor]


def need_kernels() -> None:
    reason = native.status().reason
    if reason is not None:
        pytest.skip(f"no kernel library: {reason}")


@pytest.fixture
def kernels() -> None:
    """Skip where there is no kernel library."""
    need_kernels()


@pytest.fixture
def leaves() -> Callable[..., list[Tensor]]:
    """Make random tensors of the given shapes that ask for gradients."""
    return lambda *shapes: [torch.randn(shape).requires_grad_() for shape in shapes]


def results(op: Operation, tensors: list[Tensor | None], **options: object) -> list[Tensor]:
    """Return the output, then the gradient of every tensor, for a fixed random gradient."""
    y = op(*tensors, **options)
    given = [t for t in tensors if t is not None]
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, given, grad)]


@pytest.fixture
def agrees_with_float64() -> Callable[..., None]:
    """Hold the native backend's output and gradients to the reference's in float64."""
    need_kernels()

    def compare(op: Operation, *tensors: Tensor | None, **options: object) -> None:
        exact = [None if t is None else t.detach().double().requires_grad_() for t in tensors]
        expected = results(op, exact, backend="reference", **options)
        got = results(op, list(tensors), backend="native", **options)
        for i, (g, e) in enumerate(zip(got, expected, strict=True)):
            assert g.shape == e.shape
            # Rounding of float32: a few units for the output, more for sums over all pixels. The
            # floor is for sums that cancel.
            error = (g.double() - e).norm() / e.norm().clamp(min=1e-2)
            assert error < (5e-6 if i else 2e-6), f"result {i}"

    return compare


@pytest.fixture
def same_on_two_threads() -> Callable[..., None]:
    """Check that one and two threads give the same bits."""
    need_kernels()

    def compare(op: Operation, *tensors: Tensor | None, **options: object) -> None:
        threads, runs = torch.get_num_threads(), []
        try:
            for count in (1, 2):
                torch.set_num_threads(count)
                runs.append(results(op, list(tensors), backend="native", **options))
        finally:
            torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))

    return compare


@pytest.fixture
def compiles_and_exports() -> Callable[..., None]:
    """Check that compiled and exported, the operation gives what it gives at once."""

    def compare(op: Operation, *tensors: Tensor, **options: object) -> None:
        given = list(tensors)
        expected = results(op, given, **options)
        compiled = torch.compile(op, fullgraph=True, backend="aot_eager")
        got = results(compiled, given, **options)
        assert all(torch.equal(g, e) for g, e in zip(got, expected, strict=True))

        class Layer(torch.nn.Module):
            def forward(self, *values: Tensor) -> Tensor:
                return op(*values, **options)

        values = tuple(t.detach() for t in tensors)
        program = torch.export.export(Layer(), values)
        assert not any("unveil" in str(node.target) for node in program.graph.nodes)
        assert torch.allclose(program.module()(*values), expected[0], rtol=1e-5, atol=1e-5)

    return compare
