"""A network in stages between which all tiles of an image wait for each other.

They are the passes of `unveil.inference.single_pass`: at a layer that looks at the whole image
every tile adds to its statistic, and goes on once all have. A stage is what lies between two such
layers.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unveil.errors import InputError
from unveil.export.graph_modules import Form, prepared
from unveil.inference.loading import LoadedModel
from unveil.layers.statistics import AccumulatedStatistics, GlobalStatistics, ImageWide, TilePart
from unveil.models.unet import Pauses, UNet

PARTS = ("encode", "refine", "restore")
_WHOLE = (0.0, 1.0, 0.0, 1.0)
# Of the example, in positions of the latent.
_ROWS, _COLUMNS = 7, 9


class OwnPart(NamedTuple):
    """The part of a tile that no other tile adds to statistics.

    Attributes:
        rows: Positions of the tile's latent, ``(r,)``.
        columns: Likewise.
        place: Of the part in the image, ``(1, 4)``.
    """

    rows: Tensor
    columns: Tensor
    place: Tensor


class StageResult(NamedTuple):
    """What a stage makes of a tile.

    Attributes:
        held: What the tile holds while it waits, as half-precision floats; at the end the result.
        skips: Those that were made, finest first.
        added: By layer: what the tile adds to the statistic.
        ended: Whether it was the last stage.
    """

    held: list[Tensor]
    skips: list[Tensor]
    added: dict[str, Tensor]
    ended: bool


class _Uncut(TilePart):
    """A tile whose features are cut where they are measured."""

    def cut(self, x: Tensor) -> Tensor:
        return x


class _StageStatistics(AccumulatedStatistics):
    """Statistics of the image for one tile in one stage.

    Args:
        known: By layer, ``(1, ...)``.
        fixed: Layers whose statistics do not come from the image.
        downs: Halvings between the finest level and the latent.

    Attributes:
        own: What the tile adds; None while nothing is added.
        added: By layer: what was added.
        used: Layers whose statistics were used since `own` was set.
    """

    def __init__(self, known: Mapping[str, Tensor], fixed: frozenset[str], downs: int) -> None:
        super().__init__(known)
        self._given, self._downs = fixed, downs
        self.part = _Uncut((0.0, 1.0), (0.0, 1.0), _WHOLE)
        self.own: OwnPart | None = None
        self.added: dict[str, Tensor] = {}
        self.used: list[str] = []

    def statistic(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Return the statistic of layer `name`, see `GlobalStatistics.statistic`."""
        if self.own is not None and name not in self._given:
            self.used.append(name)
        return super().statistic(name, compute)

    def add(self, layer: ImageWide, x: Tensor) -> None:
        """Keep the tile's part of a layer's statistic, see `AccumulatedStatistics.add`."""
        name = layer.statistic_name
        if self.own is None or not self.gathers(layer):
            return
        inside = torch.arange(2 ** (self._downs - _level(name, self._downs)))
        for axis, positions in ((1, self.own.rows), (2, self.own.columns)):
            x = x.index_select(axis, (positions[:, None] * len(inside) + inside).flatten())
        measured = layer.measure(x, self.own.place)
        top, bottom, left, right = self.own.place[0].unbind()
        self.added[name] = measured if layer.summed else measured * (bottom - top) * (right - left)


def _level(name: str, latent: int) -> int:
    """Return the level at which a layer works; 0 is the finest.

    >>> [_level(name, 2) for name in ("decoder.1.blocks.2.mixer", "latent.blocks.3", "refinement")]
    [1, 2, 0]
    """
    part, _, rest = name.partition(".")
    if part in ("encoder", "decoder", "prompts"):
        return int(rest.partition(".")[0])
    return latent if part == "latent" else 0


class TileStage(nn.Module):
    """One stage of a part of a network.

    Args:
        model: The network.
        part: One of `PARTS`.
        number: Of the stage, from 0.
        examples: By layer: a statistic, for the stages before.
        fixed: By layer: statistics that do not come from the image.

    Attributes:
        names: Layers whose statistics are inputs, in their order.
    """

    def __init__(
        self,
        model: UNet,
        part: str,
        number: int,
        examples: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.model, self.part, self.number = model, part, number
        self.examples, self.fixed = {**examples, **fixed}, frozenset(fixed)
        self.names = [name for name in examples if name not in fixed]

    def forward(
        self, held: list[Tensor], skips: list[Tensor], own: list[Tensor], given: list[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return what `advance` makes of a tile, in one row.

        Args:
            held: As for `advance`.
            skips: Likewise.
            own: The fields of `OwnPart`.
            given: As for `advance`.
        """
        result = self.advance(held, skips, OwnPart(*own), given)[0]
        return (*result.held, *result.skips, *result.added.values())

    def advance(
        self, held: list[Tensor], skips: list[Tensor], own: OwnPart, given: list[Tensor]
    ) -> tuple[StageResult, list[str], int]:
        """Advance a tile to its next pause.

        Args:
            held: What it held at the last one; at first an image ``(1, 3, h, w)`` or features
                ``(1, h, w, f)``.
            skips: For the decoder, coarsest first.
            own: What the tile adds to statistics.
            given: Of the image, one statistic per layer.

        Returns:
            What became of it, layers whose statistics were used, and how many skips.
        """
        known = {**self.examples, **dict(zip(self.names, given, strict=True))}
        statistics = _StageStatistics(known, self.fixed, len(self.model.downs))
        holds, stack, steps = self._begun(statistics)
        # Only so do the layers of this stage come next; nothing of the graph depends on it.
        for _ in range(self.number):
            next(steps)
        holds[:] = [x.float() for x in held]
        if self.part == "restore":
            stack[:] = [skip.float() for skip in reversed(skips)]
        before = len(stack)
        statistics.own = own
        ended = bool(next(steps, True))
        made = [skip.half() for skip in stack[before:]]
        kept = [*holds] if ended else [x.half() for x in holds]
        result = StageResult(kept, made, statistics.added, ended)
        return result, [*dict.fromkeys(statistics.used)], max(before - len(stack), 0)

    def _begun(self, statistics: _StageStatistics) -> tuple[list[Tensor], list[Tensor], Pauses]:
        """Begin with the smallest tile: what it holds, skips, and its steps."""
        model, side = self.model, 2 * self.model.size_multiple
        image, skips = torch.zeros(1, 3, side, side), list[Tensor]()
        if self.part == "encode":
            held = [image]
            return held, skips, model.encode_in_parts(held, skips, statistics)
        latent, skips = model.encode(image, GlobalStatistics(self.examples))
        held = [latent]
        if self.part == "refine":
            return held, skips, model.refine_latent_in_parts(held, statistics)
        return held, skips, model.decode_in_parts(held, skips, statistics)


@torch.no_grad()
def stage_forms(loaded: LoadedModel) -> dict[str, Form]:
    """Return the stages of a network in their order, named ``PART.NUMBER`` after `PARTS`.

    Inputs are what a tile holds (``held.0``, …), skips (``skip.LEVEL``), `OwnPart` and, for layer
    ``X``, its statistic ``given.X``. Outputs are what it holds then (``next.0``, …; at the end of a
    part ``result``), skips, and ``statistic.X``, whose sum over the tiles is the image's.

    Args:
        loaded: The network.

    Raises:
        InputError: Its layers are not of kinds that tiles can wait at.
    """
    network, fixed = prepared(loaded), loaded.conditioning
    if not (isinstance(network, UNet) and network.runs_in_parts):
        raise InputError(f"{loaded.name} cannot run in stages: it has layers without pauses")
    multiple = network.size_multiple
    image = torch.rand(1, 3, _ROWS * multiple, _COLUMNS * multiple)
    examples = network.collect_statistics(image).statistics
    own = OwnPart(torch.arange(_ROWS - 2), torch.arange(_COLUMNS - 3), torch.tensor([_WHOLE]))
    held, skips = [image], list[Tensor]()
    forms: dict[str, Form] = {}
    for part in PARTS:
        ended, number = False, 0
        while not ended:
            stage = TileStage(network, part, number, examples, fixed)
            known = [examples[name] for name in stage.names]
            left = [*reversed(skips)] if part == "restore" else []
            result, used, taken = stage.advance(held, left, own, known)
            stage.names = used
            levels = [f"skip.{len(skips) - 1 - i}" for i in range(taken)]
            made = [f"skip.{len(skips) + i}" for i in range(len(result.skips))]
            forms[f"{part}.{number}"] = Form(
                stage,
                (held, left[:taken], [*own], [examples[name] for name in used]),
                [
                    *_numbered("held", held),
                    *levels,
                    *OwnPart._fields,
                    *(f"given.{name}" for name in used),
                ],
                [
                    *(["result"] if result.ended else _numbered("next", result.held)),
                    *made,
                    *(f"statistic.{name}" for name in result.added),
                ],
            )
            held, ended, number = result.held, result.ended, number + 1
            skips = [*skips, *result.skips] if part == "encode" else skips[: len(skips) - taken]
    return forms


def _numbered(name: str, tensors: list[Tensor]) -> list[str]:
    return [f"{name}.{i}" for i in range(len(tensors))]
