"""The benchmark of the fused passes."""

import json

import pytest
import torch

from unveil.bench.passes import bench_passes
from unveil.errors import BackendUnavailableError
from unveil.ops import native, silu_gate

needs_library = pytest.mark.skipif(
    native.status().reason is not None, reason=f"no kernel library: {native.status().reason}"
)


@needs_library
def test_every_pass_is_timed_on_every_shape() -> None:
    shapes = [(1, 4, 4, 16), (2, 3, 5, 32)]
    bench = bench_passes(shapes, repeats=2)
    assert len({timing.name for timing in bench.timings}) == len(bench.timings) / 2
    assert {timing.shape for timing in bench.timings} == set(shapes)
    assert all(t.forward_us > 0 and t.forward_ratio > 0 for t in bench.timings)
    assert all(t.step_us > 0 for t in bench.timings)
    assert json.loads(json.dumps(bench.as_dict()))["threads"] == torch.get_num_threads()


@needs_library
def test_a_pass_whose_results_are_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(x: torch.Tensor, gate: torch.Tensor, backend: str = "auto") -> torch.Tensor:
        return silu_gate(x, gate, backend=backend) * (1.001 if backend == "native" else 1.0)

    monkeypatch.setattr("unveil.bench.passes.silu_gate", wrong)
    with pytest.raises(BackendUnavailableError, match="silu_gate is wrong by"):
        bench_passes([(1, 2, 2, 16)], repeats=1)
