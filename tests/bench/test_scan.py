"""The benchmark of the selective scan."""

import json
import math

import pytest

from unveil.bench import scan
from unveil.bench.scan import bench_scan
from unveil.errors import BackendUnavailableError
from unveil.ops import native, selective_scan

pytestmark = pytest.mark.skipif(
    native.status().reason is not None, reason=f"no kernel library: {native.status().reason}"
)


def test_every_contender_is_timed_on_every_shape():
    bench = bench_scan([16, 64], [8], [4], repeats=1, threads=(1,))
    names = {timing.name for timing in bench.timings}
    assert {"native bld", "native bdl", "reference", "torch"} <= names
    assert len(bench.timings) == 2 * len(names)
    for timing in bench.timings:
        updates = timing.length * timing.channels * timing.states
        assert math.isclose(timing.forward_updates * timing.forward_ms / 1e3, updates)
        assert timing.step_ms > 0
        assert timing.forward_share < 1
    found = json.loads(json.dumps(bench.as_dict()))
    assert found["limits"]["1"] > 0
    assert set(found["exponents"]) == {"threads=1 d=8 n=4"}
    assert all(row["forward over reference"] > 0 for row in found["ratios"])


def test_a_kernel_whose_results_are_wrong_is_not_timed(monkeypatch):
    def wrong(*given, backend, **options):
        y = selective_scan(*given, backend=backend, **options)
        return y * 1.0001 if backend == "native" else y

    monkeypatch.setattr(scan, "selective_scan", wrong)
    with pytest.raises(BackendUnavailableError, match="the kernel is wrong by"):
        bench_scan([16], [8], [4], repeats=1)


def test_contenders_that_would_take_too_long_are_left_out():
    assert any(x.name == "reference" for x in scan._contenders((1,), 1000, False))
    assert not any(x.name == "reference" for x in scan._contenders((1,), 1 << 30, False))
    only = scan._contenders((1, 2), 1000, True)
    assert [(x.name, x.threads) for x in only] == [
        ("native bdl", 1),
        ("native bld", 1),
        ("native bdl", 2),
        ("native bld", 2),
    ]


def test_two_threads_make_their_updates_side_by_side():
    assert scan.limit(2) > 0
