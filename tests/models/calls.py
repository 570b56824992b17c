"""What passes between the parts of a network."""

from typing import NamedTuple

import torch


class Call(NamedTuple):
    given: torch.Tensor
    result: torch.Tensor


def record_calls(model, x):
    """Run a network and return what its parts, by name and two levels deep, got and gave."""
    seen, handles = {}, []
    for name, part in model.named_modules():
        if name.count(".") < 2:

            def note(_, given, result, name=name):
                assert name not in seen, f"{name} ran twice"
                seen[name] = Call(given[0], result)

            handles.append(part.register_forward_hook(note))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen
