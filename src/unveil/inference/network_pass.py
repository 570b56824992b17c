"""Passes of a network over an image or a tile: its change, its latent, the image's statistics."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.imaging.image import Array
from unveil.imaging.scratch import release
from unveil.inference.bottleneck import cut, encoded, refined
from unveil.inference.padding import pad_to_multiple
from unveil.inference.sample_conversion import to_network
from unveil.inference.self_ensemble import (
    COUNT,
    restored_feature_orientation,
    restored_orientation,
    transformed,
    transformed_features,
)
from unveil.inference.statistics import ConditionedStatistics, gather_statistics, most_at_once
from unveil.inference.tiles import Grid
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel

# Called after every pass of the network, for progress and cancelling.
Tick = Callable[[], None]


def size_multiple(model: nn.Module) -> int:
    """Return what sides of a network's images are multiples of; 1 where it does not say."""
    return int(getattr(model, "size_multiple", 1))


def has_statistics(model: nn.Module) -> bool:
    """Return whether a network has image-wide statistics."""
    return bool(getattr(model, "has_statistics", False))


def finite(change: Tensor) -> Tensor:
    """Return a network's change as it is.

    Raises:
        InputError: It holds values that are no numbers.
    """
    if not math.isfinite(change.sum().item()):
        raise InputError(
            "the network's result holds values that are no numbers: its weights are "
            "damaged, or were trained until they broke; take others"
        )
    return change


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class NetworkPass:
    """How a network is run.

    Attributes:
        model: Maps ``(b, 3, h, w)`` to the same shape.
        device: Where it lies.
        ensemble: Average over the 8 flips and rotations.
        conditioning: Statistics, by layer, that replace the image's own.
        tick: Called after every pass.
    """

    model: nn.Module
    device: torch.device
    ensemble: bool = False
    conditioning: Mapping[str, Tensor] = field(default_factory=dict)
    tick: Tick = _nothing

    @property
    def transforms(self) -> range:
        """Numbers of the self-ensemble's transforms; the first changes nothing."""
        return range(COUNT if self.ensemble else 1)

    @property
    def multiple(self) -> int:
        """Sides of the network's images are multiples of this."""
        return size_multiple(self.model)

    def change(
        self,
        given: Tensor,
        shared: Sequence[GlobalStatistics] | None,
        latents: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return what the network would change about an image or tile; tick between passes.

        Args:
            given: ``(1, 3, h, w)``, any size.
            shared: The image's statistics, by transform; None where `given` is the image.
            latents: The whole image's latent, cut to this tile, by transform; none where the pass
                makes its own.

        Returns:
            Same shape, 1.0 being full scale.
        """
        height, width = given.shape[-2:]
        # Before it is transformed: else its places on the coarse grids would differ.
        given = pad_to_multiple(given.to(self.device), self.multiple)
        with torch.inference_mode():
            total = torch.zeros_like(given)
            for number in self.transforms:
                if number:
                    self.tick()
                image_statistics = shared[number] if shared else self._own_statistics()
                latent = None
                if latents:
                    latent = transformed_features(latents[number].to(self.device), number)
                residual = self.residual(transformed(given, number), image_statistics, latent)
                total += restored_orientation(residual, number)
            return finite(total[..., :height, :width]) / len(self.transforms)

    def residual(
        self, x: Tensor, image_statistics: GlobalStatistics | None, latent: Tensor | None = None
    ) -> Tensor:
        """Return the residual of padded images; of other networks, their result minus the image.

        Args:
            x: ``(b, 3, h, w)``, sides multiples of the network's.
            image_statistics: As for `RestorationModel.residual`.
            latent: Likewise.

        Raises:
            InputError: The network gives another size.
        """
        if isinstance(self.model, RestorationModel):
            return self.model.residual(x, image_statistics, latent)
        given = {"context": image_statistics, "latent": latent}
        known = {name: value for name, value in given.items() if value is not None}
        restored = torch.as_tensor(self.model(x, **known))
        if restored.shape != x.shape:
            raise InputError(
                f"the network makes {tuple(restored.shape)} of {tuple(x.shape)}; expected one "
                "that keeps the size"
            )
        return restored - x

    def _own_statistics(self) -> GlobalStatistics | None:
        return ConditionedStatistics(self.conditioning) if self.conditioning else None

    def statistics(self, pixels: Array, side: int, grid: Grid | None) -> list[GlobalStatistics]:
        """Gather an image's statistics from crops, once per transform.

        Args:
            pixels: ``(h, w, c)`` samples.
            side: Of the crops, which are no larger than a tile.
            grid: Of the tiles; a pass takes no more pixels than it allows. None takes all at once.
        """

        def run(samples: Tensor, recorder: GlobalStatistics) -> None:
            if recorder.places is not None:
                recorder.places = recorder.places.to(self.device)
            self.residual(samples.to(self.device), recorder)
            self.tick()

        return gather_statistics(
            run,
            pixels,
            side=side if grid is None else min(side, grid.tile),
            multiple=self.multiple,
            most_pixels=None if grid is None else most_at_once(grid),
            transforms=self.transforms,
            given=self.conditioning,
        )

    def latents(
        self,
        pixels: Array,
        grid: Grid,
        shared: Sequence[GlobalStatistics] | None,
        *,
        trained_on_crops: bool,
    ) -> list[Array]:
        """Return the whole image's latent, once per transform; tick after every encoded tile.

        Args:
            pixels: ``(h, w, c)`` samples.
            grid: Of the tiles.
            shared: The image's statistics, by transform.
            trained_on_crops: Whether the latent, too, takes statistics of crops.
        """
        model = cast("RestorationModel", self.model)
        dtype = next(model.parameters()).dtype
        size = tuple(-(-side // self.multiple) for side in pixels.shape[:2])

        def latent_of(number: int) -> Array:
            image_statistics = shared[number] if shared else None

            def encode(rows: slice, columns: slice) -> Tensor:
                tile = to_network(pixels[rows, columns]).to(self.device, dtype)
                release(pixels)
                padded = pad_to_multiple(tile, self.multiple)
                features = model.encode(transformed(padded, number), image_statistics)[0]
                self.tick()
                return restored_feature_orientation(features, number)

            def refine(features: Tensor) -> Tensor:
                turned = transformed_features(features.to(self.device, dtype), number)
                # What is the whole image needs no statistics gathered elsewhere.
                at_once = not trained_on_crops and features.shape[1:3] == size
                seen = self._own_statistics() if at_once else image_statistics
                return restored_feature_orientation(model.refine_latent(turned, seen), number)

            whole = encoded((pixels.shape[0], pixels.shape[1]), grid, self.multiple, encode)
            return refined(whole, grid, lambda rows, columns: refine(cut(whole, rows, columns, 1)))

        with torch.inference_mode():
            return [latent_of(number) for number in self.transforms]
