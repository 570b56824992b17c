import sys
import time

import pytest
import torch
from torch import nn

from unveil.bench import model as bench
from unveil.bench.yardstick import ConvolutionYardstick, in_onnx_runtime
from unveil.errors import InputError
from unveil.models.base import count_parameters


def test_the_yardstick_has_ffdnets_size_and_keeps_shapes():
    yardstick = ConvolutionYardstick()
    assert count_parameters(yardstick) == 851_244
    weights = sum(p.numel() for p in yardstick.parameters() if p.ndim == 4)
    assert weights / 4 == 212_544  # every weight is used once per four pixels
    assert sum(isinstance(m, nn.Conv2d) for m in yardstick.modules()) == 12
    assert yardstick(torch.rand(2, 3, 6, 8)).shape == (2, 3, 6, 8)


def test_a_run_reports_the_yardstick_and_every_model():
    result = bench.bench_models(["cu_mamba_tiny"], size=32, repeats=2)
    yardstick, tiny = result.timings
    assert (yardstick.id, tiny.id) == (bench.YARDSTICK, "cu_mamba_tiny")
    assert yardstick.inference_ratio == yardstick.step_ratio == 1.0
    assert tiny.multiply_adds_per_pixel < yardstick.multiply_adds_per_pixel == 212_544
    assert tiny.seconds_per_megapixel > 0
    assert {"ImageScan", "ChannelSSM", "GatedUnit"} & set(tiny.seconds_by_layer)
    assert set(yardstick.seconds_by_layer) == {"Conv2d", "ConvolutionYardstick", "ModuleList"} - {
        "ModuleList"
    }
    assert result.as_dict()["timings"][1]["parameters"] == tiny.parameters


def test_without_steps_none_are_reported():
    result = bench.bench_models(["cu_mamba_tiny"], size=8, repeats=1, step=False)
    assert all(t.step_seconds is None and t.step_ratio is None for t in result.timings)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="size 30 is no multiple of 4 for cu_mamba_tiny"):
        bench.bench_models(["cu_mamba_tiny"], size=30)


class _Sleepy(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = _Part()

    def forward(self, x):
        time.sleep(0.02)
        return self.part(x)


class _Part(nn.Module):
    def forward(self, x):
        time.sleep(0.05)
        return x


def test_time_by_layer_is_exclusive_of_the_parts():
    seconds = bench._by_layer(_Sleepy(), torch.zeros(1))
    assert seconds["_Part"] >= 0.05
    assert 0.02 <= seconds["_Sleepy"] < seconds["_Part"] + 0.02
    assert list(seconds) == ["_Part", "_Sleepy"]


def test_the_peak_counts_what_a_run_holds_for_a_moment():
    peak = bench.peak_mebibytes(lambda: torch.ones(64, 1024, 1024).sum())
    if peak is None:
        pytest.skip("only Linux tells a process's peak")
    assert 200 <= peak <= 400


def test_the_yardstick_is_the_same_network_in_onnx_runtime():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    yardstick = ConvolutionYardstick()
    x = torch.rand(1, 3, 12, 16)
    with torch.no_grad():
        torch.testing.assert_close(in_onnx_runtime(yardstick)(x), yardstick(x))
    (_, tiny) = bench.bench_models(["cu_mamba_tiny"], size=32, repeats=1, step=False).timings
    assert tiny.onnx_ratio > 0


def test_without_onnx_runtime_its_ratio_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (_, tiny) = bench.bench_models(["cu_mamba_tiny"], size=8, repeats=1, step=False).timings
    assert tiny.onnx_ratio is None
