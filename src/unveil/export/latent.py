"""A network in three parts for tiles that share their image's statistics and its latent.

They are the parts of `RestorationModel`: `encode`, `refine_latent` and `decode`. Each takes the
statistics of its layers, or gathers them from what it is given, and gives those that it used.
"""

from collections.abc import Callable, Container, Mapping

import torch
from torch import Tensor

from unveil.export.graph_modules import Form, StatisticsAsInputs, padded, prepared
from unveil.inference.loading import LoadedModel
from unveil.layers.statistics import GlobalStatistics

PARTS = ("encode", "refine", "restore")
_WHOLE_IMAGE = (0.0, 1.0, 0.0, 1.0)


class ChosenStatistics(GlobalStatistics):
    """Statistics that are given, or those of the images in the batch.

    Args:
        given: By layer, ``(1, ...)``.
        fixed: Layers whose own statistics never take the place of the given ones.
        gather: A boolean; whether those of other layers do.
        places: Of the images, ``(n, 4)``.
    """

    def __init__(
        self,
        given: Mapping[str, Tensor],
        fixed: Container[str],
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
        if name not in self._fixed:
            own = compute().mean(0, keepdim=True)
            self.statistics[name] = torch.where(self._gather, own, self.statistics[name])
        return self.statistics[name]


class NetworkPart(StatisticsAsInputs):
    """Base of the parts, which give the statistics that they used."""

    def chosen(self, statistics: list[Tensor], places: Tensor, gather: Tensor) -> ChosenStatistics:
        """Return the statistics of a pass.

        Args:
            statistics: The inputs, one tensor per layer.
            places: Of the images, ``(n, 4)``.
            gather: Whether the images' own take the place of the inputs.
        """
        return ChosenStatistics(self.by_layer(statistics), self.fixed, gather, places)

    def used(self, statistics: ChosenStatistics) -> list[Tensor]:
        """Return the statistics that a pass used, one tensor per layer."""
        return [statistics.statistics[name] for name in self.names]


class EncodedTiles(NetworkPart):
    """``image`` → ``latent`` and skips."""

    def forward(
        self, image: Tensor, places: Tensor, gather: Tensor, statistics: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Encode tiles ``(n, 3, h, w)``; sides of the features are rounded up.

        Args:
            image: Floats in [0, 1].
            places: Of the tiles, ``(n, 4)``.
            gather: Whether the tiles' own statistics take the place of the given ones.
            statistics: One tensor per layer.
        """
        chosen = self.chosen(statistics, places, gather)
        latent, skips = self.model.encode(padded(image, self.model.size_multiple), chosen)
        return (latent, *skips, *self.used(chosen))


class RefinedLatent(NetworkPart):
    """``latent`` → ``refined``."""

    def forward(
        self, latent: Tensor, places: Tensor, gather: Tensor, statistics: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Refine features ``(n, h, w, f)``.

        Args:
            latent: The encoder's features of the whole image.
            places: Of the features, ``(n, 4)``.
            gather: Whether their own statistics take the place of the given ones.
            statistics: One tensor per layer.
        """
        chosen = self.chosen(statistics, places, gather)
        return (self.model.refine_latent(latent, chosen), *self.used(chosen))


class RestoredTiles(NetworkPart):
    """``image``, ``refined`` and skips → ``restored``."""

    def forward(
        self,
        image: Tensor,
        refined: Tensor,
        skips: list[Tensor],
        places: Tensor,
        gather: Tensor,
        statistics: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """Restore tiles ``(n, 3, h, w)``, not clipped.

        Args:
            image: Floats in [0, 1].
            refined: The tiles' part of the refined features, ``(n, h, w, f)``.
            skips: Of the tiles, finest first.
            places: Of the tiles, ``(n, 4)``.
            gather: Whether the tiles' own statistics take the place of the given ones.
            statistics: One tensor per layer.
        """
        chosen = self.chosen(statistics, places, gather)
        change = self.model.decode(refined, list(skips), chosen)
        restored = image + change[..., : image.shape[2], : image.shape[3]]
        return (restored, *self.used(chosen))


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
        kind: type[NetworkPart], values: tuple[object, ...], inputs: list[str], outputs: list[str],
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
