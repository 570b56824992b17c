"""Restore the files of a plan on a Ray cluster, or on this machine's cores, with Ray Data.

Each worker is a process that loads the network once and keeps to its own cores. A worker that dies
is started again and its file with it; a file that fails is tried again, then reported. Results are
the bytes that one process with as many threads would write, and a second run skips what is done.
On a cluster, inputs and outputs lie on storage that every machine mounts under one path.
"""

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unveil.batch.jobs import Job, Plan
from unveil.batch.outcome import Outcome
from unveil.batch.run import Saving, restore_files
from unveil.errors import BackendUnavailableError, InputError, MissingExtraError
from unveil.process import usable_cores

LOCAL = "local"
WORKER_DEATHS = 2  # after which a file counts as failed
# Beyond so many files a task holds several.
_MOST_TASKS = 4096
# Tries to start Ray or to connect to it.
_STARTS = 4
# For cores of a worker that is ending.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 10.0, 0.2

_log = logging.getLogger(__name__)


def restore_on_cluster(
    made: Plan,
    *,
    address: str = LOCAL,
    workers: int | None = None,
    cores: int = 1,
    options: Mapping[str, Any] | None = None,
    saving: Saving | None = None,
    retries: int = 1,
    worker: type | None = None,
) -> list[Outcome]:
    """Restore the files of a plan by several processes.

    Args:
        made: The files.
        address: ``"local"`` starts Ray on this machine, ``"auto"`` finds the cluster this machine
            belongs to, anything else is a cluster's address.
        workers: Processes; None is this machine's cores over `cores`.
        cores: Cores and threads of each process.
        options: For `unveil.Restorer`; ``model`` is an id or a path that every machine has.
        saving: How results are saved.
        retries: Further tries of a file that fails.
        worker: Class of the workers, for tests.

    Returns:
        What became of each file, in no particular order.

    Raises:
        InputError: `workers` with `cores` each are more cores than this machine has.
        BackendUnavailableError: There is no cluster at `address`.
        MissingExtraError: Ray is not installed.
    """
    items = [
        {"source": os.path.abspath(job.source), "target": os.path.abspath(job.target)}
        for job in made.jobs
    ]
    usable = usable_cores()
    workers = workers or max(1, usable // cores)
    if address == LOCAL and workers * cores > usable:
        raise InputError(f"{workers} workers with {cores} cores each, but {usable} are usable")
    if not items:
        return []
    ray = _connected(address, workers * cores)
    # A file that ends every worker costs its task, not the run.
    ray.data.DataContext.get_current().max_errored_blocks = -1
    dataset = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_TASKS))
    restored = dataset.map_batches(
        worker or Worker,
        fn_constructor_args=(dict(options or {}), cores, retries, saving or Saving()),
        batch_size=1,
        # Ray gives up all that a worker holds when it dies: one task is one file.
        compute=ray.data.ActorPoolStrategy(
            size=min(workers, len(items)), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=cores,
        max_task_retries=WORKER_DEATHS,
    )
    rows = {row["source"]: row for row in restored.take_all()}
    return [_outcome(item, rows.get(item["source"])) for item in items]


class Worker:
    """A process of its own, with one network in it."""

    def __init__(
        self, options: dict[str, Any], cores: int, retries: int, saving: Saving | None = None
    ) -> None:
        self.cores = claim_cores(cores)
        from unveil.inference.restorer import Restorer  # noqa: PLC0415 (it counts the cores)

        self.restorer = Restorer(**{**options, "threads": cores})
        self.retries, self.saving = retries, saving or Saving()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Restore the files of a batch; try those that fail again."""
        pairs = zip(batch["source"], batch["target"], strict=True)
        jobs = [Job(Path(source), Path(target)) for source, target in pairs]
        found = {}
        for _ in range(1 + self.retries):
            for outcome in restore_files(self.restorer, jobs, self.saving):
                found[outcome.target] = outcome
            jobs = [job for job in jobs if found[job.target].status == "failed"]
            if not jobs:
                break
        outcomes = list(found.values())
        return {
            "source": [str(outcome.source) for outcome in outcomes],
            "status": [outcome.status for outcome in outcomes],
            "reason": [outcome.reason for outcome in outcomes],
            "megapixels": [outcome.megapixels for outcome in outcomes],
            "seconds": [outcome.seconds for outcome in outcomes],
            "process": [os.getpid()] * len(outcomes),
            "cores": [",".join(map(str, self.cores))] * len(outcomes),
        }


_LOCKS: list[Any] = []


def claim_cores(count: int, folder: Path | None = None) -> list[int]:
    """Pin this process to `count` cores that no other worker on this machine has claimed.

    A claim is a locked file, so it ends with its process, however that ends. Where fewer cores stay
    free, as with Ray nodes that declare more than the machine has, this process shares them all.

    Args:
        count: How many.
        folder: Where the locked files lie; None is one of this user's in the temporary folder.

    Returns:
        The cores this process may use.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"unveil-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    usable = sorted(os.sched_getaffinity(0))
    end = time.monotonic() + _PATIENCE_SECONDS
    while len(locks := _free_cores(usable, count, folder)) < count:
        for lock in locks.values():
            lock.close()
        if time.monotonic() > end:
            _log.warning("%d cores are not free: this worker shares the others'", count)
            return usable
        time.sleep(_PAUSE_SECONDS)
    _LOCKS.extend(locks.values())
    os.sched_setaffinity(0, locks)
    return list(locks)


def _free_cores(usable: list[int], count: int, folder: Path) -> dict[int, Any]:
    """Lock `count` cores, or those that are free; return the locks by core."""
    import fcntl  # noqa: PLC0415 (Linux; so is pinning)

    locks: dict[int, Any] = {}
    for core in usable:
        if len(locks) == count:
            break
        lock = (folder / str(core)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
        else:
            locks[core] = lock
    return locks


def _connected(address: str, cores: int) -> Any:
    """Return Ray, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # type: ignore[import-not-found]  # noqa: PLC0415 (an extra)
        import ray.data  # type: ignore[import-not-found]  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("restoring with --ray", "ray") from error
    if ray.is_initialized():
        return ray
    local = {"num_cpus": cores, "include_dashboard": False} if address == LOCAL else {}
    for start in range(1, _STARTS + 1):
        try:
            ray.init(address, log_to_driver=False, **local)
            break
        # A plain Exception is raised where a node is not up after 30 s, as on a busy machine.
        except Exception as error:
            if start < _STARTS and type(error) is Exception:
                _log.warning("Ray did not start in time: trying again")
                continue
            reason = str(error).splitlines()[0]
            raise BackendUnavailableError(f"no Ray cluster at {address}: {reason}") from None
    return ray


def _outcome(item: dict[str, str], row: dict[str, Any] | None) -> Outcome:
    source, target = Path(item["source"]), Path(item["target"])
    if row is None:
        reason = f"{source}: its worker died {1 + WORKER_DEATHS} times"
        return Outcome(source, target, "failed", reason)
    return Outcome(source, target, row["status"], row["reason"], row["megapixels"], row["seconds"])
