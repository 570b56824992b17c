"""Use the selective scan in a network of your own, and train it for a few steps.

    python examples/scan_in_your_network.py --steps 100

`Block` is a residual block for feature maps: a linear map in, the scan over the image in four
orders, a linear map out. `unveil.ops.selective_scan_2d` runs in the C++ kernel on a CPU, in Triton
on a GPU and in plain PyTorch elsewhere, and gives gradients on all three.
"""

import argparse

import torch
from torch import Tensor, nn

from unveil.ops import ScanOrder, selective_scan_2d

ORDERS: tuple[ScanOrder, ...] = ("row", "column", "row_reversed", "column_reversed")


class Block(nn.Module):
    """Scan an image in four orders, each with its own parameters, and add the result."""

    def __init__(self, width: int, states: int = 8, rank: int = 2) -> None:
        super().__init__()
        self.states, self.rank, k = states, rank, len(ORDERS)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, k * (rank + 2 * states))
        self.delta_weight = nn.Parameter(rank**-0.5 * torch.randn(k, width, rank))
        self.delta_bias = nn.Parameter(torch.full((k, width), -4.0))
        # The state decays as exp(delta * A): A stays negative whatever A_log is.
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(k, width, 1))
        self.D = nn.Parameter(torch.ones(k, width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, h, w, width)` to the same shape."""
        u = self.norm(x)
        parts = self.project(u).unflatten(-1, (len(ORDERS), -1))
        delta, B, C = parts.split([self.rank, self.states, self.states], dim=-1)
        y = selective_scan_2d(
            u, delta, -self.A_log.exp(), B, C, self.D,
            delta_bias=self.delta_bias, delta_softplus=True,
            orders=ORDERS, delta_weight=self.delta_weight,
        )  # fmt: skip
        return x + self.out(y)


class Denoiser(nn.Module):
    """Predict the noise of a gray image from features of two blocks."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(1, width), nn.Linear(width, 1)
        self.blocks = nn.Sequential(Block(width), Block(width))

    def forward(self, degraded: Tensor) -> Tensor:
        """Map `(b, h, w, 1)` to the restored image of the same shape."""
        return degraded - self.out(self.blocks(self.into(degraded)))


def stripes(count: int, side: int) -> Tensor:
    """Draw `count` images of stripes, (count, side, side, 1) in [0, 1]."""
    phase = torch.rand(count, 1, 1) * side
    ramp = torch.arange(side)[None, None] + torch.arange(side)[None, :, None] + phase
    return (0.5 + 0.4 * torch.sin(ramp / 3))[..., None]


def main() -> None:
    """Read the command line, train, and print how the error falls."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of training")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = Denoiser()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(options.steps + 1):
        clean = stripes(4, 32)
        degraded = clean + 0.2 * torch.randn_like(clean)
        loss = (network(degraded) - clean).square().mean()
        if step % max(1, options.steps // 5) == 0:
            print(f"step {step:4d}: {-10 * loss.log10():.2f} dB")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


if __name__ == "__main__":
    main()
