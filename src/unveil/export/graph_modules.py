"""The forms in which a network is exported, as modules with tensors in and tensors out."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.export.onnx_scan import replace_scans
from unveil.inference.diagnosis import LinearProbe
from unveil.inference.loading import LoadedModel
from unveil.layers.statistics import GlobalStatistics, ImageWide
from unveil.models.base import RestorationModel


class Form(NamedTuple):
    """What `unveil.export.graph.build_graph` exports.

    Attributes:
        module: Tensors in, tensors out.
        examples: Arguments for it, of two images: a size of one would become a constant.
        inputs: Names of the graph's inputs.
        outputs: Names of its outputs.
    """

    module: nn.Module
    examples: tuple[Any, ...]
    inputs: list[str]
    outputs: list[str]


class FixedStatistics(GlobalStatistics):
    """Statistics of which some are fixed; every image of a batch has the others to itself.

    Args:
        fixed: By layer, ``(1, ...)``.
    """

    def __init__(self, fixed: Mapping[str, Tensor]) -> None:
        super().__init__(fixed)

    def statistic(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return what is fixed for layer `name`, else what `compute` makes of each image."""
        return self.statistics[name] if name in self.statistics else compute()


class WholeImages(nn.Module):
    """``image`` → ``restored``: `unveil.inference.restore_tensor`, padding and cropping included.

    Args:
        model: The network.
        fixed: Statistics, by layer, that are the same for every image.
    """

    def __init__(self, model: RestorationModel, fixed: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.fixed = model, dict(fixed)

    def forward(self, image: Tensor) -> Tensor:
        """Restore ``(n, 3, h, w)``, not clipped."""
        statistics = FixedStatistics(self.fixed) if self.fixed else None
        restored: Tensor = self.model(padded(image, self.model.size_multiple), statistics)
        return restored[..., : image.shape[2], : image.shape[3]]


class ImageStatistics(nn.Module):
    """``image``, ``places`` → one output per layer that looks at the whole image, and scores.

    Args:
        model: The network.
        names: The layers, in the order of the outputs.
        probe: Linear probe of the statistics; None gives no scores.
    """

    def __init__(
        self, model: RestorationModel, names: list[str], probe: LinearProbe | None = None
    ) -> None:
        super().__init__()
        self.model, self.names, self.probe = model, names, probe

    def forward(self, image: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Gather statistics of one image from crops ``(n, 3, h, w)`` at ``places`` ``(n, 4)``.

        Args:
            image: The crops, floats in [0, 1].
            places: Of each crop, as the network's layers take them.

        Returns:
            One tensor per layer, then, with a probe, ``(degradations + 1,)``: the log odds of
            each degradation and the log of the noise level.
        """
        recorder = GlobalStatistics(places=places)
        self.model(padded(image, self.model.size_multiple), recorder)
        found = [recorder.statistics[name] for name in self.names]
        if self.probe is None:
            return tuple(found)
        parts = [
            layer.summary(recorder.statistics[layer.statistic_name])[0]
            for layer in self.model.modules()
            if isinstance(layer, ImageWide)
        ]
        scores = torch.tensor(self.probe.weight) @ torch.cat(parts)
        return (*found, scores + torch.tensor(self.probe.bias))


class TilesOfAnImage(nn.Module):
    """``image`` and statistics → ``restored``, for tiles of the image they were gathered from.

    Args:
        model: The network.
        names: Layers whose statistics are inputs, in their order.
        fixed: Statistics, by layer, that are the same for every image.
    """

    def __init__(
        self, model: RestorationModel, names: list[str], fixed: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.model, self.names, self.fixed = model, names, dict(fixed)

    def forward(self, image: Tensor, statistics: list[Tensor]) -> Tensor:
        """Restore tiles ``(n, 3, h, w)``, not clipped.

        Args:
            image: The tiles, floats in [0, 1].
            statistics: Of the image, one tensor per layer.
        """
        known = GlobalStatistics(dict(zip(self.names, statistics, strict=True)) | self.fixed)
        restored: Tensor = self.model(padded(image, self.model.size_multiple), known)
        return restored[..., : image.shape[2], : image.shape[3]]


def padded(image: Tensor, multiple: int) -> Tensor:
    """Pad as `unveil.inference.padding.pad_to_multiple` does, with one graph for all sizes.

    Args:
        image: ``(n, c, h, w)``.
        multiple: That height and width are to be multiples of.

    >>> padded(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 4)[0, 0, 0]
    tensor([1., 2., 3., 2.])
    """
    for axis in (2, 3):
        image = image.index_select(axis, _source(image.shape[axis], multiple))
    return image


def _source(length: int, multiple: int) -> Tensor:
    """Return which pixel each of the padded axis shows: mirrored, or the last one repeated."""
    last = length - 1
    whole = (length + multiple - 1) // multiple * multiple
    index = torch.arange(whole)
    mirrored = last - (index - last).abs()
    # Too small to be mirrored: a size of 3 that lacks 5.
    fits = (index[-1:] - last) < length
    return torch.where(fits, mirrored.clamp(min=0), index.clamp(max=last))


def restoration_model(loaded: LoadedModel) -> RestorationModel:
    """Return the network of a loaded model.

    Raises:
        InputError: It is none of unveil's.
    """
    if not isinstance(loaded.network, RestorationModel):
        raise InputError(f"{loaded.name} cannot be exported: expected a network of unveil's own")
    return loaded.network


def prepared(loaded: LoadedModel) -> RestorationModel:
    """Return a copy of the network that can be exported.

    Args:
        loaded: The network.

    Raises:
        InputError: It is none of unveil's.
    """
    network = copy.deepcopy(restoration_model(loaded)).cpu().float().eval().requires_grad_(False)
    replace_scans(network)
    return network
