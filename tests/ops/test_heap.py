"""Freed memory that stays with the process."""

import subprocess
import sys

import pytest

_SCRIPT = """
import resource
import torch
from unveil.ops.heap import keep_freed_memory

assert keep_freed_memory()
for _ in range(2):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        held = [torch.zeros(500_000) for _ in range(4)]
        del held
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
print(faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_tensors_made_again_and_again_cause_few_page_faults() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    # Fresh memory would take 20 * 4 * 2 MB / 4 KiB = 39,000 faults.
    assert int(run.stdout) < 1000
