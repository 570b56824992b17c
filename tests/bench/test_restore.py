"""The restoring benchmark times what it says, and says what it leaves out."""

import pytest

from unveil.bench.restore import NON_LOCAL_MEANS, bench_restore
from unveil.cli import app
from unveil.errors import InputError


def test_every_contender_is_timed_on_every_size() -> None:
    pytest.importorskip("skimage")
    bench = bench_restore(["cu_mamba_tiny"], megapixels=[0.004, 0.001], repeats=1)
    rows = [(t.id, t.megapixels) for t in bench.timings]
    names = ["yardstick", "cu_mamba_tiny", NON_LOCAL_MEANS]
    assert rows == [(name, size) for size in (0.001, 0.004) for name in names]
    assert all(t.seconds_per_megapixel > 0 for t in bench.timings)
    assert [t.ratio for t in bench.timings if t.id == "yardstick"] == [1.0, 1.0]
    assert bench.as_dict()["threads"] == bench.threads


def test_what_would_take_too_long_is_left_out_and_told() -> None:
    pytest.importorskip("skimage")
    bench = bench_restore([], megapixels=[0.001, 0.002], repeats=1, limit=1e-9)
    late = [t for t in bench.timings if t.megapixels == 0.002]
    assert all(t.seconds_per_megapixel is None and "longer than" in t.left_out for t in late)
    assert len(late) == 2


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError):
        bench_restore([], megapixels=[0.0])
    with pytest.raises(InputError):
        bench_restore([], repeats=0)


def test_the_verb_prints_every_contender(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("skimage")
    words = ["bench", "restore", "mtair_tiny", "--sizes", "0.001", "--repeats", "1"]
    with pytest.raises(SystemExit) as stop:
        app.main(words)
    assert stop.value.code == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["yardstick", "mtair_tiny", NON_LOCAL_MEANS]
    with pytest.raises(SystemExit) as stop:
        app.main(["bench", "restore", "--sizes", "big"])
    assert stop.value.code == 2
