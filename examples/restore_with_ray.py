"""Restore a folder of photographs by several processes or machines, with Ray, from Python.

    python examples/restore_with_ray.py photos restored --workers 2 --cores 1
    python examples/restore_with_ray.py photos restored --address auto --workers 64 --cores 4

It does what `unveil restore --ray` does, and needs `pip install ".[ray]"`. Each worker is a
process with one network. A worker that dies is replaced, and a second run skips what is done.
"""

import argparse
from collections import Counter
from pathlib import Path

from unveil.batch import Saving, plan
from unveil.batch.cluster import restore_on_cluster
from unveil.errors import UnveilError


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("output", type=Path, help="folder for the results")
    parser.add_argument("--address", default="local", help="of the cluster; local starts one here")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--cores", type=int, default=1, help="cores of each process")
    parser.add_argument("--model", help="id or weights file; default: the bundled all-in-one")
    options = parser.parse_args()
    try:
        made = plan([str(options.photos)], output=options.output, recursive=True)
        outcomes = restore_on_cluster(
            made,
            address=options.address,
            workers=options.workers,
            cores=options.cores,
            options={"model": options.model},
            saving=Saving(),
        )
    except UnveilError as error:
        parser.error(str(error))
    failures = [outcome.reason for outcome in outcomes if outcome.status == "failed"]
    for failure in (*failures, *(str(error) for _, error in made.failed)):
        print(failure)
    print(dict(Counter(outcome.status for outcome in outcomes)))


if __name__ == "__main__":
    main()
