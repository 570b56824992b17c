"""A network in three parts for tiles that share their image's statistics and its latent.

They are the parts of `RestorationModel`: `encode`, `refine_latent` and `decode`. Each takes the
statistics of its layers, or gathers them from what it is given, and gives those that it used.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from unveil.export.graph_modules import Form, padded, prepared
from unveil.inference.loading import LoadedModel
from unveil.layers.statistics import GlobalStatistics
from unveil.models.base import RestorationModel

PARTS = ("encode", "refine", "restore")
_WHOLE_IMAGE = (0.0, 1.0, 0.0, 1.0)


class ChosenStatistics(GlobalStatistics):
    """Statistics that are given, or those of the images in the batch.

    Args:
        given: By layer, ``(1, ...)``.
        fixed: The same for layers whose statistics never change.
        gather: A boolean; whether the images' own take the place of the given ones.
        places: Of the images, ``(n, 4)``.
    """

    def __init__(
        self,
        given: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        gather: Tensor,
        places: Tensor,
    ) -> None:
        super().__init__(given, places)
        self._fixed, self._gather = fixed, gather

    def statistic(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return the statistic of layer `name`, and keep it.

        Args:
            name: The layer's name within its model.
            compute: Gives the statistic of every sample, ``(samples, ...)``.
        """
        if name in self._fixed:
            return self._fixed[name]
        own = compute().mean(0, keepdim=True)
        self.statistics[name] = torch.where(self._gather, own, self.statistics[name])
        return self.statistics[name]


class _Part(nn.Module):
    """One part of a network.

    Args:
        model: The network.
        names: Layers of this part whose statistics are inputs and outputs, in their order.
        fixed: Statistics, by layer, that are the same for every image.
    """

    def __init__(
        self, model: RestorationModel, names: list[str], fixed: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.model, self.names, self.fixed = model, names, dict(fixed)

    def context(self, places: Tensor, gather: Tensor, given: list[Tensor]) -> ChosenStatistics:
        """Return the statistics of a pass.

        Args:
            places: Of the images, ``(n, 4)``.
            gather: Whether their own take the place of the given ones.
            given: One tensor per layer.
        """
        known = dict(zip(self.names, given, strict=True))
        return ChosenStatistics(known, self.fixed, gather, places)

    def used(self, context: ChosenStatistics) -> list[Tensor]:
        """Return the statistics that a pass used, one tensor per layer."""
        return [context.statistics[name] for name in self.names]


class EncodedTiles(_Part):
    """``image`` → ``latent`` and skips."""

    def forward(
        self, image: Tensor, places: Tensor, gather: Tensor, given: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Encode tiles ``(n, 3, h, w)``; sides of the features are rounded up.

        Args:
            image: Floats in [0, 1].
            places: Of the tiles, ``(n, 4)``.
            gather: Whether the tiles' own statistics take the place of the given ones.
            given: One tensor per layer.
        """
        context = self.context(places, gather, given)
        latent, skips = self.model.encode(padded(image, self.model.size_multiple), context)
        return (latent, *skips, *self.used(context))


class RefinedLatent(_Part):
    """``latent`` → ``refined``."""

    def forward(
        self, latent: Tensor, places: Tensor, gather: Tensor, given: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Refine features ``(n, h, w, f)``.

        Args:
            latent: The encoder's features of the whole image.
            places: Of the features, ``(n, 4)``.
            gather: Whether their own statistics take the place of the given ones.
            given: One tensor per layer.
        """
        context = self.context(places, gather, given)
        return (self.model.refine_latent(latent, context), *self.used(context))


class RestoredTiles(_Part):
    """``image``, ``refined`` and skips → ``restored``."""

    def forward(
        self,
        image: Tensor,
        refined: Tensor,
        skips: list[Tensor],
        places: Tensor,
        gather: Tensor,
        given: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """Restore tiles ``(n, 3, h, w)``, not clipped.

        Args:
            image: Floats in [0, 1].
            refined: The tiles' part of the refined features, ``(n, h, w, f)``.
            skips: Of the tiles, finest first.
            places: Of the tiles, ``(n, 4)``.
            gather: Whether the tiles' own statistics take the place of the given ones.
            given: One tensor per layer.
        """
        context = self.context(places, gather, given)
        change = self.model.decode(refined, list(skips), context)
        restored = image + change[..., : image.shape[2], : image.shape[3]]
        return (restored, *self.used(context))


@torch.no_grad()
def latent_forms(loaded: LoadedModel) -> dict[str, Form]:
    """Return the three parts of a network, by `PARTS`.

    Statistics of layer ``X`` are the input ``given.X`` and the output ``statistic.X``.

    Args:
        loaded: The network.
    """
    network, fixed = prepared(loaded), loaded.conditioning
    image = torch.rand(2, 3, 52, 68)
    places, gather = torch.tensor([_WHOLE_IMAGE] * 2), torch.tensor(True)
    recorder = GlobalStatistics()

    def recorded(known: set[str]) -> dict[str, Tensor]:
        found = recorder.statistics.items()
        return {name: value for name, value in found if name not in known and name not in fixed}

    latent, skips = network.encode(padded(image, network.size_multiple), recorder)
    early = recorded(set())
    refined = network.refine_latent(latent, recorder)
    deep = recorded(set(early))
    network.decode(refined, list(skips), recorder)
    late = recorded({*early, *deep})
    named = [f"skip.{level}" for level in range(len(skips))]

    def form(
        kind: type[_Part], values: tuple[object, ...], inputs: list[str], outputs: list[str],
        own: dict[str, Tensor],
    ) -> Form:  # fmt: skip
        return Form(
            kind(network, list(own), fixed),
            (*values, places, gather, list(own.values())),
            [*inputs, "places", "gather", *(f"given.{name}" for name in own)],
            [*outputs, *(f"statistic.{name}" for name in own)],
        )

    return {
        "encode": form(EncodedTiles, (image,), ["image"], ["latent", *named], early),
        "refine": form(RefinedLatent, (latent,), ["latent"], ["refined"], deep),
        "restore": form(
            RestoredTiles, (image, refined, skips), ["image", "refined", *named], ["restored"], late
        ),
    }
