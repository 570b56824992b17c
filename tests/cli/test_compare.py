import json

import numpy as np
import pytest

from unveil.cli.app import main
from unveil.imaging import save_png

PROTOCOL = ("--protocol", "gaussian-color", "--sigma", "25")


@pytest.fixture
def folder(tmp_path):
    clean = tmp_path / "photos"
    clean.mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        save_png(clean / f"{k}.png", rng.integers(60, 200, (24, 32, 3), dtype=np.uint8))
    return clean


def _run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_models_are_evaluated_now_and_compared(folder, capsys):
    words = ("compare", "identity", "nlm", "--data", folder, *PROTOCOL)
    code, out, err = _run(capsys, *words, "--include", "[01]*", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["a"]["model"], told["b"]["model"]) == ("identity", "nlm")
    assert "identity" in _run(capsys, *words)[1]


def test_a_result_is_read_again(folder, tmp_path, capsys):
    words = ("--data", folder, *PROTOCOL)
    assert _run(capsys, "evaluate", "identity", *words, "--output", tmp_path / "a")[0] == 0
    code, out, err = _run(capsys, "compare", tmp_path / "a", tmp_path / "a", "--json")
    assert code == 0, err
    assert all(row["mean"] == 0 for row in json.loads(out)["differences"])


def test_a_model_without_data_is_refused_in_one_line(capsys):
    code, out, err = _run(capsys, "compare", "identity", "nlm")
    assert (code, out) == (1, "")
    assert "--data and --protocol" in err
    assert err.count("\n") == 1
