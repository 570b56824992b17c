"""Tiles cover every pixel, and where they meet their weights add up to one."""

import numpy as np
import pytest

from unveil.inference.tiles import Grid, fitted_grid


@pytest.mark.parametrize("length", [1, 63, 64, 65, 100, 112, 113, 160, 1000])
@pytest.mark.parametrize("grid", [Grid(64, 16), Grid(64, 8), Grid(64, 0)])
def test_weights_of_all_tiles_sum_to_one(length: int, grid: Grid) -> None:
    total = np.zeros(length)
    for span in grid.spans(length):
        total[slice(*span)] += grid.weights(span, length)
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_tiles_start_on_the_stride_and_are_never_larger() -> None:
    for length in range(1, 400):
        spans = Grid(64, 16).spans(length)
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(start % 48 == 0 and end - start <= 64 for start, end in spans)
        assert all(end - start > 16 for start, end in spans[1:])


def test_the_rim_of_a_tile_does_not_count() -> None:
    weights = Grid(64, 16).weights((48, 112), 1000)
    assert (weights[:4] == 0).all()
    assert (weights[-4:] == 0).all()


@pytest.mark.parametrize("multiple", [1, 4, 8, 16])
@pytest.mark.parametrize("tile", [64, 70, 100, 512])
def test_fitted_grids_fit_the_network(multiple: int, tile: int) -> None:
    grid = fitted_grid(tile, 64, multiple)
    assert grid.tile >= tile
    assert grid.tile % multiple == grid.overlap % multiple == 0
    assert grid.overlap <= grid.tile / 4
