"""A small image restorer written against `mamba_ssm`, as published Mamba vision networks are.

Nothing here knows unveil. Where `mamba_ssm` cannot be installed, run it with the stand-in:

    python -m unveil.compat examples/ss2d_with_mamba_ssm_interface.py --size 128

and, to see what the stand-in saves, with the loop such networks fall back to:

    UNVEIL_SCAN_BACKEND=reference python -m unveil.compat examples/ss2d_with_mamba_ssm_interface.py

The network is untrained: the script measures, it does not restore.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
from torch import Tensor, nn


class SS2D(nn.Module):
    """Scan an image along rows and columns, forwards and backwards, in one grouped call."""

    def __init__(self, width: int, states: int = 16, rank: int = 6) -> None:
        super().__init__()
        inner = 2 * width
        self.sizes = [rank, states, states]
        self.into = nn.Linear(width, 2 * inner)
        self.local = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.project = nn.Parameter(0.05 * torch.randn(4, sum(self.sizes), inner))
        self.steps = nn.Parameter(rank**-0.5 * torch.randn(4, inner, rank))
        self.steps_bias = nn.Parameter(torch.full((4 * inner,), -4.0))
        self.A_logs = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(4 * inner, 1))
        self.Ds = nn.Parameter(torch.ones(4 * inner))
        self.norm = nn.LayerNorm(inner)
        self.out = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, h, w, width)` to the same shape."""
        b, h, w, _ = x.shape
        u, gate = self.into(x).chunk(2, dim=-1)
        u = F.silu(self.local(u.permute(0, 3, 1, 2)))
        rows, columns = u.flatten(2), u.transpose(2, 3).flatten(2)
        u = torch.stack([rows, columns, rows.flip(-1), columns.flip(-1)], dim=1)
        projected = torch.einsum("bkdl,kcd->bkcl", u, self.project)
        low_rank, B, C = projected.split(self.sizes, dim=2)
        steps = torch.einsum("bkrl,kdr->bkdl", low_rank, self.steps)
        y = selective_scan_fn(
            u.flatten(1, 2),
            steps.flatten(1, 2),
            -self.A_logs.exp(),
            B.contiguous(),
            C.contiguous(),
            self.Ds,
            delta_bias=self.steps_bias,
            delta_softplus=True,
        ).view(b, 4, -1, h * w)
        y = y[:, :2] + y[:, 2:].flip(-1)
        turned = y[:, 1].unflatten(-1, (w, h)).transpose(2, 3).flatten(2)
        y = (y[:, 0] + turned).transpose(1, 2).view(b, h, w, -1)
        mapped: Tensor = self.out(self.norm(y) * F.silu(gate))
        return mapped


class Restorer(nn.Module):
    """Predict what to add to a degraded image: convolution, residual SS2D blocks, convolution."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.blocks = nn.ModuleList(SS2D(width) for _ in range(depth))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, degraded: Tensor) -> Tensor:
        """Map `(b, 3, h, w)` to the same shape."""
        x = self.first(degraded).permute(0, 2, 3, 1)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return degraded + self.last(x.permute(0, 3, 1, 2))


def median_seconds(action: object, times: int) -> float:
    """Call `action` once to warm up, then `times` times."""
    assert callable(action)
    action()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[times // 2]


def main() -> None:
    """Measure one restoration and one training step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the square image")
    parser.add_argument("--width", type=int, default=48, help="channels")
    parser.add_argument("--depth", type=int, default=4, help="SS2D blocks")
    parser.add_argument("--times", type=int, default=3, help="repetitions, of which the median")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = Restorer(options.width, options.depth)
    clean = torch.rand(1, 3, options.size, options.size)
    degraded = clean + 0.1 * torch.randn_like(clean)

    @torch.no_grad()
    def restore() -> None:
        network(degraded)

    def train() -> None:
        network.zero_grad()
        F.l1_loss(network(degraded), clean).backward()

    parameters = sum(p.numel() for p in network.parameters())
    print(f"{parameters:,} parameters, {options.size}x{options.size} pixels,", end=" ")
    print(f"{torch.get_num_threads()} threads")
    print(f"restore     {median_seconds(restore, options.times):8.2f} s")
    print(f"train step  {median_seconds(train, options.times):8.2f} s")


if __name__ == "__main__":
    main()
