"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Triton reads it once, when something first imports it.
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="tests/freeze: write the records (script/freeze)"
    )
    parser.addoption(
        "--cases", type=int, default=None, help="tests/hostile: how many inputs of each kind"
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def unveil_data() -> Path:
    """Folder of real image sets, named by the environment variable `UNVEIL_DATA`."""
    folder = os.environ.get("UNVEIL_DATA")
    if not folder:
        pytest.skip("UNVEIL_DATA is not set: this test needs the real image sets")
    return Path(folder)
