"""Compare this build's speed with another's: both in turns, or with figures kept from a run."""

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import unveil
from unveil.bench.model import YARDSTICK, ModelBench
from unveil.bench.turns import Measured
from unveil.errors import InputError

Work = Literal["pass", "gradients", "step"]

# Batch and side of the training patches that are timed.
PATCHES = ((16, 64), (4, 256))

# Runs in a process of each build, old ones too, so it imports by the names that old builds have
# (`unveil.ops.heap`). JSON, line by line.
_WORKER = """
import json, sys, time
import torch, unveil
from unveil.models.registry import create_model
from unveil.ops import native
from unveil.ops.heap import keep_freed_memory

def prepare(model, work, batch, size):
    torch.manual_seed(0)
    network, x = create_model(model), torch.rand(batch, 3, size, size)
    if work == "pass":
        network.eval()
        def run():
            with torch.no_grad():
                network(x)
        return run
    optimizer = None
    if work == "step":
        from unveil.training.optimizer import build_optimizer
        from unveil.training.recipe import OptimSection
        optimizer = build_optimizer(network, OptimSection(name="muon", lr=1e-4, loss="l1"))
    def run():
        network.zero_grad()
        (network(x) - x).abs().mean().backward()
        if optimizer is not None:
            optimizer.step()
    return run

torch.set_num_threads(int(sys.argv[1]))
keep_freed_memory()
say = lambda value: print(json.dumps(value), flush=True)
say({"file": unveil.__file__, "kernel": native.status().chosen})
ready, run = None, None
for line in sys.stdin:
    if line != ready:
        ready, run = line, prepare(*json.loads(line))
        run()
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    say([time.perf_counter() - wall, time.process_time() - cpu])
"""


@dataclass(frozen=True)
class Comparison:
    """One piece of work in both builds.

    Attributes:
        id: The model.
        work: ``"pass"`` without gradients, ``"gradients"`` (forward and backward) or ``"step"``
            (with Muon).
        batch: Images.
        size: Their side in pixels.
        seconds: Median of this build's times.
        other_seconds: Median of the other's.
        ratio: Median over the turns of this build's time over the other's.
        cpu_ratio: The same of the processes' CPU time, which other programs disturb less.
    """

    id: str
    work: Work
    batch: int
    size: int
    seconds: float
    other_seconds: float
    ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class BuildComparison(Measured):
    """All of a run.

    Attributes:
        other: Where the other build lies.
        kernels: Instruction sets that this and the other build's kernels use; None: no kernels.
        threads: Threads of either.
        repeats: Turns.
        rows: The comparisons.
    """

    other: str
    kernels: tuple[str | None, str | None]
    threads: int
    repeats: int
    rows: tuple[Comparison, ...]


def compare_builds(
    ids: Sequence[str],
    other: Path,
    *,
    size: int = 512,
    repeats: int = 5,
    step: bool = True,
    threads: int = 1,
    done: Callable[[Comparison], None] = lambda _: None,
) -> BuildComparison:
    """Time networks in this build and in another, taking turns.

    Args:
        ids: Models that both builds have.
        other: A checkout of unveil, or a folder it is installed in.
        size: Height and width of the image of a pass, in pixels.
        repeats: Turns; medians are reported.
        step: Also time training on `PATCHES`, without and with the optimiser.
        threads: Threads of either build.
        done: Called with every row as soon as it is there.

    Returns:
        Every work of every model.

    Raises:
        InputError: There is no unveil in the folder, or a build cannot do the work.
    """
    works: list[tuple[Work, int, int]] = [("pass", 1, size)]
    for batch, side in PATCHES if step else ():
        works += [("gradients", batch, side), ("step", batch, side)]
    own = Path(unveil.__file__).parents[1]
    with ExitStack() as stack:
        builds = [
            stack.enter_context(running_build(path, threads)) for path in (own, source_of(other))
        ]
        rows = []
        for model in ids:
            for work in works:
                rows.append(_compare(builds, model, *work, repeats=repeats))
                done(rows[-1])
        kernels = (builds[0].kernel, builds[1].kernel)
    return BuildComparison(str(other), kernels, threads, repeats, tuple(rows))


def source_of(folder: Path) -> Path:
    """Return what goes onto the path to import the other build."""
    for candidate in (folder / "src", folder):
        if (candidate / "unveil" / "__init__.py").is_file():
            return candidate.resolve()
    raise InputError(f"{folder}: no unveil in it; give a checkout or a folder it is installed in")


class Build:
    """A build's process, which times what it is given."""

    def __init__(self, process: "subprocess.Popen[str]", path: Path) -> None:
        self.process, self.path = process, path
        started = self._answer()
        if not Path(started["file"]).resolve().is_relative_to(path):
            raise InputError(
                f"{path}: another unveil, {started['file']}, was imported in its place"
            )
        self.kernel: str | None = started["kernel"]

    def time(self, *work: Any) -> list[float]:
        """Return wall and CPU seconds of one run."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(work) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words are read below
        times: list[float] = self._answer()
        return times

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        assert self.process.stderr is not None
        lines = self.process.stderr.read().strip().splitlines()
        named = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
        reason = (named or lines or ["it ended"])[-1]
        raise InputError(f"{self.path}: this build cannot be timed: {reason}")


@contextmanager
def running_build(path: Path, threads: int) -> Iterator[Build]:
    """Start a process of the build whose package lies in `path`; it ends with the context.

    Args:
        path: Folder of the package.
        threads: That it computes with.
    """
    environment = os.environ | {"PYTHONPATH": str(path)}
    environment.pop("UNVEIL_NATIVE_LIBRARY", None)
    # -P: the folder one happens to be in is not searched.
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _WORKER, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield Build(process, path)
    finally:
        process.kill()
        process.communicate()


def _compare(
    builds: list[Build], model: str, work: Work, batch: int, size: int, *, repeats: int
) -> Comparison:
    turns = [[build.time(model, work, batch, size) for build in builds] for _ in range(repeats)]
    own, others = ([turn[i][0] for turn in turns] for i in (0, 1))
    ratios = [[turn[0][i] / max(turn[1][i], 1e-9) for turn in turns] for i in (0, 1)]
    medians = [statistics.median(values) for values in (own, others, *ratios)]
    return Comparison(model, work, batch, size, *medians)


def compare_figures(bench: ModelBench, file: Path) -> list[tuple[str, str, float]]:
    """Compare a run with the figures of an earlier one, each in units of its own yardstick.

    Args:
        bench: The run.
        file: What ``unveil bench model --json`` printed.

    Returns:
        Model, ``"pass"`` or ``"step"``, and this run's time over the earlier one's.

    Raises:
        InputError: The file holds no such figures, or those of another size.
    """
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        before = {row["id"]: row for row in kept["timings"]}
        size = (kept["height"], kept["width"])
        float(before[YARDSTICK]["inference_ratio"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: no figures of unveil bench model --json in it") from error
    if size != (bench.height, bench.width):
        raise InputError(
            f"{file}: figures of {size[0]}×{size[1]} pixels; run with --size {size[0]}"
        )
    rows = []
    for now in bench.timings:
        row = before.get(now.id)
        if row is None or now.id == YARDSTICK:
            continue
        rows.append((now.id, "pass", now.inference_ratio / row["inference_ratio"]))
        if now.step_ratio is not None and row["step_ratio"] is not None:
            rows.append((now.id, "step", now.step_ratio / row["step_ratio"]))
    return rows
