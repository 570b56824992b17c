"""The public names, and the cost of importing them."""

import subprocess
import sys

import unveil


def test_every_public_name_loads() -> None:
    for name in unveil.__all__:
        assert getattr(unveil, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(unveil, "no_such_name")


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, unveil; print({'torch', 'numpy', 'pyvips'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
