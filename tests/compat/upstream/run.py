# ruff: noqa: T201
"""Run the tests of `mamba` and `causal-conv1d` over the stand-in, and count how they end.

    python tests/compat/upstream/run.py FOLDER [words …] [--budget 120] [--json results.json]
    python tests/compat/upstream/run.py FOLDER --sample 100 --seed 0 --largest 600000

FOLDER holds checkouts of the two repositories, as `owner+name` or `owner/name`. Their tests ask for
a GPU; the calls are mapped to the CPU. Nothing is downloaded; einops must be installed.

The tests are collected whole. Each test function runs its cases in an order that spreads over all
parameters, until all have run or its budget of CPU seconds is spent. With `--sample` it runs that
many, drawn at random; `--largest` leaves out cases by channels × tokens. The table gives for each
function {collected, run, passed, failed, skipped}, then each kind of failure with its count.
"""

import argparse
import json
import math
import os
import random
import sys
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from unveil import compat
from unveil.compat.cuda_on_cpu import cuda_on_cpu
from unveil.ops.heap import keep_freed_memory

FILES = {
    "state-spaces/mamba": (
        "tests/ops/test_selective_scan.py",
        "tests/ops/triton/test_layernorm_gated.py",
        "tests/ops/triton/test_selective_state_update.py",
        "tests/ops/triton/test_ssd.py",
        "tests/test_determinism.py",
        "tests/test_generation.py",
    ),
    "Dao-AILab/causal-conv1d": ("tests/test_causal_conv1d.py",),
}
COLUMNS = ("collected", "run", "passed", "failed", "skipped")


class Counting:
    """A pytest plugin: chooses and orders the cases, keeps to the budget, counts the ends.

    Args:
        options: The command's.

    Attributes:
        counts: For each test function, how many cases ended how.
        kinds: For each test function, how many cases failed with which message.
        cases: The identifiers of the cases that failed.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._progress = os.fdopen(os.dup(2), "w")  # pytest captures what tests print
        self._spent: dict[str, float] = defaultdict(float)
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.kinds: dict[str, Counter[str]] = defaultdict(Counter)
        self.cases: list[str] = []

    def write(self) -> None:
        """Write the counts to the file that was asked for."""
        if self._options.json:
            found = {"counts": self.counts, "kinds": self.kinds, "failed": self.cases}
            self._options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why a file was not collected."""
        if report.failed:
            last = str(report.longrepr).strip().splitlines()[-1]
            self.kinds[Path(report.nodeid).name][last.removeprefix("E ").strip()] += 1

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Count all cases; choose those of each function and their order."""
        groups: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in items:
            groups[_function(item.nodeid)].append(item)
        for name, group in groups.items():
            self.counts[name]["collected"] = len(group)
        items[:] = [item for group in groups.values() for item in self._chosen(group)]

    def _chosen(self, group: list[pytest.Item]) -> list[pytest.Item]:
        group = [item for item in group if _size(item) <= self._options.largest]
        if self._options.sample is None:
            return _spread(group)
        chance = random.Random(self._options.seed)
        return chance.sample(group, min(self._options.sample, len(group)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Charge the case to its function, and show where the run is."""
        function = _function(item.nodeid)
        if function not in self._spent:
            print(f"{function} …", file=self._progress, flush=True)
            self.write()  # what is known survives an endless case
        start = time.process_time()
        result = yield
        self._spent[function] += time.process_time() - start
        return result

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Leave out what the budget does not allow."""
        if self._spent[_function(item.nodeid)] > self._options.budget:
            pytest.skip("over the budget")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count how a case ended."""
        function = _function(report.nodeid)
        if report.when == "setup" and report.skipped and "over the budget" in str(report.longrepr):
            return
        if report.when != "call" and report.passed:
            return
        self.counts[function].update(("run", report.outcome))
        if report.failed:
            self.kinds[function][_kind(report)] += 1
            self.cases.append(report.nodeid)


def _function(identifier: str) -> str:
    path, _, rest = identifier.partition("::")
    return f"{Path(path).name}::{rest.partition('[')[0]}"


def _size(item: pytest.Item) -> int:
    """Return channels × tokens of a case, as far as its parameters give them."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return math.prod(parameters.get(name, 1) for name in ("dim", "seqlen"))


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Order cases by the golden ratio, so that any first part of them spreads over all."""
    step = (5**0.5 - 1) / 2
    ranks = sorted(range(len(items)), key=lambda i: i * step % 1)
    return [items[i] for i in ranks]


def _kind(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return str(report.longrepr).strip().splitlines()[-1][:160]
    statement = next(
        (line[1:].strip() for line in str(report.longrepr).splitlines() if line.startswith(">")), ""
    )
    return f"{crash.message.splitlines()[0][:120]} ({statement[:80]})"


def main() -> None:
    """Run the suites and print the table."""
    options = _options()
    torch.set_num_threads(1)
    keep_freed_memory()  # as python -m unveil.compat does
    warnings.simplefilter("ignore")
    compat.install()
    plugin = Counting(options)
    arguments = ["-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:warnings"]
    arguments += [
        "--continue-on-collection-errors",
        "-o",
        "addopts=",
        f"--rootdir={options.folder}",
        "--import-mode=importlib",  # else their folder tests/ops/triton takes triton's name
    ]
    arguments += ["-k", " or ".join(options.words)] if options.words else []
    start = time.process_time()
    with cuda_on_cpu():
        pytest.main([*arguments, *_files(options.folder)], plugins=[plugin])
    print(f"\n{time.process_time() - start:.0f} CPU seconds")
    _print(plugin)
    plugin.write()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the repositories lie")
    parser.add_argument("words", nargs="*", help="run only tests whose names hold one of these")
    parser.add_argument("--budget", type=float, default=120, help="CPU seconds for each function")
    parser.add_argument("--sample", type=int, help="cases of each function, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of --sample")
    parser.add_argument(
        "--largest", type=float, default=math.inf, help="channels × tokens of the largest case"
    )
    parser.add_argument("--json", type=Path, help="also write the counts to this file")
    return parser.parse_args()


def _files(folder: Path) -> list[str]:
    found = []
    for repository, files in FILES.items():
        joined = folder / repository.replace("/", "+")
        root = joined if joined.is_dir() else folder / repository
        if not root.is_dir():
            sys.exit(f"{repository} is not in {folder}: check it out there")
        found += [str(root / file) for file in files]
    return found


def _print(plugin: Counting) -> None:
    print("\t".join(("test", *COLUMNS)))
    total: Counter[str] = Counter()
    for function, counts in plugin.counts.items():
        total += counts
        print("\t".join((function, *(str(counts[column]) for column in COLUMNS))))
    print("\t".join(("all", *(str(total[column]) for column in COLUMNS))))
    for function, kinds in plugin.kinds.items():
        for kind, count in kinds.most_common():
            print(f"{function}: {count} × {kind}")


if __name__ == "__main__":
    main()
