"""Best scores of runs of older versions, whose means counted undegraded photographs, too."""

import math
from collections.abc import Collection
from pathlib import Path

from unveil.bounded import parse_json
from unveil.errors import CheckpointError
from unveil.models.checkpoint import WEIGHTS_NAME, read_metadata
from unveil.training.validation import mean_of_degraded


def comparable_best(
    best: dict[str, float], folder: Path, without: Collection[str]
) -> dict[str, float]:
    """Return a stored best score as it would be measured now.

    Args:
        best: Step and PSNR as a checkpoint stores them, or empty.
        folder: Holds the weights that had the score, which name it group by group.
        without: Groups that do not count any more.
    """
    if not best or not without:
        return best
    try:
        facts = parse_json(read_metadata(folder / WEIGHTS_NAME)["training"])
        groups = {str(group): float(psnr) for group, psnr in facts["validation"].items()}
        of_these = facts["step"] == best["step"] and math.isclose(
            mean_of_degraded(groups, frozenset()), best["psnr"], rel_tol=1e-9
        )
    except (CheckpointError, ValueError, TypeError, KeyError, AttributeError):
        return best
    return {**best, "psnr": mean_of_degraded(groups, frozenset(without))} if of_these else best
