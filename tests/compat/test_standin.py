import importlib
import subprocess
import sys

import pytest

from unveil import compat
from unveil.compat.standin import MODULES, PACKAGES


@pytest.fixture(autouse=True)
def _clean():
    compat.uninstall()
    yield
    compat.uninstall()
    for name in [n for n in sys.modules if n.partition(".")[0] in PACKAGES]:
        del sys.modules[name]


def write_package(folder, interface):
    """Write an "installed" mamba_ssm whose interface module is `interface`."""
    ops = folder / "mamba_ssm" / "ops"
    ops.mkdir(parents=True)
    (ops.parent / "__init__.py").write_text("ORIGIN = 'installed'\n")
    (ops / "__init__.py").write_text("")
    (ops / "selective_scan_interface.py").write_text(interface)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_holds_its_names(name):
    compat.install(force=True)
    module = importlib.import_module(name)
    assert module.__spec__.name == name
    assert all(callable(getattr(module, attribute)) for attribute in MODULES[name])


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


def test_what_is_not_provided_is_missing_as_usual():
    compat.install(force=True)
    with pytest.raises(ModuleNotFoundError, match=r"mamba_ssm\.modules\.mamba2"):
        importlib.import_module("mamba_ssm.modules.mamba2")


def test_uninstalling_takes_the_modules_away():
    compat.install(force=True)
    importlib.import_module("mamba_ssm")
    compat.uninstall()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("selective_scan_cuda_core")
    assert "mamba_ssm" not in sys.modules


def test_a_working_installation_is_left_alone(tmp_path, monkeypatch):
    write_package(tmp_path, "def selective_scan_fn(): return 'installed'\n")
    monkeypatch.syspath_prepend(tmp_path)
    provided = compat.install()
    assert "mamba_ssm" not in provided
    assert "causal_conv1d" in provided
    assert importlib.import_module("mamba_ssm").ORIGIN == "installed"


def test_force_stands_in_for_a_working_installation_until_uninstalled(tmp_path, monkeypatch):
    write_package(tmp_path, "def selective_scan_fn(): return 'installed'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("mamba_ssm").ORIGIN == "installed"
    assert "mamba_ssm" in compat.install(force=True)
    assert not hasattr(importlib.import_module("mamba_ssm"), "ORIGIN")
    compat.uninstall()
    assert importlib.import_module("mamba_ssm").ORIGIN == "installed"


def test_a_broken_installation_is_replaced_and_named(tmp_path, monkeypatch, caplog):
    write_package(tmp_path, "import no_such_compiled_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "mamba_ssm" in compat.install()
    assert not hasattr(importlib.import_module("mamba_ssm"), "ORIGIN")
    assert "mamba_ssm is installed but cannot be imported" in caplog.text


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
    "line", ["from mamba_ssm import Mamba2", "import mamba_ssm.models.mixer_seq_simple"]
)
def test_whose_absence_it_is_is_told(line, caplog):
    compat.install(force=True)
    with pytest.raises(ImportError):
        exec(line)
    assert "unveil stands in for mamba_ssm here" in caplog.text
    assert "Mamba-2" in caplog.text


def test_looking_at_a_module_is_silent(caplog):
    compat.install(force=True)
    module = importlib.import_module("mamba_ssm")
    assert not hasattr(module, "__wrapped__")
    assert not hasattr(module, "Mamba2")
    from mamba_ssm.ops import selective_scan_interface  # noqa: F401

    assert not caplog.records
