"""Freed memory that stays with the process, and signals that stop it."""

import signal
import subprocess
import sys
import threading

import pytest

from unveil.process import stop_signals

_SCRIPT = """
import resource
import torch
from unveil.process import keep_freed_memory

assert keep_freed_memory()
x = torch.ones(1_000_000, requires_grad=True)
large = torch.ones(12_000_000)
for step in range(80):
    if step == 60:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    (x * x * x).exp().sum().backward()
    if step % 4 == 0:
        large = large + 1
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start
print(faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_steps_made_again_and_again_cause_few_page_faults() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    )
    # 0 once the heap has settled, 12,000 for each large tensor that found no gap yet; without the
    # advice 8,000, and 60,000 for the large ones.
    assert int(run.stdout) < 30000


def test_stop_signals_are_handled_inside_the_block_alone() -> None:
    received: list[int] = []
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals(lambda number, _frame: received.append(number)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert received == [signal.SIGTERM, signal.SIGINT]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == former


def test_another_thread_changes_no_handler() -> None:
    former, seen = signal.getsignal(signal.SIGTERM), []

    def inside() -> None:
        with stop_signals(lambda *_: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [former]
