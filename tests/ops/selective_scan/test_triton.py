"""The GPU kernels: on the GPU where there is one, otherwise in Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch

from unveil.errors import BackendUnavailableError
from unveil.ops import selective_scan
from unveil.ops.selective_scan import contract, plain, reference, triton
from unveil.ops.selective_scan.interface import choose_backend

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# fp32 sums of a few terms; GPUs take exponentials with two units in the last place.
TOLERANCE = 1e-5 if DEVICE == "cuda" else 2e-6

pytest.importorskip("triton", reason="triton is not installed: the GPU kernels are not tested")


@pytest.fixture(autouse=True)
def _small_blocks(request, monkeypatch):
    # The interpreter takes a tenth of a millisecond per number in a block.
    if DEVICE == "cpu" and not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(triton, "TOKENS", 4)
        monkeypatch.setattr(triton, "CHANNELS", 2)


def draw(length, d=2, n=2, groups=1, options="", layout="bdl", b=1, dtype=torch.float32):
    """Draw arguments; `options` names what is present, and "B" and "C" those that are constant."""
    turn = (lambda x: x) if layout == "bdl" else (lambda x: x.movedim(1, -1).contiguous())
    B, C = (
        torch.randn(d, n) if name in options else regroup(torch.randn(b, groups, n, length), layout)
        for name in "BC"
    )
    z, state = torch.randn(b, d, length), torch.randn(b, d, n)
    arguments = {
        "u": turn(torch.randn(b, d, length)),
        "delta": turn(0.5 * torch.rand(b, d, length)),
        "A": -torch.rand(d, n),
        "B": B,
        "C": C,
        "D": torch.randn(d) if "D" in options else None,
        "z": turn(z) if "z" in options else None,
        "delta_bias": torch.randn(d) if "b" in options else None,
        "initial_state": state if "h" in options else None,
    }
    narrow = ("u", "delta", "B", "C", "z")
    arguments = {
        k: v if v is None else v.to(DEVICE, dtype if k in narrow else torch.float32)
        for k, v in arguments.items()
    }
    return arguments, {"delta_softplus": "s" in options, "layout": layout}


def regroup(x, layout):
    return x if layout == "bdl" else x.permute(0, 3, 1, 2).contiguous()


def both(tensors, options, backward=True):
    """Return results and gradients of the kernels and of the reference loop in float64."""
    outcomes = []
    for run, dtype in ((triton.run_1d, None), (reference_1d, torch.float64)):
        leaves = {
            k: None if v is None else v.detach().to(dtype or v.dtype).requires_grad_()
            for k, v in tensors.items()
        }
        y, last = run(contract.ScanArguments(**leaves, **options))
        found = {"y": y.detach(), "last": last.detach()}
        if backward:
            torch.manual_seed(1)
            weights = torch.randn(y.shape).to(y), torch.randn(last.shape).to(last)
            (y * weights[0]).sum().backward(retain_graph=True)
            (last * weights[1]).sum().backward()
            found |= {k: v.grad for k, v in leaves.items() if v is not None}
        outcomes.append(found)
    return outcomes


def reference_1d(arguments):
    return plain.run_1d(arguments, reference.scan)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name].double() - value).norm() / value.norm().clamp(min=1e-30)
        limit = TOLERANCE if name in ("y", "last") else 2.5 * TOLERANCE
        assert error <= limit, (name, error.item())


@pytest.mark.parametrize("length", [1, 3, 4, 9])
def test_every_length_matches_the_loop(length):
    tensors, options = draw(length, options="Dzbs", b=2)
    assert_equal(*both(tensors, options))


@pytest.mark.slow
def test_blocks_of_the_size_used_on_gpus_match_the_loop():
    tensors, options = draw(70, d=8, n=5, groups=2, options="Dzbsh")
    assert_equal(*both(tensors, options))


@pytest.mark.parametrize("options", ["", "Dz", "bsh", "B", "C", "BCDzbsh"])
def test_every_option_matches_the_loop(options):
    tensors, options = draw(6, options=options)
    assert_equal(*both(tensors, options))


@pytest.mark.parametrize(("d", "groups", "layout"), [(4, 2, "bld"), (3, 1, "bld"), (2, 2, "bdl")])
def test_groups_odd_channels_and_layouts_match_the_loop(d, groups, layout):
    tensors, options = draw(5, d=d, groups=groups, options="Dzs", layout=layout)
    assert_equal(*both(tensors, options))


@pytest.mark.parametrize("n", [1, 3, 16])
def test_any_number_of_states_matches_the_loop(n):
    tensors, options = draw(2, n=n, options="Dh")
    assert_equal(*both(tensors, options))


def test_shared_steps_and_decays_match_the_loop():
    tensors, options = draw(6, options="s")
    tensors["delta"], tensors["A"] = tensors["delta"][:, :1], tensors["A"][:1]
    tensors["delta_bias"] = torch.randn(1, device=DEVICE)
    assert_equal(*both(tensors, options))


def test_steps_that_are_small_keep_their_precision():
    tensors, options = draw(10, options="s")
    # softplus(-9) is 1.2e-4: log(1 + y) taken naively would lose three digits of it.
    tensors["delta"] -= 9
    assert_equal(*both(tensors, options))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_results_are_the_rounded_float32_ones(dtype):
    tensors, options = draw(6, options="Dz", dtype=dtype)
    found, expected = both(tensors, options, backward=False)
    assert found["y"].dtype == dtype
    assert found["last"].dtype == torch.float32
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(found["y"].double(), expected["y"], rtol=eps, atol=eps)


def test_memory_that_was_never_written_is_never_read(monkeypatch):
    tensors, options = draw(6, options="Dzbsh")
    new_empty = torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda *args, **kw: new_empty(*args, **kw).fill_(torch.nan)
    )
    monkeypatch.setattr(torch, "empty_like", lambda x: torch.full_like(x, torch.nan))
    assert_equal(*both(tensors, options))


@pytest.mark.parametrize("factors", [False, True])
def test_four_directions_over_an_image_match_the_loop(factors):
    b, h, w, d, n, k, rank = 1, 2, 3, 2, 2, 4, 1
    tensors = {
        "u": torch.randn(b, h, w, d),
        "delta": 0.5 * torch.randn(b, h, w, k, rank if factors else d),
        "A": -torch.rand(k, d, n),
        "B": torch.randn(b, h, w, k, n),
        "C": torch.randn(b, h, w, k, n),
        "D": torch.randn(k, d),
        "z": torch.randn(b, h, w, d),
        "delta_bias": torch.randn(k, d),
    }
    if factors:
        tensors["delta_weight"] = torch.randn(k, d, rank)
    outcomes = []
    for run, dtype in ((triton.run_2d, torch.float32), (reference_2d, torch.float64)):
        leaves = {name: x.detach().to(dtype).requires_grad_() for name, x in tensors.items()}
        arguments = contract.ScanArguments(
            **leaves, delta_softplus=True, layout="bhwd", orders=contract.ORDERS
        )
        y = run(arguments)
        y.square().sum().backward()
        outcomes.append({"y": y.detach()} | {name: x.grad for name, x in leaves.items()})
    assert_equal(*outcomes)


def reference_2d(arguments):
    return plain.run_2d(arguments, reference.scan)


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 4, 0)])
def test_an_empty_input_gives_an_empty_result(shape):
    b, d, length = shape
    tensors, options = draw(length, d=d, b=b)
    y, last = triton.run_1d(contract.ScanArguments(**tensors, **options))
    assert y.shape == shape
    assert last.shape == (b, d, 2)


def test_what_it_cannot_run_it_says(monkeypatch):
    tensors, options = draw(3)
    arguments = contract.ScanArguments(**tensors, **options)
    assert triton.why_not(arguments) is None
    wide = {k: v if v is None else v.double() for k, v in tensors.items()}
    assert "float64" in triton.why_not(contract.ScanArguments(**wide, **options))
    monkeypatch.delenv("TRITON_INTERPRET")
    assert "on cpu" in triton.why_not(arguments)
    monkeypatch.setattr(triton, "find_spec", lambda _: None)
    assert "not installed" in triton.why_not(arguments)


def test_named_it_runs_or_says_why_and_auto_leaves_cpu_tensors_to_others(monkeypatch):
    tensors, options = draw(3)
    found = selective_scan(**tensors, **options, backend="triton")
    torch.testing.assert_close(found, selective_scan(**tensors, **options, backend="reference"))
    arguments = contract.ScanArguments(**tensors, **options)
    assert (choose_backend("auto", arguments) == "triton") == (DEVICE == "cuda")
    monkeypatch.setattr(triton, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailableError, match="needs triton, which is not installed"):
        selective_scan(**tensors, **options, backend="triton")


def test_the_operator_is_registered_soundly():
    tensors, _ = draw(5, options="Dzbh")
    u, delta, z = (tensors[name].mT for name in ("u", "delta", "z"))
    B, C = (tensors[name].permute(0, 3, 2, 1) for name in "BC")
    given = (u, delta, tensors["A"], B, C, tensors["D"], z, tensors["delta_bias"])
    leaves = [x.detach().requires_grad_() for x in (*given, tensors["initial_state"])]
    torch.library.opcheck(
        torch.ops.unveil.selective_scan_triton.default,
        (*leaves, True, False, True),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


@pytest.mark.gpu
@pytest.mark.parametrize("layout", ["bdl", "bld"])
def test_long_sequences_match_the_loop_on_a_gpu(layout):
    tensors, options = draw(4096, d=64, n=16, options="Dzbsh", layout=layout)
    assert_equal(*both(tensors, options))


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from unveil.ops.selective_scan import triton_kernels

constants = {"SOFTPLUS": True, "REVERSE": False, "TOKENS": 32, "CHANNELS": 4, "STATES": 16}
integers = ("length", "channels", "states", "B_width", "C_width")
for name in ("forward", "backward"):
    kernel = getattr(triton_kernels, name)
    signature = {
        argument: "constexpr" if argument in constants
        else ("i64",) * (4 if argument.strip("d")[0] in "BC" else 3)
        if argument.endswith("_strides")
        else "i32" if argument in integers else "*fp32"
        for argument in kernel.arg_names
    }
    source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=constants)
    for capability in (80, 90):
        done = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        print(name, capability, len(done.asm["cubin"]) > 1000, done.metadata.shared)
"""


@pytest.mark.slow
def test_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("True") == 4
