"""The step that training and its dry run share."""

import pytest
import torch

from unveil.training.calibration import TrainingPlan
from unveil.training.devices import Devices
from unveil.training.loop import NonFiniteError, train_step
from unveil.training.session import Session, build_network


@pytest.fixture
def session(toy_recipe):
    def open_session(**optim):
        recipe, network = build_network(toy_recipe(optim=optim))
        session = Session(recipe, network, Devices("cpu").fabric("fp32"), processes=1)
        session.launch()
        session.plan = TrainingPlan(6, (4, 2))
        return session

    return open_session


def gradient_norm(session):
    return torch.nn.utils.get_total_norm([p.grad for p in session.network.parameters()]).item()


def test_the_gradient_is_clipped_and_its_norm_before_is_recorded(session):
    free, clipped = session(clip=None), session(clip=1e-3)
    norms = [train_step(one, next(one.batches())).norm for one in (free, clipped)]
    assert norms[0] == pytest.approx(norms[1])
    assert gradient_norm(free) == pytest.approx(norms[0], rel=1e-4)
    assert gradient_norm(clipped) == pytest.approx(1e-3, rel=1e-3)


def test_a_step_moves_the_weights_and_their_average(session):
    one = session()
    before = one.network.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    record = train_step(one, next(one.batches()))
    assert (one.step, record.images, record.phase.patch) == (1, 4, 16)
    name = next(name for name, value in before.items() if value.ndim == 4)
    moved = one.network.state_dict()[name] - before[name]
    assert moved.abs().max() > 0
    # After one step the average keeps 2/11 of the start.
    average = one.ema.network.state_dict()[name]
    torch.testing.assert_close(average, before[name] + moved * 9 / 11)


def test_a_loss_that_is_not_finite_names_step_and_files_and_changes_nothing(session):
    one = session()
    batch = next(one.batches())
    batch["clean"][0, 0, 0, 0] = torch.nan
    before = {name: value.clone() for name, value in one.network.state_dict().items()}
    with pytest.raises(NonFiniteError, match="loss is nan at step 0") as error:
        train_step(one, batch)
    assert batch["name"][0] in str(error.value)
    assert all(torch.equal(before[n], v) for n, v in one.network.state_dict().items())


def test_dropout_depends_on_the_step_alone(session, monkeypatch):
    drawn = []
    one = session()
    forward = one.network.forward

    def noisy(degraded):
        drawn.append(torch.rand(()).item())
        return forward(degraded)

    monkeypatch.setattr(one.network, "forward", noisy)
    batch = next(one.batches())
    for step in (0, 1, 0):
        one.step = step
        torch.rand(7)
        train_step(one, batch)
    assert drawn[0] == drawn[2] != drawn[1]
