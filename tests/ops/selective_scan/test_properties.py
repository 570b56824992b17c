"""What all backends have in common, for arguments nobody thought of."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unveil.ops import selective_scan, selective_scan_2d
from unveil.ops.selective_scan.plain import token_order

pytestmark = pytest.mark.usefixtures("kernels")
SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)
ORDERS = ("row", "column", "row_reversed", "column_reversed")


def draw(b, d, length, n, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    return {
        "u": normal(b, length, d),
        "delta": normal(b, length, d).exp() * 0.1,
        "A": -normal(d, n).exp(),
        "B": normal(b, length, n),
        "C": normal(b, length, n),
        "layout": "bld",
    }


sizes = st.tuples(
    st.integers(1, 3), st.integers(1, 40), st.integers(1, 70), st.integers(1, 20), st.integers(0, 9)
)


@SETTINGS
@given(sizes)
def test_backends_agree(size):
    case = draw(*size)
    expected = selective_scan(**case, backend="reference")
    for backend in ("native", "torch"):
        y = selective_scan(**case, backend=backend)
        # Float32 sums of up to 20 states.
        assert (y - expected).norm() <= 5e-6 * expected.norm() + 1e-6


@SETTINGS
@given(sizes, st.floats(0.0, 1.0))
def test_a_sequence_can_be_cut_anywhere(size, share):
    case = draw(*size)
    length = case["u"].shape[1]
    cut = round(share * length)
    whole, last = selective_scan(**case, return_last_state=True, backend="native")
    state, parts = None, []
    for piece in (slice(0, cut), slice(cut, length)):
        tokens = {name: case[name][:, piece] for name in ("u", "delta", "B", "C")}
        y, state = selective_scan(
            **(case | tokens), initial_state=state, return_last_state=True, backend="native"
        )
        parts.append(y)
    assert (torch.cat(parts, 1) - whole).norm() <= 1e-6 * whole.norm() + 1e-7
    assert (state - last).norm() <= 1e-6 * last.norm() + 1e-7


@SETTINGS
@given(sizes, st.floats(-3.0, 3.0))
def test_linear_in_the_input(size, factor):
    case = draw(*size)
    y = selective_scan(**case, backend="native")
    scaled = selective_scan(**(case | {"u": factor * case["u"]}), backend="native")
    assert (scaled - factor * y).norm() <= 2e-6 * abs(factor) * y.norm() + 1e-6


@SETTINGS
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(ORDERS), st.integers(0, 9))
def test_an_image_order_is_a_sequence_of_reordered_tokens(height, width, order, seed):
    case = draw(1, 5, height * width, 3, seed)
    tokens = token_order(order, height, width)
    names = ("u", "delta", "B", "C")
    moved = case | {name: case[name][:, tokens] for name in names}
    expected = selective_scan(**moved, backend="reference")
    shaped = {name: case[name].unflatten(1, (height, width)) for name in names}
    y = selective_scan_2d(
        shaped["u"],
        shaped["delta"].unsqueeze(3),
        case["A"][None],
        shaped["B"].unsqueeze(3),
        shaped["C"].unsqueeze(3),
        orders=(order,),
        backend="native",
    )
    assert (y.flatten(1, 2)[:, tokens] - expected).norm() <= 5e-6 * expected.norm() + 1e-6
