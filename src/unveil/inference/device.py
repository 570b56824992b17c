"""Where networks run."""

import torch

from unveil.errors import InputError


def usable_device(name: str) -> torch.device:
    """Return the device called `name`, which has been seen to work.

    Args:
        name: ``"auto"`` (a GPU where there is one, else the CPU), or as torch calls it: ``"cpu"``,
            ``"cuda"``, ``"cuda:1"``, …

    Raises:
        InputError: If there is none, or torch cannot use it here.

    >>> usable_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type == "meta":
        raise InputError(f"device {name!r} computes nothing; expected auto, cpu, cuda or cuda:N")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here: {reason}") from error
    return device
