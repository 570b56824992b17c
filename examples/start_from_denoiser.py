"""Start an `mtair_small` from the bundled denoiser; what MTAIR adds does nothing at first.

    python examples/start_from_denoiser.py CLEAN_FOLDER runs/start

The network has the denoiser's widths and gated units, so that the denoiser's weights fit. It
denoises almost as the denoiser does: prompts, refinement and the latent's further units add nothing
yet, and joined skips are summed.
"""

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import unveil
from unveil.data import list_images
from unveil.data.crop import to_unit
from unveil.degradations import parse
from unveil.imaging import load_rgb
from unveil.layers.gated_unit import GatedUnit
from unveil.models.checkpoint import save_pretrained

_PHOTOS, _SIDE = 16, 192


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
    """
    return re.sub(r"(blocks\.\d+)\.blocks\.0", r"\1", name).replace("stem.", "embed.")


@torch.no_grad()
def transplant(denoiser: nn.Module, network: nn.Module) -> None:
    """Copy the denoiser's units into an `mtair_small`, and let all else add nothing."""
    new = network.state_dict()
    # The published head has no bias.
    given = {renamed(n): value for n, value in denoiser.state_dict().items() if n != "head.bias"}
    for name, value in given.items():
        new[name].copy_(value)
    for name, unit in network.named_modules():
        if not isinstance(unit, GatedUnit):
            continue
        project = new[f"{name}.project.weight"]
        if f"{name}.layer_scale" not in given:
            project.zero_()
        if unit.project_scan is not None:
            new[f"{name}.project_scan.weight"].copy_(project)
            project.zero_()
        elif unit.mixer is not None:
            _pass_through(new[f"{name}.mixer.value.weight"], unit.mixer.heads)
    for name, value in new.items():
        if name.startswith("merges"):
            value.copy_(torch.eye(len(value)).repeat(1, 2))
        if name.startswith("prompts") and name.endswith("out_proj.weight"):
            value.zero_()


def _pass_through(value: Tensor, heads: int) -> None:
    """Set values such that even attention, added to them, gives the features themselves."""
    size = len(value) // heads
    even = torch.block_diag(*[torch.full((size, size), 1 / size)] * heads)
    value.copy_(torch.eye(len(value)) - even / 2)


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clean", type=Path, help="folder of clean photographs")
    parser.add_argument("output", type=Path, help="folder for the weights")
    options = parser.parse_args()
    torch.manual_seed(0)
    denoiser = unveil.create_model("cu_mamba_small", pretrained=True).eval()
    network = unveil.create_model("mtair_small").eval()
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
