"""Base of all networks: an image in, an image out, global statistics on request."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.layers.statistics import GlobalStatistics, ImageWide

# Of any number and any list in a configuration: ten times what networks have.
_LARGEST, _MOST_ENTRIES = 8192, 16


class ModelConfig(BaseModel):
    """Base of the networks' configurations: frozen, and unknown fields are errors.

    Raises:
        ValueError: A number is not finite or out of its range, or the values do not go together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        for name, value in self:
            if isinstance(value, int | float) and abs(value) > _LARGEST:
                raise ValueError(f"{name} is beyond {_LARGEST}")
            if isinstance(value, tuple) and len(value) > _MOST_ENTRIES:
                raise ValueError(f"{name} has {len(value)} entries, more than {_MOST_ENTRIES}")
        return self


class RestorationModel(nn.Module):
    """Base of the networks: checks shapes, gathers image-wide statistics.

    Subclasses set `config_type` and `size_multiple` and implement `encode`, `refine_latent` and
    `decode`. One position of the latent, the coarsest level, covers `size_multiple`² pixels.

    Attributes:
        config: The validated configuration.
        model_id: The registry's name for the variant it was made as.
    """

    config_type: ClassVar[type[ModelConfig]] = ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model_id = ""

    @property
    def size_multiple(self) -> int:
        """Heights and widths that `forward` takes are multiples of this."""
        raise NotImplementedError

    @property
    def has_statistics(self) -> bool:
        """Whether any layer has global statistics; if none has, they are empty."""
        return any(isinstance(module, ImageWide) for module in self.modules())

    def encode(
        self, degraded: Tensor, statistics: GlobalStatistics | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Run the encoder.

        Args:
            degraded: ``(b, 3, h, w)``.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            The features that enter the latent, ``(b, h, w, c)``, and the skips, finest first.
        """
        raise NotImplementedError

    def refine_latent(self, features: Tensor, statistics: GlobalStatistics | None) -> Tensor:
        """Run the latent, the coarsest level.

        Args:
            features: ``(b, h, w, c)`` from `encode`.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            Same shape.
        """
        raise NotImplementedError

    def decode(
        self, latent: Tensor, skips: list[Tensor], statistics: GlobalStatistics | None
    ) -> Tensor:
        """Run the decoder; it empties ``skips``, so that their memory is free for finer levels.

        Args:
            latent: ``(b, h, w, c)`` from `refine_latent`.
            skips: From `encode`.
            statistics: Global statistics, when the features are of a tile; None for a whole image.

        Returns:
            The residual, ``(b, 3, h, w)``.
        """
        raise NotImplementedError

    @property
    def runs_in_parts(self) -> bool:
        """Whether tiles of an image can go through the network together; see `UNet`."""
        return False

    def forward(
        self,
        degraded: Tensor,
        context: GlobalStatistics | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Restore images.

        Args:
            degraded: ``(b, 3, h, w)``, RGB, nominally in [0, 1], h and w multiples of
                `size_multiple`; `unveil.inference.restore_tensor` takes any size.
            context: Global statistics from `collect_statistics`, when `degraded` are tiles of one
                image.
            latent: What `refine_latent` made of the whole image, cut to these tiles; None: of each
                tile.

        Returns:
            Restored images, same shape, not clipped.

        Raises:
            InputError: The shape does not fit.
        """
        self._check(degraded)
        return degraded + self.residual(degraded, context, latent)

    def residual(
        self,
        degraded: Tensor,
        statistics: GlobalStatistics | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """Compute what restoring adds to images: restored minus degraded.

        Args:
            degraded: As for `forward`, which checks it; this does not.
            statistics: The `context` of `forward`.
            latent: As for `forward`.

        Returns:
            Same shape as `degraded`.
        """
        features, skips = self.encode(degraded, statistics)
        if latent is None:
            latent = self.refine_latent(features, statistics)
        return self.decode(latent, skips, statistics)

    @torch.no_grad()
    def collect_statistics(self, samples: Tensor) -> GlobalStatistics:
        """Gather the image-wide statistics of one image from full-resolution samples of it.

        Args:
            samples: ``(s, 3, h, w)``, crops of equal size from one image, or the image itself. Not
                a shrunken copy: shrinking hides noise.

        Returns:
            Statistics to pass with each tile. With the image itself as the one sample, a pass with
            them equals a pass without.

        Raises:
            InputError: The shape does not fit.
        """
        self._check(samples)
        recorder = GlobalStatistics()
        self.residual(samples, recorder)
        return recorder.recorded()

    def parameter_groups(
        self, *, weight_decay: float = 0.0, ssm_learning_rate: float = 1.0
    ) -> list[dict[str, Any]]:
        """Group the parameters for an optimiser.

        Layers name their parameters that are not decayed in ``no_weight_decay``, and those of a
        recurrence in ``ssm_parameters``: attributes that hold parameters or whole modules.

        Args:
            weight_decay: Decay of matrices and convolutions; vectors, and parameters that their
                layer excludes, are never decayed.
            ssm_learning_rate: Factor on the learning rate of the SSMs' Δ, A, B and C.

        Returns:
            Groups with ``params``, ``weight_decay``, ``decays`` (whether decay applies to the
            group) and ``lr_scale``; an optimiser ignores the last two, a trainer multiplies the
            group's rate by ``lr_scale``.
        """
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        excluded, slow = self._declared("no_weight_decay"), self._declared("ssm_parameters")
        for parameter in self.parameters():
            decayed = parameter.ndim > 1 and id(parameter) not in excluded
            groups.setdefault((decayed, id(parameter) in slow), []).append(parameter)
        return [
            {
                "params": parameters,
                "weight_decay": weight_decay if decayed else 0.0,
                "decays": decayed,
                "lr_scale": ssm_learning_rate if of_ssm else 1.0,
            }
            for (decayed, of_ssm), parameters in groups.items()
        ]

    def _declared(self, attribute: str) -> set[int]:
        """Return the ids of the parameters that layers name in a class attribute."""
        found: set[int] = set()
        for module in self.modules():
            for name in getattr(module, attribute, ()):
                owned = getattr(module, name)
                if isinstance(owned, nn.Parameter):
                    found.add(id(owned))
                elif owned is not None:
                    found.update(map(id, owned.parameters()))
        return found

    def name_statistics(self) -> Self:
        """Give every image-wide layer its name; called once the network is built."""
        for name, module in self.named_modules():
            if isinstance(module, ImageWide):
                module.statistic_name = name
        return self

    def _check(self, images: Tensor) -> None:
        multiple = self.size_multiple
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(
                f"degraded has shape {tuple(images.shape)}; expected (b, 3, h, w) with RGB channels"
            )
        if images.shape[2] % multiple or images.shape[3] % multiple or 0 in images.shape[2:]:
            raise InputError(
                f"degraded is {images.shape[2]}×{images.shape[3]}; height and width must be "
                f"multiples of {multiple}: pad, or call unveil.inference.restore_tensor"
            )
        check_floats(images)


def check_floats(degraded: Tensor) -> None:
    """Check that images are of floats.

    Raises:
        InputError: They are not.
    """
    if not degraded.is_floating_point():
        raise InputError(f"degraded is {degraded.dtype}; expected floats, nominally in [0, 1]")


def count_parameters(modules: Iterable[nn.Module] | nn.Module) -> int:
    """Count the parameters of a module or of several.

    >>> count_parameters(nn.Linear(3, 4))
    16
    """
    parts = [modules] if isinstance(modules, nn.Module) else modules
    return sum(parameter.numel() for part in parts for parameter in part.parameters())
