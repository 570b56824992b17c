"""Start an `mtair_small` from the bundled denoiser; what MTAIR adds does nothing at first.

    python experiments/start_from_denoiser.py CLEAN runs/start [--denoiser RUN] [--branches B]

Scans and attention take turns in it (``branches="turns"``): as in the denoiser, scans stand alone
in their units. It has the denoiser's widths and gated units, so that the denoiser's weights fit. It
denoises nearly as the denoiser does: prompts, refinement and the latent's two further units add
nothing yet, joined skips are summed, and where the denoiser's second scan stood is now attention,
which passes on what that scan passed on. The third scan, which adds most, keeps its place, in the
opposite orders.
"""

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import unveil
from unveil.data import list_images
from unveil.degradations import parse
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_unit
from unveil.inference.loading import load
from unveil.layers.attention import GramAttention
from unveil.layers.gated_unit import GatedUnit
from unveil.models.checkpoint import save_pretrained

_PHOTOS, _SIDE = 16, 192
# Where the denoiser's units of the latent go: its first and its third scan stay scans.
_PLACES = (0, 1, 2, 3, 4, 5)


def noisy_photographs(folder: Path) -> Tensor:
    """Return ``(b, 3, h, w)``, photographs with noise of σ from 0 to 55."""
    files = list_images(folder)
    noise = parse("noise:sigma_255=0..55")
    crops = []
    for i, file in enumerate(files[:: max(1, len(files) // _PHOTOS)][:_PHOTOS]):
        photo = to_unit(load_rgb(file)[:_SIDE, :_SIDE])
        if min(photo.shape[:2]) == _SIDE:
            crops.append(noise(photo, np.random.default_rng(i)).transpose(2, 0, 1))
    if not crops:
        raise SystemExit(f"{folder}: no photograph of {_SIDE} pixels or more each way; take others")
    return torch.from_numpy(np.stack(crops).astype(np.float32))


def renamed(name: str) -> str:
    """Return what a parameter or unit of the denoiser is called in `mtair_small`.

    >>> renamed("encoder.2.blocks.1.blocks.0.norm")
    'encoder.2.blocks.1.norm'
    >>> renamed("latent.blocks.3.blocks.0.norm")
    'latent.blocks.5.norm'
    """
    name = re.sub(r"(blocks\.\d+)\.blocks\.0", r"\1", name).replace("stem.", "embed.")
    place = re.match(r"latent\.blocks\.(\d+)", name)
    return name if place is None else f"latent.blocks.{_PLACES[int(place[1])]}{name[place.end() :]}"


@torch.no_grad()
def transplant(denoiser: nn.Module, network: nn.Module) -> None:
    """Copy the denoiser's units into an `mtair_small`, and let all else add nothing."""
    new = network.state_dict()
    given = {renamed(n): value for n, value in denoiser.state_dict().items()}
    # All but the head's bias, as the published head has none, and the second scan.
    for name in given.keys() & new.keys():
        new[name].copy_(given[name])
    for name, unit in network.named_modules():
        if not isinstance(unit, GatedUnit):
            continue
        if f"{name}.layer_scale" not in given:
            unit.project.weight.zero_()
        elif isinstance(unit.mixer, GramAttention):
            passed = given.get(f"{name}.scan.D", torch.ones(1, 1)).sum(0)
            _pass_through(unit.mixer.value.weight, unit.mixer.heads, passed)
    for name, value in new.items():
        if name.startswith("merges"):
            value.copy_(torch.eye(len(value)).repeat(1, 2))
        if name.startswith("prompts") and name.endswith("out_proj.weight"):
            value.zero_()


def _pass_through(value: Tensor, heads: int, factors: Tensor) -> None:
    """Set values such that even attention, added to them, gives the features times `factors`."""
    size = len(value) // heads
    even = torch.block_diag(*[torch.full((size, size), 1 / size)] * heads)
    value.copy_((torch.eye(len(value)) - even / 2) * factors)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clean", type=Path, help="folder of clean photographs")
    parser.add_argument("output", type=Path, help="folder for the weights")
    parser.add_argument("--denoiser", help="checkpoint of a cu_mamba_small; default: the bundled")
    parser.add_argument("--branches", default="turns", choices=["turns", "channel"])
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.denoiser is None:
        denoiser = unveil.create_model("cu_mamba_small", pretrained=True).eval()
    else:
        denoiser = load(options.denoiser).network.eval()
    network = unveil.create_model("mtair_small", branches=options.branches).eval()
    photographs = noisy_photographs(options.clean)
    transplant(denoiser, network)
    with torch.no_grad():
        denoised = denoiser(photographs)
        kept = (network(photographs) - denoised).square().mean()
        whole = (denoised - photographs).square().mean()
    save_pretrained(network, options.output)
    print(f"{options.output}: apart from the denoiser by {kept / whole:.1%} of what that changes")


if __name__ == "__main__":
    main()
