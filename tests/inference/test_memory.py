"""Huge files are restored in bounded memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import pyvips

from unveil.imaging import read_image
from unveil.models.checkpoint import bundled_weights

pytest.importorskip("resource")

_PROGRAM = """
import resource, sys, torch
from pathlib import Path
from unveil.inference import Restorer

class Darker(torch.nn.Module):
    def forward(self, x):
        return x - 0.1

source, model = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else Darker()
Restorer(model).restore_file(source, source.with_name("out" + source.suffix))
unit = 1 if sys.platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
"""


def _ramp(side: int, dtype: str) -> pyvips.Image:
    xy = pyvips.Image.xyz(side, side)
    bands = [xy[0] % 251, xy[1] % 241, (xy[0] + xy[1]) % 239]
    ramp = bands[0].bandjoin(bands[1:])
    if dtype == "ushort":
        return (ramp * 257).cast("ushort").copy(interpretation="rgb16")
    return ramp.cast("uchar").copy(interpretation="srgb")


def _peak(path: Path, *model: str) -> float:
    command = [sys.executable, "-c", _PROGRAM, str(path), *model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uchar", "ushort"])
def test_100_megapixels_need_less_than_2_gibibytes(dtype: str, tmp_path: Path) -> None:
    _ramp(10_000, dtype).tiffsave(str(tmp_path / "a.tif"))
    assert _peak(tmp_path / "a.tif") < 2048
    before, after = (pyvips.Image.new_from_file(str(tmp_path / n)) for n in ("a.tif", "out.tif"))
    step = 26 if dtype == "uchar" else 6554
    for x, y in ((0, 0), (9_000, 5_003), (100, 9_990)):
        wanted = (before.crop(x, y, 9, 9).cast("int") - step).numpy().clip(0)
        assert abs(after.crop(x, y, 9, 9).cast("int").numpy() - wanted).max() <= 1


@pytest.mark.slow
def test_24_megapixels_need_less_than_one_and_a_half(tmp_path: Path) -> None:
    _ramp(4_900, "uchar").jpegsave(str(tmp_path / "a.jpg"), Q=92)
    assert _peak(tmp_path / "a.jpg") < 1536
    assert read_image(tmp_path / "out.jpg").pixels.shape == (4_900, 4_900, 3)


@pytest.mark.slow
@pytest.mark.parametrize("model_id", ["cu_mamba_small", "mtair_small"])
def test_bundled_networks_restore_24_megapixels_within_one_and_a_half(
    model_id: str, tmp_path: Path
) -> None:
    if model_id not in bundled_weights():
        pytest.skip(f"no weights are bundled for {model_id}")
    _ramp(4_900, "uchar").jpegsave(str(tmp_path / "a.jpg"), Q=92)
    assert _peak(tmp_path / "a.jpg", model_id) < 1536
