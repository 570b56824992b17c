"""Restore a folder of photographs on a Ray cluster, or on this machine's cores.

    pip install ".[ray]"
    python examples/ray_data_restore.py photos restored                       # this machine
    python examples/ray_data_restore.py photos restored --address auto \
        --workers 64 --cores 4                                                # a cluster

Each worker is a process that loads the network once and keeps to its own cores. A worker that dies
is started again and its files with it; a file that fails is tried again, then reported. Results are
the bytes that one process with as many threads would write, and a second run skips what is done.
On a cluster, `photos` and `restored` must lie on storage that every machine sees, under one path.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import ray
except ModuleNotFoundError:
    raise SystemExit('this example needs Ray: pip install ".[ray]"') from None

from unveil.inference.batch import Saving, restore_files
from unveil.inference.plan import Job, Plan, plan

FILES_PER_TASK = 4
WORKER_DEATHS = 2  # after which a task's files count as failed


def claim_cores(count: int, folder: Path | None = None) -> list[int]:
    """Pin this process to `count` cores that no other worker on this machine has claimed.

    A claim is a locked file, so it ends with its process, however that ends.

    Raises:
        RuntimeError: Fewer are free.
    """
    import fcntl  # noqa: PLC0415 (Linux; so is pinning)

    folder = folder or Path(tempfile.gettempdir()) / f"unveil-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    claimed: list[int] = []
    for core in sorted(os.sched_getaffinity(0)):
        lock = (folder / str(core)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _LOCKS.append(lock)
        claimed.append(core)
        if len(claimed) == count:
            os.sched_setaffinity(0, claimed)
            return claimed
    raise RuntimeError(f"{len(claimed)} cores are free, {count} asked for: use fewer workers")


_LOCKS: list[Any] = []


class Worker:
    """A process of its own, with one network in it."""

    def __init__(self, model: str | None, cores: int, retries: int) -> None:
        self.cores = claim_cores(cores)
        import torch  # noqa: PLC0415 (after the cores are claimed: it counts them)

        from unveil import Restorer  # noqa: PLC0415

        torch.set_num_threads(cores)
        self.restorer, self.retries = Restorer(model), retries

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Restore the files of a batch; try those that fail again."""
        pairs = zip(batch["source"], batch["target"], strict=True)
        jobs = [Job(Path(source), Path(target)) for source, target in pairs]
        found = {}
        for _ in range(1 + self.retries):
            for outcome in restore_files(self.restorer, jobs, Saving()):
                found[outcome.target] = outcome
            jobs = [job for job in jobs if found[job.target].status == "failed"]
            if not jobs:
                break
        outcomes = list(found.values())
        return {
            "source": [str(outcome.source) for outcome in outcomes],
            "status": [outcome.status for outcome in outcomes],
            "reason": [outcome.reason for outcome in outcomes],
            "process": [os.getpid()] * len(outcomes),
            "cores": [",".join(map(str, self.cores))] * len(outcomes),
        }


def restore_plan(
    made: Plan,
    *,
    workers: int,
    cores: int,
    model: str | None = None,
    retries: int = 1,
    worker: type = Worker,
) -> list[dict[str, Any]]:
    """Restore the files of a plan; return what became of each."""
    items = [
        {"source": os.path.abspath(job.source), "target": os.path.abspath(job.target)}
        for job in made.jobs
    ]
    if not items:
        return []
    # A file that kills every worker costs its task, not the run.
    ray.data.DataContext.get_current().max_errored_blocks = -1
    dataset = ray.data.from_items(items).map_batches(
        worker,
        fn_constructor_args=(model, cores, retries),
        batch_size=FILES_PER_TASK,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=cores,
        max_task_retries=WORKER_DEATHS,
    )
    rows: list[dict[str, Any]] = dataset.take_all()
    known = {row["source"] for row in rows}
    lost = [item["source"] for item in items if item["source"] not in known]
    return rows + [
        {
            "source": source,
            "status": "failed",
            "reason": f"{source}: its worker died {1 + WORKER_DEATHS} times",
            "process": None,
            "cores": "",
        }
        for source in lost
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, restore, print the failures; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder, searched with the folders below it")
    parser.add_argument("output", type=Path, help="folder for the results")
    parser.add_argument("--model", help="id or weights file; default: the bundled model")
    parser.add_argument("--workers", type=int, help="processes; default: cores / --cores")
    parser.add_argument("--cores", type=int, default=1, help="cores and threads of each worker")
    parser.add_argument("--retries", type=int, default=1, help="further tries of a failed file")
    parser.add_argument("--address", help="of a running cluster ('auto': this machine's)")
    options = parser.parse_args(arguments)
    usable = len(os.sched_getaffinity(0))
    workers = options.workers or max(1, usable // options.cores)
    if not options.address and workers * options.cores > usable:
        parser.error(f"{workers} workers with {options.cores} cores each, but {usable} are usable")
    made = plan([options.photos], output=options.output, recursive=True)
    if not ray.is_initialized():
        local = {} if options.address else {"num_cpus": workers * options.cores}
        ray.init(options.address, include_dashboard=False, **local)
    rows = restore_plan(
        made, workers=workers, cores=options.cores, model=options.model, retries=options.retries
    )
    failures = [row["reason"] for row in rows if row["status"] == "failed"]
    failures += [str(error) for _, error in made.failed]
    done = sum(row["status"] != "failed" for row in rows)
    processes = len({row["process"] for row in rows} - {None})
    print(f"{done} of {len(rows)} restored by {processes} workers")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
