"""The example hands a folder's photographs to the cluster and says what failed."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unveil.batch import restore_files
from unveil.imaging import save_png
from unveil.inference.restorer import Restorer

_EXAMPLE = Path(__file__).parents[2] / "examples" / "restore_with_ray.py"


def _in_this_process(made: Any, *, options: dict[str, Any], saving: Any, **_: Any) -> list[Any]:
    return list(restore_files(Restorer(**options), made.jobs, saving))


def test_a_folder_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    save_png(tmp_path / "photos" / "0.png", np.zeros((8, 9, 3), np.uint8))
    (tmp_path / "photos" / "torn.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr("unveil.batch.cluster.restore_on_cluster", _in_this_process)
    words = [tmp_path / "photos", tmp_path / "out", "--model", "identity"]
    monkeypatch.setattr(sys, "argv", [str(_EXAMPLE), *map(str, words)])
    runpy.run_path(str(_EXAMPLE), run_name="__main__")
    out = capsys.readouterr().out
    assert "torn.png" in out
    assert "'restored': 1" in out
