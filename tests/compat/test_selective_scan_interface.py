import pytest
import torch
from torch import Tensor

from unveil.compat.mamba_inner import MambaInnerFn, mamba_inner_fn, mamba_inner_ref
from unveil.compat.selective_scan_interface import (
    SelectiveScanFn,
    selective_scan_fn,
    selective_scan_ref,
)
from unveil.errors import BackendUnavailableError, InputError

# A hundredth of what mamba's own tests allow in fp32: (rtol, atol) by name.
OUT = (6e-6, 2e-5)
TOLERANCES = {
    "u": (1.2e-5, 4e-5),
    "delta": (3e-5, 2e-4),
    "A": (1e-5, 5e-5),
    "B": OUT,
    "C": OUT,
    "D": (1e-5, 1e-5),
    "z": (1e-5, 1e-5),
    "delta_bias": (1e-5, 1e-5),
}
OPTIONS = {
    "bare": {},
    "all": {"D", "z", "delta_bias", "softplus"},
    "D and bias": {"D", "delta_bias"},
    "gate and softplus": {"z", "softplus"},
}


def arguments(length, groups=1, constant=(), chosen=frozenset(), d=4, n=8, b=2):
    """Draw inputs as mamba's tests do."""
    drawn = {
        "u": torch.randn(b, d, length),
        "delta": 0.5 * torch.rand(b, d, length),
        "A": -0.5 * torch.rand(d, n),
        "B": torch.randn(d, n) if "B" in constant else torch.randn(b, groups, n, length),
        "C": torch.randn(d, n) if "C" in constant else torch.randn(b, groups, n, length),
    }
    optional = {
        "D": torch.randn(d),
        "z": torch.randn(b, d, length),
        "delta_bias": 0.5 * torch.rand(d),
    }
    drawn |= {name: value for name, value in optional.items() if name in chosen}
    return drawn, "softplus" in chosen


def assert_conforms(drawn: dict[str, Tensor], softplus: bool, plain_scan, scan=selective_scan_fn):
    narrow = {k: v.clone().requires_grad_() for k, v in drawn.items()}
    wide = {k: v.double().requires_grad_() for k, v in drawn.items()}
    out, state = scan(**narrow, delta_softplus=softplus, return_last_state=True)
    expected, expected_state = plain_scan(**wide, delta_softplus=softplus)
    assert out.dtype == state.dtype == torch.float32
    close(out, expected, OUT)
    close(state, expected_state, OUT)
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    (expected * weights.double()).sum().backward()
    for name, leaf in narrow.items():
        rtol, atol = TOLERANCES[name]
        if name in ("A", "z"):
            # Sums over tokens (in y: over states) cancel: an entry near zero carries the error of
            # a large one.
            atol = max(atol, rtol * wide[name].grad.abs().max().item())
        close(leaf.grad, wide[name].grad, (rtol, atol), name)


def close(actual, expected, tolerance, name="out"):
    rtol, atol = tolerance
    torch.testing.assert_close(
        actual.double(), expected, rtol=rtol, atol=atol, msg=lambda text: f"{name}: {text}"
    )


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("length", [128, 256, 512, 1024, 2048, 4096])
def test_every_length_and_group_of_mambas_tests_conforms(length, groups, plain_scan):
    drawn, softplus = arguments(length, groups, chosen=OPTIONS["all"])
    assert_conforms(drawn, softplus, plain_scan)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("constant", ["", "B", "C", "BC"])
def test_every_option_of_mambas_tests_conforms(options, constant, plain_scan):
    drawn, softplus = arguments(128, 2, constant, OPTIONS[options])
    assert_conforms(drawn, softplus, plain_scan)


def test_projections_without_a_group_axis_conform(plain_scan):
    drawn, softplus = arguments(65, 1, chosen=OPTIONS["all"])
    drawn |= {name: drawn[name].squeeze(1) for name in "BC"}
    assert_conforms(drawn, softplus, plain_scan)


def test_the_reference_function_conforms_too(plain_scan):
    drawn, softplus = arguments(33, 2, chosen=OPTIONS["all"])
    assert_conforms(drawn, softplus, plain_scan, scan=selective_scan_ref)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_results_are_the_rounded_fp32_ones(dtype, plain_scan):
    drawn, softplus = arguments(256, 2, chosen=OPTIONS["all"])
    half = {k: v.to(dtype) if k in ("u", "delta", "z", "B", "C") else v for k, v in drawn.items()}
    out = selective_scan_fn(**half, delta_softplus=softplus)
    expected = plain_scan(**{k: v.double() for k, v in half.items()}, delta_softplus=softplus)[0]
    assert out.dtype == dtype
    # One unit in the last place of the rounded result.
    torch.testing.assert_close(
        out.double(), expected, rtol=torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps
    )


def test_four_directions_in_one_grouped_call_are_four_scans(plain_scan):
    b, d, n, h, w = 2, 6, 4, 5, 7
    image = torch.randn(b, d, h, w, dtype=torch.float64)
    rows, columns = image.flatten(2), image.transpose(2, 3).flatten(2)
    xs = torch.stack([rows, columns, rows.flip(-1), columns.flip(-1)], 1)
    dts = 0.5 * torch.rand(b, 4, d, h * w, dtype=torch.float64)
    As = -torch.rand(4 * d, n, dtype=torch.float64)
    Bs, Cs = torch.randn(2, b, 4, n, h * w, dtype=torch.float64)
    Ds, bias = torch.randn(2, 4 * d, dtype=torch.float64)
    grouped = (xs.flatten(1, 2), dts.flatten(1, 2), As, Bs, Cs, Ds)
    out = selective_scan_fn(
        *(t.float() for t in grouped), delta_bias=bias.float(), delta_softplus=True
    )
    for k, one in enumerate(out.view(b, 4, d, h * w).unbind(1)):
        own = slice(k * d, (k + 1) * d)
        expected, _ = plain_scan(
            *(xs[:, k], dts[:, k], As[own], Bs[:, k], Cs[:, k], Ds[own], None, bias[own], True)
        )
        close(one, expected, OUT)


def test_gradients_flow_through_the_last_state(plain_scan):
    drawn, _ = arguments(17)
    narrow = {k: v.clone().requires_grad_() for k, v in drawn.items()}
    wide = {k: v.double().requires_grad_() for k, v in drawn.items()}
    selective_scan_fn(**narrow, return_last_state=True)[1].square().sum().backward()
    plain_scan(**wide)[1].square().sum().backward()
    for name in ("u", "delta", "A", "B"):
        close(narrow[name].grad, wide[name].grad, TOLERANCES[name], name)


def loop_of_complex_states(u, delta, A, B, C):
    """Run h = exp(Δ A) h + Δ B u, y = 2 Re(C · h); B and C are (b, d, n, l)."""
    state, outputs = torch.zeros_like(B[..., 0]), []
    for t in range(u.shape[-1]):
        step = delta[..., t, None]
        state = torch.exp(step * A) * state + step * B[..., t] * u[..., t, None]
        outputs.append(2 * (C[..., t] * state).sum(-1).real)
    return torch.stack(outputs, -1), state


@pytest.mark.parametrize("constant", ["", "B", "C"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_complex_states_give_twice_the_real_part(backend, groups, constant):
    b, d, n, length = 2, 4, 3, 37
    u, z = torch.randn(2, b, d, length)
    delta, D, bias = torch.rand(b, d, length), torch.rand(d), torch.rand(d)
    A = torch.complex(-torch.rand(d, n), torch.randn(d, n))
    narrow = {"u": u, "delta": delta, "A": A}
    for name in "BC":
        drawn = torch.randn(b, groups, n, length, dtype=torch.complex64)
        # Real and imaginary parts alternate along the tokens.
        narrow[name] = torch.view_as_real(drawn).flatten(-2)
        if name in constant:
            narrow[name] = torch.randn(d, n, dtype=torch.complex64)
    wide = {
        k: v.to(torch.complex128 if v.is_complex() else torch.float64) for k, v in narrow.items()
    }
    for leaves in (narrow, wide):
        for leaf in leaves.values():
            leaf.requires_grad_()
    out, state = selective_scan_fn(
        **narrow, D=D, z=z, delta_bias=bias, delta_softplus=True,
        return_last_state=True, backend=backend,
    )  # fmt: skip
    assert (out.dtype, state.dtype) == (torch.float32, torch.complex64)
    whole = [
        wide[name][None, ..., None].expand(b, d, n, length)
        if name in constant
        else torch.view_as_complex(wide[name].unflatten(-1, (-1, 2))).repeat_interleave(
            d // groups, 1
        )
        for name in "BC"
    ]
    steps = torch.nn.functional.softplus(wide["delta"] + bias.double()[:, None])
    expected, expected_state = loop_of_complex_states(wide["u"], steps, wide["A"], *whole)
    expected = (expected + D.double()[:, None] * wide["u"]) * torch.nn.functional.silu(z.double())
    close(out, expected, (2e-5, 2e-5))
    torch.testing.assert_close(state.to(torch.complex128), expected_state, rtol=2e-5, atol=2e-5)
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    (expected * weights.double()).sum().backward()
    for name, leaf in narrow.items():
        error = (leaf.grad - wide[name].grad).norm() / wide[name].grad.norm()
        assert error < 1e-5, name


def test_complex_states_run_on_no_kernel_and_need_pairs():
    drawn, _ = arguments(8)
    drawn["A"] = drawn["A"].to(torch.complex64)
    with pytest.raises(BackendUnavailableError, match=r"native backend .* A is torch\.complex64"):
        selective_scan_fn(**drawn, backend="native")
    drawn |= {name: drawn[name][..., :5] for name in "BC"}
    with pytest.raises(InputError, match=r"B or C has shape .*, expected an even last size"):
        selective_scan_fn(**drawn)


def test_a_wrong_shape_is_refused_by_name():
    drawn, _ = arguments(8)
    drawn["D"] = torch.zeros(5)
    with pytest.raises(InputError, match=r"D has shape \(5,\)"):
        selective_scan_fn(**drawn)


def inner_arguments(d=6, n=4, rank=2, out=5, length=9, b=2):
    return {
        "xz": torch.randn(b, 2 * d, length),
        "conv1d_weight": torch.randn(d, 1, 4),
        "conv1d_bias": torch.randn(d),
        "x_proj_weight": 0.3 * torch.randn(rank + 2 * n, d),
        "delta_proj_weight": torch.randn(d, rank),
        "out_proj_weight": torch.randn(out, d),
        "out_proj_bias": torch.randn(out),
        "A": -torch.rand(d, n),
        "D": torch.randn(d),
        "delta_bias": torch.randn(d),
    }


def inner_expected(plain_scan, given, B=None, C=None):
    """Compute a block's inside from its equations in float64."""
    p = {name: value.double() for name, value in given.items()}
    x, z = p["xz"].chunk(2, dim=1)
    past = torch.nn.functional.pad(x, (3, 0)).unfold(-1, 4, 1)
    x = torch.nn.functional.silu(
        (past * p["conv1d_weight"][:, 0, None]).sum(-1) + p["conv1d_bias"][:, None]
    )
    rank, n = p["delta_proj_weight"].shape[1], p["A"].shape[1]
    projected = torch.einsum("pd,bdl->bpl", p["x_proj_weight"], x)
    delta = torch.einsum("dr,brl->bdl", p["delta_proj_weight"], projected[:, :rank])
    B = projected[:, rank : rank + n] if B is None else B.double()
    C = projected[:, -n:] if C is None else C.double()
    y, _ = plain_scan(x, delta, p["A"], B, C, p["D"], z, p["delta_bias"], True)
    return torch.einsum("od,bdl->blo", p["out_proj_weight"], y) + p["out_proj_bias"]


@pytest.mark.parametrize("inner", [mamba_inner_fn, mamba_inner_ref])
def test_the_inside_of_a_block_conforms(inner, plain_scan):
    given = inner_arguments()
    close(inner(**given), inner_expected(plain_scan, given), OUT)


@pytest.mark.parametrize("constant", ["", "BC"])
def test_the_inside_of_a_block_with_complex_states_conforms(constant):
    """States that are real numbers by chance give twice what real states give."""
    given = inner_arguments() | {"D": None, "out_proj_bias": None}
    n, rows = 4, given["x_proj_weight"]
    constants = {name: torch.randn(6, n) for name in constant}
    given["x_proj_weight"] = rows[:2] if constant else rows
    expected = 2 * mamba_inner_fn(**given, **constants)
    imaginary = torch.zeros_like(rows[2:])
    pairs = torch.stack([rows[2:], imaginary], 1).flatten(0, 1)
    given["x_proj_weight"] = rows[:2] if constant else torch.cat([rows[:2], pairs])
    given["A"] = given["A"].to(torch.complex64)
    out = mamba_inner_fn(**given, **{k: x.to(torch.complex64) for k, x in constants.items()})
    close(out, expected.double(), OUT)


def test_the_autograd_functions_apply_under_their_published_names():
    drawn, _ = arguments(8, chosen=OPTIONS["all"])
    out, last = SelectiveScanFn.apply(*drawn.values(), True, True)
    expected = selective_scan_fn(**drawn, delta_softplus=True, return_last_state=True)
    assert torch.equal(out, expected[0])
    assert torch.equal(last, expected[1])
    given = inner_arguments()
    positional = (*list(given.values())[:8], None, None, given["D"], given["delta_bias"])
    assert torch.equal(MambaInnerFn.apply(*positional), mamba_inner_fn(**given))


@pytest.mark.parametrize("shape", [(12, 9), (2, 11, 9), (2, 12, 0)])
def test_the_inside_refuses_an_input_of_another_shape(shape):
    with pytest.raises(InputError, match=r"xz has shape .*, expected \(b, 12, l\)"):
        mamba_inner_fn(**inner_arguments() | {"xz": torch.zeros(shape)})


def test_projections_given_to_the_inside_replace_its_own(plain_scan):
    given = inner_arguments()
    B, C = torch.randn(6, 4), torch.randn(2, 4, 9)
    without_b_and_c = {**given, "x_proj_weight": given["x_proj_weight"][:2]}
    close(mamba_inner_fn(**without_b_and_c, B=B, C=C), inner_expected(plain_scan, given, B, C), OUT)


def test_biases_on_projections_shift_them(plain_scan):
    given = inner_arguments()
    bias = torch.randn(4)
    shifted = mamba_inner_fn(**given, B_proj_bias=bias, C_proj_bias=2 * bias)
    assert not torch.allclose(shifted, mamba_inner_fn(**given), atol=1e-3)
    given["x_proj_weight"] = given["x_proj_weight"] * 0
    constant = inner_expected(plain_scan, given, bias.expand(6, 4), 2 * bias.expand(6, 4))
    close(mamba_inner_fn(**given, B_proj_bias=bias, C_proj_bias=2 * bias), constant, OUT)


def test_the_projected_step_sizes_are_normalised_over_their_channels():
    given = inner_arguments()
    scale = {"dt_rms_weight": torch.rand(6), "b_c_dt_rms_eps": 0.0}
    larger = {**given, "delta_proj_weight": 100 * given["delta_proj_weight"]}
    normalised = mamba_inner_fn(**given, **scale)
    torch.testing.assert_close(mamba_inner_fn(**larger, **scale), normalised, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mamba_inner_fn(**given), normalised, atol=1e-3)


def test_normalised_projections_have_unit_mean_square():
    given = inner_arguments()
    ones = {"b_rms_weight": torch.ones(4), "c_rms_weight": torch.ones(4)}
    scaled = given["x_proj_weight"].clone()
    scaled[2:] *= 100
    larger = {**given, "x_proj_weight": scaled}
    # The mean square is taken out, but for eps.
    torch.testing.assert_close(
        mamba_inner_fn(**larger, **ones, b_c_dt_rms_eps=0.0),
        mamba_inner_fn(**given, **ones, b_c_dt_rms_eps=0.0),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("backend", ["reference", "torch", "auto"])
def test_views_can_be_taken_of_the_result(backend):
    u, B = torch.randn(1, 8, 6), torch.randn(1, 2, 3, 6)
    y = selective_scan_fn(u, u, -torch.ones(8, 3), B, B, backend=backend)
    assert y.view(1, 2, 4, 2, 3).is_contiguous()
