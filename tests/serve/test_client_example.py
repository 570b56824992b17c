import importlib.util
from pathlib import Path

import pytest
from tests.serve.conftest import Served, photo, until, uploads

from unveil.imaging import read_image

_FILE = Path(__file__).parents[2] / "examples" / "serve_client.py"


def test_it_restores_files_and_tells_of_bad_ones(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("serve_client", _FILE)
    assert spec is not None
    assert spec.loader is not None
    client = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    good, bad = tmp_path / "a.png", tmp_path / "b.png"
    good.write_bytes(photo())
    bad.write_bytes(b"hello")
    client.main(served.url, str(good), str(bad))
    captured = capsys.readouterr()
    assert "a.png: done, 100 %" in captured.out
    assert "b.png" in captured.err
    assert read_image(tmp_path / "a.restored.png").pixels.shape == (60, 80, 3)
    until(lambda: uploads(served.engine) == [])
    with pytest.raises(SystemExit, match="not reachable"):
        client.main("http://127.0.0.1:1", str(good))
