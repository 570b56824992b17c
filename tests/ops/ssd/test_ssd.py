"""Mamba-2's scan against a loop over tokens in float64, written again here."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from unveil.errors import BackendUnavailableError, InputError
from unveil.ops import native
from unveil.ops.dispatch import has_function, missing
from unveil.ops.ssd import ssd_scan

needs_library = pytest.mark.skipif(not has_function("ssd_forward"), reason=missing("ssd_forward"))
# b, l, h, p, g, n: one token, a full chunk, a chunk and a token, odd widths, several groups.
SHAPES = [(2, 1, 2, 3, 1, 5), (1, 64, 4, 16, 2, 16), (2, 65, 4, 17, 2, 19), (1, 150, 3, 64, 1, 64)]


def drawn(b, tokens, h, p, g, n):
    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    return {
        "x": draw(b, tokens, h, p),
        "dt": draw(b, tokens, h) - 1,
        "A": -torch.rand(h, dtype=torch.float64) * 4,
        "B": draw(b, tokens, g, n),
        "C": draw(b, tokens, g, n),
        "D": draw(h, p),
        "z": draw(b, tokens, h, p),
        "dt_bias": draw(h),
        "initial_state": draw(b, h, p, n),
    }


def by_tokens(x, dt, A, B, C, D, z, dt_bias, initial_state, fresh):
    step = F.softplus(dt + dt_bias)
    B, C = (v.repeat_interleave(x.shape[2] // v.shape[2], 2) for v in (B, C))
    state, ys = initial_state, []
    for t in range(x.shape[1]):
        decay = torch.exp(step[:, t] * A) * ~fresh[:, t, None]
        added = torch.einsum("bh,bhp,bhn->bhpn", step[:, t], x[:, t], B[:, t])
        state = decay[:, :, None, None] * state + added
        ys.append(torch.einsum("bhpn,bhn->bhp", state, C[:, t]) + D * x[:, t])
    return torch.stack(ys, 1) * F.silu(z), state


def derived(function, tensors, **options):
    """Return the outputs and the gradients of everything, weighed at random."""
    leaves = {name: value.clone().requires_grad_() for name, value in tensors.items()}
    y, last = function(**leaves, **options)
    torch.manual_seed(1)
    loss = sum(
        (out * torch.randn(out.shape, dtype=torch.float64).to(out.dtype)).sum() for out in (y, last)
    )
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"y": y, "last": last, **dict(zip(leaves, gradients, strict=True))}


def assert_near(found, expected, tolerance):
    for name, value in expected.items():
        error = (found[name].double() - value).abs().max() / value.abs().max()
        assert error < tolerance, (name, error)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sequences", [1, 4])
@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [
        ("torch", torch.float64, 1e-12),
        ("reference", torch.float64, 1e-12),
        # fp32: sums over 64 tokens and as many states; a gradient of A sums over all of them.
        pytest.param("native", torch.float32, 1e-5, marks=needs_library),
    ],
)
def test_values_and_gradients_match_the_loop(shape, sequences, backend, dtype, tolerance):
    tensors = drawn(*shape)
    index = torch.randint(0, sequences, shape[:2]).sort(dim=1).values
    fresh = F.pad(index[:, 1:] != index[:, :-1], (1, 0))
    expected = derived(by_tokens, tensors, fresh=fresh)
    given = {name: value.to(dtype) for name, value in tensors.items()}
    found = derived(ssd_scan, given, dt_softplus=True, sequence_index=index, backend=backend)
    assert_near(found, expected, tolerance)


@needs_library
@pytest.mark.parametrize("isa", native.status().usable)
def test_every_instruction_set_gives_the_same(isa):
    library, names = native.load(), native.status().compiled
    every = [library.unveil_isa_name(i).decode() for i in range(library.unveil_isa_count())]
    assert isa in names
    tensors = {name: value.float() for name, value in drawn(2, 70, 4, 18, 2, 9).items()}
    expected = derived(ssd_scan, {k: v.double() for k, v in tensors.items()}, dt_softplus=True)
    chosen = library.unveil_isa_chosen()
    try:
        assert library.unveil_isa_choose(every.index(isa))
        found = derived(ssd_scan, tensors, dt_softplus=True, backend="native")
    finally:
        library.unveil_isa_choose(chosen)
    assert_near(found, expected, 1e-5)


@needs_library
def test_what_is_absent_is_nothing_and_half_types_are_cast():
    given = drawn(1, 80, 2, 8, 1, 4)
    plain = {name: given[name] for name in ("x", "dt", "A", "B", "C")}
    y, last = ssd_scan(**plain, dt_limit=(0.0, 1.0))
    half, same = ssd_scan(**{k: v.bfloat16() for k, v in plain.items()}, dt_limit=(0.0, 1.0))
    assert half.dtype is torch.bfloat16
    assert same.dtype is torch.float32
    # bfloat16 keeps eight bits of every input.
    torch.testing.assert_close(half.double(), y, rtol=0.1, atol=0.1 * float(y.abs().max()))
    torch.testing.assert_close(same.double(), last, rtol=0.1, atol=0.1 * float(last.abs().max()))


@needs_library
def test_strong_and_missing_decay_stay_finite():
    given = {name: value.float() for name, value in drawn(1, 130, 2, 8, 1, 4).items()}
    given["A"] = torch.tensor([-1e4, 0.0])
    found = derived(ssd_scan, given, dt_softplus=True, backend="native")
    expected = derived(ssd_scan, {k: v.double() for k, v in given.items()}, dt_softplus=True)
    assert_near(found, expected, 1e-5)


@needs_library
def test_the_operator_is_fit_for_compilers():
    shapes = ((1, 70, 2, 8), (1, 70, 2), (2,), (1, 70, 1, 4), (1, 70, 1, 4), (2, 8), (1, 2, 8, 4))
    tensors = [torch.rand(shape, requires_grad=True) for shape in shapes]
    torch.library.opcheck(torch.ops.unveil.ssd.default, (*tensors, None))


def counted(backend, *shape):
    """Return the operations of a pass forward and back, as PyTorch's counter has them."""
    given = {name: value.float() for name, value in drawn(*shape).items()}
    with FlopCounterMode(display=False) as counter:
        derived(ssd_scan, given, backend=backend)
    return counter.get_total_flops()


@needs_library
def test_a_flop_counter_counts_the_kernels_as_the_products_of_the_same_form():
    expected = counted("torch", 2, 128, 4, 16, 4, 8)
    assert expected > 0
    assert counted("native", 2, 128, 4, 16, 4, 8) == expected
    # Two groups make two of the four products C Bᵀ, each 2 · 64² · 8 in each of 2 · 2 chunks,
    # and twice that on the way back.
    assert counted("native", 2, 128, 4, 16, 2, 8) == expected - 3 * 2 * 4 * 2 * 64**2 * 8
    # A chunk of one token: 2 (n + p) + 4 p n operations per head.
    assert counted("native", 1, 1, 1, 3, 1, 5) == 3 * (2 * (5 + 3) + 4 * 3 * 5)


def test_no_tokens_leave_the_state_as_it_was():
    given = {name: value[:, :0] if name in ("x", "dt", "B", "C", "z") else value
             for name, value in drawn(1, 3, 2, 4, 1, 4).items()}  # fmt: skip
    y, last = ssd_scan(**given)
    assert y.shape == (1, 0, 2, 4)
    torch.testing.assert_close(last, given["initial_state"])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", (1, 3, 8), r"x has shape \(1, 3, 8\), expected \(b, l, h, p\)"),
        ("B", (1, 3, 3, 4), "g a divisor of 2"),
        ("C", (1, 3, 1, 5), r"C has shape \(1, 3, 1, 5\), expected \(1, 3, 1, 4\)"),
        ("D", (3,), r"D has shape \(3,\), expected \(2,\) or \(2, 4\)"),
        ("initial_state", (1, 2, 4), "initial_state has shape"),
    ],
)
def test_wrong_shapes_are_named(name, shape, message):
    given = drawn(1, 3, 2, 4, 1, 4) | {name: torch.zeros(shape, dtype=torch.float64)}
    with pytest.raises(InputError, match=message):
        ssd_scan(**given)


def test_a_backend_that_cannot_run_says_so():
    with pytest.raises(BackendUnavailableError, match="float64"):
        ssd_scan(**drawn(1, 3, 2, 4, 1, 4), backend="native")
    with pytest.raises(InputError, match="backend is 'fast', expected one of auto"):
        ssd_scan(**drawn(1, 3, 2, 4, 1, 4), backend="fast")


@pytest.mark.slow
@needs_library
def test_it_is_ten_times_faster_than_a_loop_over_tokens():
    given = {name: value.float() for name, value in drawn(1, 4096, 8, 64, 1, 64).items()}

    def taken(backend):
        start = time.process_time()
        derived(ssd_scan, given, dt_softplus=True, backend=backend)
        return time.process_time() - start

    taken("native")
    assert taken("reference") > 10 * taken("native")
