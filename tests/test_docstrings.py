"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch

import unveil
from unveil.errors import MissingExtraError

_MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(unveil.__path__, "unveil.")
    if not found.name.endswith("__main__")
)
# Kernels for GPUs: `triton` is no dependency on other machines.
_OPTIONAL = "triton"


@pytest.mark.parametrize("name", _MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, MissingExtraError) as error:
        if _OPTIONAL in name or _OPTIONAL in str(error):
            pytest.skip(str(error))
        raise
    names = {"np": np, "torch": torch}
    failed, _ = doctest.testmod(
        module, extraglobs=names, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert failed == 0
