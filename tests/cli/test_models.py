import json

import pytest

from unveil.cli.app import main


def _run(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    return stopped.value.code, capsys.readouterr()


def test_models_lists_every_variant_with_its_cost(capsys):
    code, printed = _run(capsys, "models")
    assert code == 0
    for name in ("cu_mamba_base", "cu_mamba_small", "mtair_small", "mtair_tiny"):
        assert name in printed.out
    assert "39,657,176" in printed.out


def test_models_as_json_has_the_fields_a_program_needs(capsys):
    code, printed = _run(capsys, "models", "--json")
    rows = {row["id"]: row for row in json.loads(printed.out)}
    assert code == 0
    assert rows["mtair_base"]["parameters"] == 39_657_176
    assert rows["cu_mamba_tiny"]["size_multiple"] == 4
    assert rows["cu_mamba_small"]["tasks"] == ["denoise"]
    assert "seconds_per_megapixel" not in rows["cu_mamba_small"]


def test_models_timed_have_seconds_per_megapixel_but_for_base(capsys):
    code, printed = _run(capsys, "models", "--time", "--json")
    seconds = {row["id"]: row["seconds_per_megapixel"] for row in json.loads(printed.out)}
    assert code == 0
    assert seconds["cu_mamba_base"] is seconds["mtair_base"] is None
    assert 0 < seconds["cu_mamba_tiny"] < seconds["cu_mamba_small"]


def test_bench_model_prints_ratios_to_the_yardstick(capsys):
    words = ("bench", "model", "cu_mamba_tiny", "--size", "16", "--repeats", "1", "--no-step")
    code, printed = _run(capsys, *words, "--json")
    assert code == 0
    timings = json.loads(printed.out)["timings"]
    assert [t["id"] for t in timings] == ["yardstick", "cu_mamba_tiny"]
    code, printed = _run(capsys, *words)
    assert code == 0
    assert "yardstick" in printed.out
    assert "by layer" in printed.out


def test_bench_model_of_an_unknown_model_is_one_line(capsys):
    code, printed = _run(capsys, "bench", "model", "cu_mamba_tinny")
    assert code == 1
    assert printed.err.strip().count("\n") == 0
    assert "did you mean 'cu_mamba_tiny'" in printed.err
