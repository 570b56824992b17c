import importlib
import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from unveil import compat
from unveil.compat.inventory import MODULES, PACKAGES


@pytest.fixture(autouse=True)
def _clean():
    compat.uninstall()
    yield
    compat.uninstall()
    for name in [n for n in sys.modules if n.partition(".")[0] in PACKAGES]:
        del sys.modules[name]


def write(folder, files):
    """Write modules, and an `__init__` beside each that is missing."""
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        for parent in list(path.parents)[: len(Path(name).parents) - 1]:
            if not (parent / "__init__.py").exists():
                (parent / "__init__.py").write_text("")


INTERFACE = "mamba_ssm/ops/selective_scan_interface.py"
# A scan in plain PyTorch, for a state that neither decays nor mixes channels.
WORKS = """
    def selective_scan_fn(u, delta, A, B, C):
        return (delta * u).cumsum(-1)
"""
# As Vision Mamba's fork: Python over the compiled modules and Triton kernels.
FORK = {
    "mamba_ssm/__init__.py": """
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
        ORIGIN = "installed"
    """,
    INTERFACE: """
        import causal_conv1d_cuda
        import selective_scan_cuda
        from mamba_ssm.ops.triton.layernorm import rms_norm_fn

        def selective_scan_fn(u, delta, A, B, C):
            return selective_scan_cuda.fwd(
                u, delta, A, B.unsqueeze(1), C.unsqueeze(1), None, None, None, False
            )[0]
    """,
    "mamba_ssm/ops/triton/layernorm.py": "import triton_of_another_machine\n",
}


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_holds_its_names(name):
    compat.install(force=True)
    module = importlib.import_module(name)
    assert module.__spec__.name == name
    assert all(callable(getattr(module, attribute)) for attribute in MODULES[name])
    assert "unveil" in module.__version__


def test_names_import_the_way_published_networks_write_it():
    compat.install(force=True)
    from causal_conv1d import causal_conv1d_fn, causal_conv1d_update  # noqa: F401
    from mamba_ssm import Mamba
    from mamba_ssm.modules.mamba_simple import Mamba as Same
    from mamba_ssm.ops.selective_scan_interface import (  # noqa: F401
        mamba_inner_fn,
        mamba_inner_ref,
        selective_scan_fn,
        selective_scan_ref,
    )
    from mamba_ssm.ops.triton.layer_norm import RMSNorm, layer_norm_fn, rms_norm_fn  # noqa: F401

    assert Mamba is Same


def test_uninstalling_takes_the_modules_away():
    compat.install(force=True)
    importlib.import_module("mamba_ssm")
    compat.uninstall()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("selective_scan_cuda_core")
    assert "mamba_ssm" not in sys.modules


def test_an_installation_that_scans_is_left_alone(tmp_path, monkeypatch):
    write(tmp_path, {INTERFACE: WORKS, "mamba_ssm/__init__.py": "ORIGIN = 'installed'"})
    monkeypatch.syspath_prepend(tmp_path)
    provided = compat.install()
    assert "mamba_ssm" not in provided
    assert "causal_conv1d" in provided
    assert importlib.import_module("mamba_ssm").ORIGIN == "installed"


def test_a_fork_is_used_with_the_compiled_modules_beneath_it(tmp_path, monkeypatch):
    write(tmp_path, FORK)
    monkeypatch.syspath_prepend(tmp_path)
    provided = compat.install()
    assert "mamba_ssm" not in provided
    assert {"selective_scan_cuda", "causal_conv1d_cuda"} <= set(provided)
    assert importlib.import_module("mamba_ssm").ORIGIN == "installed"
    norm = importlib.import_module("mamba_ssm.ops.triton.layernorm")
    assert norm.rms_norm_fn.__module__ == "unveil.compat.layer_norm"


def test_a_fork_is_used_where_its_language_models_need_another_version(tmp_path, monkeypatch):
    files = {"mamba_ssm/utils/generation.py": "from transformers_of_old import NoSuchName\n"}
    first = "from mamba_ssm.utils.generation import GenerationMixin\n"
    write(tmp_path, FORK | files | {"mamba_ssm/__init__.py": first + "ORIGIN = 'installed'\n"})
    monkeypatch.syspath_prepend(tmp_path)
    assert "mamba_ssm" not in compat.install()
    with pytest.raises(NotImplementedError, match="does not generate text"):
        importlib.import_module("mamba_ssm").GenerationMixin().generate()


def test_force_stands_in_for_a_working_installation_until_uninstalled(tmp_path, monkeypatch):
    write(tmp_path, {INTERFACE: WORKS, "mamba_ssm/__init__.py": "ORIGIN = 'installed'"})
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("mamba_ssm").ORIGIN == "installed"
    assert "mamba_ssm" in compat.install(force=True)
    assert not hasattr(importlib.import_module("mamba_ssm"), "ORIGIN")
    compat.uninstall()
    assert importlib.import_module("mamba_ssm").ORIGIN == "installed"


@pytest.mark.parametrize(
    ("interface", "reason"),
    [
        ("import no_such_compiled_module\n", "No module named 'no_such_compiled_module'"),
        (
            """
            try:
                import no_such_compiled_module
            except ImportError:
                no_such_compiled_module = None

            def selective_scan_fn(*arguments):
                if no_such_compiled_module is None:
                    raise RuntimeError("the compiled scan is not installed")
            """,
            "the compiled scan is not installed",
        ),
        ("def selective_scan_fn(u, *others):\n    return u\n", "a small scan gave wrong values"),
        ("selective_scan_fn = None\n", "'NoneType' object is not callable"),
    ],
)
def test_an_installation_that_cannot_scan_is_replaced_and_named(
    tmp_path, monkeypatch, caplog, interface, reason
):
    write(tmp_path, {INTERFACE: interface, "mamba_ssm/__init__.py": "ORIGIN = 'installed'"})
    monkeypatch.syspath_prepend(tmp_path)
    assert "mamba_ssm" in compat.install()
    assert not hasattr(importlib.import_module("mamba_ssm"), "ORIGIN")
    assert f"mamba_ssm is installed but cannot scan here: {reason}" in caplog.text


def test_a_compiled_module_for_a_gpu_is_replaced_where_there_is_none(tmp_path, monkeypatch):
    forward = "def fwd(*arguments):\n    raise RuntimeError('Expected u.is_cuda() to be true')\n"
    write(tmp_path, {"selective_scan_cuda_core.py": forward, "causal_conv1d_cuda.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    assert {"selective_scan_cuda_core", "causal_conv1d_cuda"} <= set(compat.install())


def test_a_copy_of_the_triton_kernels_under_another_name_is_replaced(tmp_path, monkeypatch):
    kernels = "import triton_of_another_machine as triton\n\n@triton.jit\ndef kernel(): ...\n"
    files = {
        "their_network/mamba2/ssd_combined.py": kernels,
        "their_network/mamba_ssm/ops/triton/layernorm.py": kernels,
        "their_network/layer_norm.py": "OWN = True\n",
    }
    write(tmp_path, files)
    monkeypatch.syspath_prepend(tmp_path)
    compat.install()
    scan = importlib.import_module("their_network.mamba2.ssd_combined").mamba_chunk_scan_combined
    norm = importlib.import_module("their_network.mamba_ssm.ops.triton.layernorm").rms_norm_fn
    assert scan.__module__ == "unveil.compat.ssd_combined"
    assert norm.__module__ == "unveil.compat.layer_norm"
    assert importlib.import_module("their_network.layer_norm").OWN
    for name in [n for n in sys.modules if n.startswith("their_network")]:
        del sys.modules[name]


def test_installing_twice_changes_nothing():
    assert compat.install(force=True) == compat.install() == sorted(PACKAGES)
    module = importlib.import_module("mamba_ssm")
    compat.install()
    assert importlib.import_module("mamba_ssm") is module


def test_installing_imports_no_torch():
    code = "import sys, unveil.compat; unveil.compat.install(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("line", "missing", "reason"),
    [
        ("from mamba_ssm import Mamba3", "name mamba_ssm.Mamba3", "Mamba-3 is not provided"),
        (
            "import mamba_ssm.modules.mamba3",
            "module mamba_ssm.modules.mamba3",
            "Mamba-3 is not provided",
        ),
        (
            "from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel",
            "module mamba_ssm.models",
            "the language models are not provided",
        ),
        ("from causal_conv1d import other", "name causal_conv1d.other", "docs/compat.md"),
    ],
)
def test_an_import_of_what_is_not_there_says_who_stands_in(line, missing, reason):
    compat.install(force=True)
    with pytest.raises(ImportError) as error:
        exec(line)
    package = missing.split()[1].partition(".")[0]
    assert f"unveil stands in for {package} here and has no {missing}" in str(error.value)
    assert reason in str(error.value)


def test_a_name_that_a_script_does_without_is_reported(caplog):
    compat.install(force=True)
    exec("try:\n    from mamba_ssm import no_such\nexcept ImportError:\n    no_such = None")
    assert "has no name mamba_ssm.no_such" in caplog.text


def test_looking_for_what_is_not_there_is_silent_and_finds_nothing(caplog):
    compat.install(force=True)
    module = importlib.import_module("mamba_ssm")
    assert not hasattr(module, "__wrapped__")
    assert not hasattr(module, "Mamba3")
    assert importlib.util.find_spec("mamba_ssm.modules.mamba3") is None
    from mamba_ssm.ops import selective_scan_interface  # noqa: F401

    assert not caplog.records
