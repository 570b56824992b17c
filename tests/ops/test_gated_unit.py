"""The gated unit in one pass against PyTorch in float64, and as an operator."""

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import gated_unit
from unveil.ops.gated_unit import native

# One pixel, fewer channels than lanes, odd tails, exact vectors; several tiles both ways, and tiles
# worked through in more than one piece.
SHAPES = [
    ((1, 1, 1), 3, 3),
    ((2, 5, 7), 8, 12),
    ((3, 8, 8), 64, 48),
    ((1, 9, 131), 17, 20),
    ((1, 70, 100), 24, 16),
]


def arguments(pixels: tuple[int, ...], c: int, i: int) -> list[Tensor]:
    shapes = [(*pixels, c), (c,), (c,), (2 * i, c), (2 * i, 1, 3, 3), (2 * i,), (c, i)]
    values = [torch.randn(shape) for shape in shapes]
    return [value.requires_grad_() for value in values]


@pytest.mark.parametrize(("pixels", "c", "i"), SHAPES)
@pytest.mark.parametrize("project", [True, False])
def test_native_agrees_with_float64(
    pixels: tuple[int, ...], c: int, i: int, project: bool, agrees_with_float64: Callable
) -> None:
    agrees_with_float64(gated_unit, *arguments(pixels, c, i)[: 7 if project else 6])


@pytest.mark.parametrize("gate", ["silu", "gelu"])
def test_other_gates_and_absent_biases_agree_with_float64(
    gate: str, agrees_with_float64: Callable
) -> None:
    x, weight, _, expand, conv, _, project = arguments((2, 5, 7), 8, 12)
    agrees_with_float64(gated_unit, x, weight, None, expand, conv, None, project, gate=gate)


def test_results_do_not_depend_on_the_number_of_threads(same_on_two_threads: Callable) -> None:
    same_on_two_threads(gated_unit, *arguments((2, 64, 110), 24, 16))


def test_it_compiles_and_exports(compiles_and_exports: Callable) -> None:
    compiles_and_exports(gated_unit, *arguments((1, 4, 3), 6, 5))


def test_the_operator_passes_opcheck() -> None:
    values = arguments((1, 4, 3), 6, 5)
    torch.library.opcheck(torch.ops.unveil.gated_unit.default, (*values, 2, 1e-6))


@pytest.mark.parametrize("project", [True, False])
def test_pass_by_pass_it_gives_the_same(project: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    values = arguments((2, 5, 7), 8, 12)[: 7 if project else 6]
    expected = gated_unit(*values, gate="silu", backend="reference")
    monkeypatch.setattr(sys.modules["unveil.ops.gated_unit"], "has_fast_kernel", lambda: False)
    assert (gated_unit(*values, gate="silu") - expected).norm() < 2e-6 * expected.norm()


def test_a_library_without_the_unit_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unveil.ops.dispatch.library", object)
    assert not native.has_fast_kernel()


def test_wrong_arguments_are_named() -> None:
    x, weight, bias, expand, conv, shift, project = arguments((1, 2, 2), 4, 3)
    with pytest.raises(InputError, match=r"x has shape \(2, 2, 4\), expected \(b, h, w, c\)"):
        gated_unit(x[0], weight, bias, expand, conv)
    with pytest.raises(InputError, match=r"expand has shape \(5, 4\), expected \(2i, 4\)"):
        gated_unit(x, weight, bias, expand[:5], conv)
    with pytest.raises(InputError, match=r"project has shape \(3, 4\), expected \(4, 3\)"):
        gated_unit(x, weight, bias, expand, conv, shift, project.t())
    with pytest.raises(InputError, match="gate is 'relu', expected one of none, silu, gelu"):
        gated_unit(x, weight, bias, expand, conv, gate="relu")
    with pytest.raises(BackendUnavailableError, match=r"float64, expected float32"):
        gated_unit(x.double(), weight, bias, expand, conv, backend="native")
