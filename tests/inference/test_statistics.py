"""Where statistics are gathered: evenly, nothing twice, and told apart after a turn."""

import numpy as np
import pytest
import torch

from unveil.inference import statistics
from unveil.inference.self_ensemble import transformed
from unveil.inference.tiling import TiledInference, Tiling
from unveil.layers.functional import cell_sums
from unveil.layers.statistics import GlobalStatistics


def _times_seen(height: int, width: int, side: int, multiple: int = 1) -> np.ndarray:
    seen = np.zeros((height, width), int)
    for part in statistics.spread_crops(height, width, side, multiple):
        seen[part.top : part.top + part.height, part.left : part.left + part.width] += 1
    return seen


@pytest.mark.parametrize("size", [(512, 768), (1, 1), (3, 900), (1000, 1040), (700, 513)])
@pytest.mark.parametrize("side", [64, 512])
@pytest.mark.parametrize("multiple", [1, 8])
def test_small_images_are_covered_once(size: tuple[int, int], side: int, multiple: int) -> None:
    parts = statistics.spread_crops(*size, side, multiple)
    assert len({(part.height, part.width) for part in parts}) == 1
    assert max(parts[0].height, parts[0].width) <= side
    seen = _times_seen(*size, side, multiple)
    assert seen.min() == 1
    # Windows are filled up to multiples, and equal.
    rows = len({part.top for part in parts})
    columns = len({part.left for part in parts})
    assert (seen > 1).sum() <= multiple * (rows * size[1] + columns * size[0])
    if multiple == 1:
        assert parts[0].height * rows < size[0] + rows
        assert parts[0].width * columns < size[1] + columns


@pytest.mark.parametrize(
    "size", [(4000, 6000), (6000, 4000), (1100, 1000), (500, 9000), (10**4, 3)]
)
def test_large_images_are_looked_at_all_over(size: tuple[int, int]) -> None:
    parts = statistics.spread_crops(*size, statistics.SIDE, 8)
    assert sum(part.height * part.width for part in parts) <= statistics.MOST_PIXELS
    middles = np.array([(p.top + p.height / 2, p.left + p.width / 2) for p in parts])
    np.testing.assert_allclose(middles.mean(0), np.array(size) / 2, atol=1)
    if size[0] * size[1] > 2 * statistics.MOST_PIXELS:
        assert _times_seen(*size, statistics.SIDE, 8).max() == 1


def test_a_landscape_is_not_told_by_its_sky() -> None:
    parts = statistics.spread_crops(4000, 6000, statistics.SIDE, 8)
    assert len({part.top for part in parts}) > 1
    assert len({part.left for part in parts}) > 1


@pytest.mark.parametrize("turn", range(8))
def test_a_window_of_a_turned_image_lies_where_its_place_says(turn: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(4.0), indexing="ij")
    image = transformed(torch.stack([rows, columns])[None], turn)
    part = statistics.StatisticsCrop(1, 0, 2, 3)
    top, bottom, left, right = part.place(6, 4, turn)
    tall, wide = image.shape[-2:]
    found = image[
        ..., round(top * tall) : round(bottom * tall), round(left * wide) : round(right * wide)
    ]
    cut = torch.stack([rows, columns])[None, :, 1:3, 0:3]
    assert torch.equal(found, transformed(cut, turn))


@pytest.mark.parametrize("size", [(8, 12), (7, 5), (1, 3)])
def test_the_cells_of_an_image_are_the_sums_of_its_parts(size: tuple[int, int]) -> None:
    x = torch.rand(1, *size, 2, dtype=torch.float64)
    whole = cell_sums(x, 4)
    torch.testing.assert_close(whole[..., 2], torch.full((1, 16), 1 / 16, dtype=torch.float64))
    means = whole[..., :2] / whole[..., 2:]
    if size == (8, 12):
        pooled = torch.nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), (2, 3))
        torch.testing.assert_close(means, pooled.flatten(2).transpose(1, 2))
    cut = size[1] - 1
    places = torch.tensor([[0, 1, 0, cut / size[1]], [0, 1, cut / size[1], 1]], dtype=torch.float64)
    parts = cell_sums(x[:, :, :cut], 4, places[:1]) + cell_sums(x[:, :, cut:], 4, places[1:])
    torch.testing.assert_close(parts, whole)


class _Cells(torch.nn.Module):
    """Keeps the places it is told, and what lies there."""

    has_statistics = True
    size_multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.seen = list[int]()

    def forward(self, x: torch.Tensor, context: GlobalStatistics | None = None) -> torch.Tensor:
        self.seen.append(len(x))
        if context is not None:
            features = x.permute(0, 2, 3, 1)
            context.statistic("cells", lambda: cell_sums(features, 4, context.places))
        return x


@pytest.mark.parametrize("tile", [64, 200])
def test_windows_gathered_in_turn_or_together_know_their_place(tile: int) -> None:
    pixels = np.random.default_rng(0).random((128, 192, 3), dtype=np.float32)
    network = _Cells()
    engine = TiledInference(network, torch.device("cpu"), Tiling(0.0, tile, 16, window=64))
    grid = engine.choice.first(128, 192)
    (context,) = engine._shared_statistics(engine._network(), pixels, grid) or []
    assert network.seen == ([3, 3] if tile == 64 else [6])
    sums = context.statistics["cells"]
    whole = cell_sums(torch.from_numpy(pixels)[None], 4)
    torch.testing.assert_close(sums[..., :3] / sums[..., 3:], whole[..., :3] / whole[..., 3:])


@pytest.mark.parametrize("size", [(600, 500), (300, 250), (1000, 1030), (1001, 1021), (100, 9000)])
def test_windows_filled_up_to_multiples_still_go_together(size: tuple[int, int]) -> None:
    network = _Cells()
    network.size_multiple = 8
    # Forced: else memory in use by other programs would add passes that measure the network.
    engine = TiledInference(network, torch.device("cpu"), Tiling(0.0, 512, 32), forced=True)
    pixels = np.zeros((*size, 3), np.uint8)
    engine._shared_statistics(engine._network(), pixels, engine.choice.first(*size))
    assert len(network.seen) == 1
