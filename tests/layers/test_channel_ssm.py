from dataclasses import replace
from itertools import product

import pytest
import torch

from unveil.layers.attention import project_per_image
from unveil.layers.channel_ssm import ChannelSSM, ChannelSSMOptions, semiseparable

GRID = [
    ChannelSSMOptions(
        d_state=3, directions=directions, per_token=per_token, normalize=normalize,
        decay=decay, descriptor=descriptor,
    )
    for directions, per_token, normalize, decay, descriptor in product(
        (1, 2), (1, 3), (False, True), ("states", "shared"), ("mean", "moments")
    )
]  # fmt: skip


def _pair(options):
    matrix = ChannelSSM(12, replace(options, form="matrix")).double()
    scan = ChannelSSM(12, replace(options, form="scan")).double()
    scan.load_state_dict(matrix.state_dict())
    return matrix, scan


@pytest.mark.parametrize("options", GRID, ids=repr)
def test_matrix_and_scan_agree_to_rounding_in_values_and_gradients(options):
    matrix, scan = _pair(options)
    x = torch.randn(2, 4, 6, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 6, 12, dtype=torch.float64)
    results = []
    for layer in (matrix, scan):
        y = layer(x)
        grads = torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])
        results.append([y, *grads])
    for one, other in zip(*results, strict=True):
        # The scan's native kernel keeps its state in fp32; float64 here runs the slow loops.
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_single_precision_forms_agree_to_rounding_of_single_precision():
    options = ChannelSSMOptions(directions=2, normalize=True)
    matrix, scan = (layer.float() for layer in _pair(options))
    x = torch.randn(1, 8, 8, 12)
    torch.testing.assert_close(matrix(x), scan(x), rtol=2e-5, atol=2e-5)


def test_the_matrix_is_the_recurrence_written_out():
    b, c, n = 2, 7, 3
    delta = torch.rand(b, c, dtype=torch.float64)
    A = -torch.rand(n, dtype=torch.float64)
    B, C = torch.randn(2, b, c, n, dtype=torch.float64)
    u = torch.randn(b, c, dtype=torch.float64)
    state, expected = torch.zeros(b, n, dtype=torch.float64), []
    for t in range(c):
        step = delta[:, t, None]
        state = torch.exp(step * A) * state + step * B[:, t] * u[:, t, None]
        expected.append((C[:, t] * state).sum(-1))
    M = semiseparable(delta, A, B, C)
    torch.testing.assert_close((M @ u[..., None])[..., 0], torch.stack(expected, 1))


def test_both_ways_is_the_sum_of_both_scans_with_the_diagonal_once():
    delta = torch.rand(1, 6, dtype=torch.float64)
    A = -torch.rand(2, dtype=torch.float64)
    B, C = torch.randn(2, 1, 6, 2, dtype=torch.float64)
    forth = semiseparable(delta, A, B, C)
    back = semiseparable(delta.flip(1), A, B.flip(1), C.flip(1)).flip(1, 2)
    expected = forth + back - torch.diag_embed(forth.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(semiseparable(delta, A, B, C, both_ways=True), expected)


@pytest.mark.parametrize("options", GRID[::7], ids=repr)
def test_folding_into_the_next_layers_weights_changes_nothing(options):
    layer = ChannelSSM(12, options).double()
    x = torch.randn(2, 3, 5, 12, dtype=torch.float64)
    weight = torch.randn(4, 12, dtype=torch.float64)
    folded = project_per_image(x, layer.folded(weight, x))
    torch.testing.assert_close(folded, layer(x) @ weight.t())


def test_one_direction_never_looks_at_later_channels():
    options = ChannelSSMOptions(form="scan", descriptor="mean")
    layer = ChannelSSM(6, options).double()
    x = torch.randn(1, 4, 4, 6, dtype=torch.float64)
    tokens = layer.tokens(x)
    layer.tokens = lambda *_: tokens  # the descriptors do look at all channels
    changed = x.clone()
    changed[..., 4:] += 1
    torch.testing.assert_close(layer(x)[..., :4], layer(changed)[..., :4])
    assert not torch.allclose(layer(x)[..., 4:], layer(changed)[..., 4:])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_normalised_rows_are_bounded_whatever_the_features_hold(scale):
    layer = ChannelSSM(16, ChannelSSMOptions(normalize=True, directions=2, decay="shared"))
    M = layer.token_matrix(torch.randn(2, 8, 8, 16) * scale) - torch.diag(layer.D)
    # Δ ≤ 2/|A| · (1 − exp(−…)) summed both ways, plus one Δ on the diagonal.
    assert M.abs().sum(-1).max() < 4.0
