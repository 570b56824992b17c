"""The sizes and the parameters that both Mamba-2 blocks have."""

from typing import Any

import torch
from torch import Tensor, nn

from unveil.compat.mamba_simple import delta_bias, undecayed
from unveil.errors import InputError


class Mamba2Base(nn.Module):
    """Base of the Mamba-2 blocks, with `mamba_ssm`'s parameter names and initial values.

    Args:
        d_model: Channels in and out.
        d_state: States per channel, n.
        d_conv: Taps of the causal convolution.
        expand: Inner channels per channel.
        headdim: Channels of a head, p.
        ngroups: Groups of heads that share B and C, g.
        d_ssm: Inner channels that are scanned. All when None.

    Raises:
        InputError: The heads do not divide the channels, or the groups the heads.
    """

    in_proj: nn.Linear
    conv1d: nn.Conv1d
    dt_bias: nn.Parameter
    A_log: nn.Parameter

    def __init__(
        self,
        d_model: int,
        d_state: int,
        d_conv: int,
        expand: int,
        headdim: int,
        ngroups: int,
        d_ssm: int | None = None,
    ) -> None:
        super().__init__()
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.headdim, self.ngroups = headdim, ngroups
        self.d_inner = int(expand * d_model)
        self.d_ssm = self.d_inner if d_ssm is None else d_ssm
        if self.d_ssm % headdim or (self.d_ssm // headdim) % ngroups:
            raise InputError(
                f"{self.d_ssm} channels do not divide into {ngroups} groups of heads of {headdim}"
            )
        self.nheads = self.d_ssm // headdim

    def _add_projections(
        self, bias: bool, conv_bias: bool, conv_init: float | None, options: dict[str, Any]
    ) -> None:
        """Add the input projection, the causal convolution and its activation."""
        self.conv_init = conv_init
        projections = 2 * self.ngroups * self.d_state
        mixed = self.d_ssm + projections
        width = 2 * self.d_inner + projections + self.nheads
        self.in_proj = nn.Linear(self.d_model, width, bias=bias, **options)
        self.conv1d = nn.Conv1d(
            *(mixed, mixed, self.d_conv),
            groups=mixed,
            padding=self.d_conv - 1,
            bias=conv_bias,
            **options,
        )
        if conv_init is not None:
            nn.init.uniform_(self.conv1d.weight, -conv_init, conv_init)
        self.act = nn.SiLU()

    def _add_steps(
        self,
        steps: tuple[float, float, float],
        decays: tuple[float, float],
        options: dict[str, Any],
    ) -> None:
        """Add the bias of the step sizes and the logarithms of the decays, one per head.

        Args:
            steps: Smallest and largest initial step size, and the floor below them.
            decays: Bounds of the uniform initial decays.
            options: Device and dtype.

        Raises:
            InputError: The bounds of the decays are not positive, or not in order.
        """
        self.dt_bias = undecayed(delta_bias(torch.rand(self.nheads, **options), *steps))
        if not 0 < decays[0] <= decays[1]:
            raise InputError(f"A_init_range is {decays}, expected two positive numbers in order")
        drawn = torch.empty(self.nheads, device=options["device"]).uniform_(*decays)
        self.A_log = undecayed(drawn.log().to(options["dtype"]))

    def _check_tokens(self, tokens: Tensor, given: Tensor) -> None:
        """Check tokens `(b, l, d_model)`, made of the argument `u`.

        Raises:
            InputError: They have another shape, or there are none.
        """
        if tokens.dim() != 3 or tokens.shape[2] != self.d_model or tokens.shape[1] == 0:
            raise InputError(
                f"u has shape {tuple(given.shape)}, expected (b, l, {self.d_model}), l > 0"
            )
