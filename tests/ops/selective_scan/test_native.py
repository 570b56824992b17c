"""The kernel library's scan against the reference in float64."""

import ctypes
import itertools

import pytest
import torch

from unveil.errors import BackendUnavailableError
from unveil.ops import native as library
from unveil.ops import selective_scan, selective_scan_2d

LENGTHS = (1, 2, 31, 32, 33, 70, 128, 513)
ORDERS = ("row", "column", "row_reversed", "column_reversed")


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("layout", ["bld", "bdl"])
@pytest.mark.usefixtures("isa")
def test_values_and_gradients_at_any_length(length, layout, sequence, agrees_with_float64):
    agrees_with_float64(sequence(2, 20, length, 4, layout=layout), "native")


@pytest.mark.parametrize("layout", ["bld", "bdl"])
@pytest.mark.usefixtures("kernels")
def test_values_and_gradients_at_4096_tokens(layout, sequence, agrees_with_float64):
    agrees_with_float64(sequence(1, 20, 4096, 8, layout=layout), "native")


@pytest.mark.usefixtures("kernels")
def test_results_beyond_the_caches_are_the_same_in_both_layouts():
    # From 32 MiB on rows of channels are written past the caches; the last 16 tokens are not.
    torch.manual_seed(0)
    u, projection = torch.randn(1, 16400, 520), torch.randn(1, 16400, 1, 1)
    A, plain = -torch.ones(520, 1), {"delta_softplus": True, "backend": "native"}
    expected = selective_scan(u, u, A, projection, projection, layout="bld", **plain)
    rows, projections = u.mT.contiguous(), projection.permute(0, 2, 3, 1).contiguous()
    found = selective_scan(rows, rows, A, projections, projections, **plain)
    assert torch.equal(found.mT, expected)


@pytest.mark.usefixtures("kernels")
def test_a_second_derivative_is_refused(sequence):
    case = {
        k: v.float() if isinstance(v, torch.Tensor) else v for k, v in sequence(1, 4, 8, 2).items()
    }
    u = case["u"].requires_grad_()
    y = selective_scan(**case, backend="native")
    with pytest.raises(BackendUnavailableError, match="second derivatives"):
        torch.autograd.grad(y.square().sum(), u, create_graph=True)


@pytest.mark.parametrize("n", [1, 4, 8, 11, 16, 64])
@pytest.mark.parametrize("d", [1, 16, 37])
@pytest.mark.usefixtures("isa")
def test_any_number_of_states_and_channels(n, d, sequence, agrees_with_float64):
    agrees_with_float64(sequence(2, d, 40, n), "native")


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("layout", ["bld", "bdl"])
@pytest.mark.usefixtures("isa")
def test_groups_share_projections(groups, layout, sequence, agrees_with_float64):
    agrees_with_float64(sequence(2, 40, 40, 4, groups=groups, layout=layout), "native")


@pytest.mark.usefixtures("kernels")
def test_projections_may_have_different_groups(sequence, agrees_with_float64):
    case = sequence(2, 12, 20, 4, groups=2)
    case["C"] = torch.randn(2, 20, 3, 4, dtype=torch.float64)
    agrees_with_float64(case, "native")
    case["C"] = torch.randn(2, 20, 4, dtype=torch.float64)
    agrees_with_float64(case, "native")


@pytest.mark.parametrize("constant", ["B", "C", "BC"])
@pytest.mark.usefixtures("isa")
def test_constant_projections(constant, sequence, agrees_with_float64):
    case = sequence(2, 20, 40, 7)
    for name in constant:
        case[name] = torch.randn(20, 7, dtype=torch.float64)
    agrees_with_float64(case, "native")


OPTIONAL = ("D", "z", "delta_bias", "delta_softplus", "initial_state")


@pytest.mark.parametrize("pair", list(itertools.combinations(OPTIONAL, 2)), ids="-".join)
@pytest.mark.usefixtures("kernels")
def test_optional_arguments_pairwise(pair, sequence, agrees_with_float64):
    case = sequence(2, 20, 40, 4)
    for name in set(OPTIONAL) - set(pair):
        case.pop(name)
    if "delta_softplus" not in pair:
        # Without softplus steps must not be negative, or the state would grow.
        case["delta"] = case["delta"].abs()
        if "delta_bias" in case:
            case["delta_bias"] = case["delta_bias"].abs()
    agrees_with_float64(case, "native")


@pytest.mark.usefixtures("isa")
def test_strided_inputs_are_read_as_they_are(sequence, results):
    case = sequence(2, 20, 40, 4)
    expected = results(case, "native", torch.float32)

    def cut(x):
        """The same values as every other element of something larger."""
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]

    given = {
        name: cut(value.float()) if isinstance(value, torch.Tensor) else value
        for name, value in case.items()
    }
    y, last = selective_scan(**given, return_last_state=True, backend="native")
    assert torch.equal(y, expected["y"])
    assert torch.equal(last, expected["last_state"])


@pytest.mark.parametrize("layout", ["bld", "bdl"])
@pytest.mark.usefixtures("isa")
def test_expanded_delta_and_decay_give_one_decay(layout, sequence, agrees_with_float64, results):
    case = sequence(2, 37, 40, 8, layout=layout)
    axis = 2 if layout == "bld" else 1
    case["delta"] = case["delta"].narrow(axis, 0, 1)
    case["A"], case["delta_bias"] = case["A"][:1], case["delta_bias"][:1]
    agrees_with_float64(case, "native")
    given = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    given["delta"] = given["delta"].expand(case["u"].shape)
    given["A"], given["delta_bias"] = given["A"].expand(37, -1), given["delta_bias"].expand(37)
    assert given["delta"].stride(axis) == 0
    y = selective_scan(**given, backend="native")
    assert torch.equal(y, results(case, "native", torch.float32)["y"])


@pytest.mark.usefixtures("isa")
def test_expanded_everything_in_a_block_that_is_not_full(relative_error):
    # Lanes without a channel must not enter the sums over channels.
    u = torch.randn(1, 20, 1, dtype=torch.float64)
    B = torch.randn(1, 20, 3, dtype=torch.float64, requires_grad=True)
    gradients = []
    for dtype, backend in ((torch.float64, "reference"), (torch.float32, "native")):
        wide = u.to(dtype).expand(1, 20, 5)
        A = torch.full((1, 3), -0.1, dtype=dtype)
        y = selective_scan(wide, wide.abs(), A, *(B.to(dtype),) * 2, layout="bld", backend=backend)
        gradients += torch.autograd.grad(y.sum(), B)
    assert relative_error(gradients[1], gradients[0]) <= 5e-6


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 1, 9), (1, 9, 1), (1, 8, 8)])
@pytest.mark.usefixtures("isa")
def test_image_orders(count, shape, image, agrees_with_float64):
    agrees_with_float64(image(*shape, 20, 8, ORDERS[-count:]), "native")


@pytest.mark.parametrize("rank", [1, 3, 20])
@pytest.mark.usefixtures("isa")
def test_image_delta_from_its_factors(rank, image, agrees_with_float64):
    agrees_with_float64(image(2, 5, 7, 37, 4, ORDERS, rank), "native")


@pytest.mark.usefixtures("kernels")
def test_image_features_in_channels_first_memory(image, results):
    case = image(2, 6, 10, 20, 4, ORDERS)
    expected = results(case, "native", torch.float32)["y"]
    case["u"] = case["u"].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    given = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    torch.testing.assert_close(selective_scan_2d(**given, backend="native"), expected)


@pytest.mark.usefixtures("isa")
def test_long_memory_is_as_exact_as_the_float32_loop(relative_error):
    # Decays of 1 - 1e-4: a relative bias e of the exponential would come out as 1e4 e.
    u = torch.randn(1, 4096, 16, dtype=torch.float64)
    delta, A = torch.full_like(u, 1e-3), torch.full((16, 4), -0.1, dtype=torch.float64)
    B = C = torch.ones(1, 4096, 4, dtype=torch.float64)
    arguments = (u, delta, A, B, C)
    exact = selective_scan(*arguments, layout="bld", backend="reference")
    single = [x.float() for x in arguments]
    loop = relative_error(selective_scan(*single, layout="bld", backend="reference"), exact)
    kernel = relative_error(selective_scan(*single, layout="bld", backend="native"), exact)
    assert kernel <= 2 * loop


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["bld", "bdl"])
@pytest.mark.usefixtures("isa")
def test_half_precision_rounds_the_float32_result(dtype, layout, sequence):
    case = sequence(2, 20, 40, 4, layout=layout)
    halves = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    wide = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in halves.items()}
    y = selective_scan(**halves, backend="native")
    expected = selective_scan(**wide, backend="native").to(dtype)
    assert y.dtype == dtype
    # Neighbouring floats of one sign are neighbouring integers.
    apart = (y.view(torch.int16).int() - expected.view(torch.int16).int()).abs()
    assert apart[torch.sign(y) == torch.sign(expected)].max() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("isa")
def test_half_precision_image(dtype, image, results, relative_error):
    case = image(1, 5, 7, 20, 4, ORDERS, rank=3)
    got, expected = (results(case, "native", t) for t in (dtype, torch.float32))
    # Inputs rounded to 8 or 11 bits.
    limit = 2e-2 if dtype == torch.bfloat16 else 3e-3
    assert all(relative_error(got[name], expected[name]) < limit for name in expected)


@pytest.mark.parametrize("shape", [(0, 4, 3, 2), (2, 4, 0, 2)])
@pytest.mark.usefixtures("kernels")
def test_nothing_in_nothing_out(shape, sequence, results):
    b, d, length, n = shape
    case = sequence(b, d, length, n)
    expected, got = (results(case, x, torch.float32) for x in ("reference", "native"))
    for name in expected:
        assert torch.equal(got[name], expected[name].float()), name


@pytest.mark.usefixtures("kernels")
def test_same_bits_again_and_on_two_threads(sequence, results):
    case = sequence(3, 64, 600, 16)
    threads = torch.get_num_threads()
    try:
        runs = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            runs.append(results(case, "native", torch.float32))
    finally:
        torch.set_num_threads(threads)
    one, two, again = runs
    assert all(torch.equal(two[name], again[name]) for name in two)
    assert torch.equal(one["y"], two["y"])


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "D", "z"])
@pytest.mark.usefixtures("isa")
def test_what_is_not_finite_propagates_as_in_pytorch(name, poison, sequence):
    case = sequence(1, 20, 40, 4)
    case = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in case.items()}
    case[name].view(-1)[case[name].numel() // 2] = poison
    got, expected = (selective_scan(**case, backend=x) for x in ("native", "reference"))
    assert torch.equal(torch.isnan(got), torch.isnan(expected))
    torch.testing.assert_close(got, expected, equal_nan=True, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("isa")
def test_no_result_is_left_unwritten(sequence, image, results):
    before = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        assert torch.empty(3).isnan().all()
        for case in (sequence(2, 37, 40, 11, groups=1), image(2, 5, 7, 37, 11, ORDERS, 3)):
            for name, value in results(case, "native", torch.float32).items():
                assert torch.isfinite(value).all(), name
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = before


@pytest.mark.usefixtures("kernels")
def test_keeps_at_most_as_much_as_u_for_the_backward():
    u = torch.randn(1, 1024, 192, requires_grad=True)
    B = torch.randn(1, 1024, 16)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        selective_scan(u, u.detach().exp(), -torch.ones(192, 16), B, B, layout="bld")
    own = [x for x in kept if x.dim() == 5]
    assert len(own) == 1
    assert own[0].numel() <= u.numel() / 2


@pytest.mark.usefixtures("isa")
def test_the_exponential_is_exact_where_memory_is_long():
    x = torch.cat([torch.linspace(-125, 127, 100001), torch.linspace(-1e-3, 1e-3, 10001)])
    x = torch.cat([x, torch.tensor([0.0, -torch.inf, torch.inf, torch.nan, -1e30, 1e30])])
    y = torch.empty_like(x)
    pointer = ctypes.c_void_p
    handle = library.load()
    handle.unveil_exp2(pointer(x.data_ptr()), pointer(y.data_ptr()), ctypes.c_int64(len(x)))
    assert y[-6:].tolist()[:3] == [1.0, 0.0, torch.inf]
    assert y[-3].isnan()
    assert y[-2:].tolist() == [0.0, torch.inf]
    exact = torch.exp2(x[:-6].double())
    error = (y[:-6].double() - exact).abs()
    unit = torch.finfo(torch.float32).eps
    assert (error / exact).max() <= 2.5 * unit
    # Relative to what a step forgets, beyond the rounding of the result itself.
    assert (error <= 0.5 * unit * exact.clamp(min=1) + 1e-6 * (1 - exact).abs() + unit / 2).all()
