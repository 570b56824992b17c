import pytest
import torch

from unveil.errors import InputError
from unveil.layers.statistics import GlobalStatistics, ImageWide


class _Mean(ImageWide):
    statistic_name = "mean"

    def forward(self, x, context=None):
        return self.image_statistic(x, context)

    def measure(self, x, places=None):  # noqa: ARG002
        return x.mean((1, 2))


def test_without_a_context_every_image_has_its_own_statistic():
    x = torch.randn(3, 4, 4, 2)
    torch.testing.assert_close(_Mean()(x), x.mean((1, 2)))


def test_recording_averages_over_the_samples_and_replaying_ignores_the_tile():
    samples = torch.randn(3, 4, 4, 2)
    recorder = GlobalStatistics()
    recorded = _Mean()(samples, recorder)
    torch.testing.assert_close(recorded, samples.mean((0, 1, 2))[None])
    replayed = _Mean()(torch.randn(5, 2, 2, 2), recorder.recorded())
    torch.testing.assert_close(replayed, recorded)


def test_a_context_of_another_model_is_refused():
    with pytest.raises(InputError, match="another model"):
        _Mean()(torch.zeros(1, 2, 2, 2), GlobalStatistics({}))
