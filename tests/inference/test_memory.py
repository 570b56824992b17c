"""Huge files are restored in bounded memory, of which no more is taken than is there."""

import subprocess
import sys
from pathlib import Path

import pytest
import pyvips
import torch

from unveil.imaging import read_image
from unveil.inference import memory
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


def _group(folder: Path, version: int, *values: str | int) -> None:
    """Write what a control group says of its limit, its use and what this consists of."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("limit_in_bytes", "usage_in_bytes") if version == 1 else ("max", "current")
    for name, value in zip((*names, "stat"), values, strict=False):
        (folder / f"memory.{name}").write_text(f"{value}\n")


def _room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str) -> int | None:
    (tmp_path / "ours").write_text(ours)
    monkeypatch.setattr(memory, "_MOUNTED", tmp_path / "mounted")
    monkeypatch.setattr(memory, "_OURS", tmp_path / "ours")
    monkeypatch.setattr(memory, "_system", lambda: None)
    monkeypatch.setattr(memory, "_address_space", lambda: None)
    return memory.available_bytes(torch.device("cpu"))


def test_page_cache_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = "anon 200\nfile 750\nshmem 50\ninactive_file 500\nactive_file 200"
    _group(tmp_path / "mounted", 2, 1000, 950, stat)
    assert _room(tmp_path, monkeypatch, "0::/\n") == 750


def test_the_narrowest_group_above_us_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "mounted"
    _group(top / "a" / "b" / "c", 2, "max", 100, "")
    _group(top / "a" / "b", 2, 400, 150, "anon 150")
    _group(top / "a", 2, 900, 800)
    assert _room(tmp_path, monkeypatch, "0::/a/b/c\n") == 100
    _group(top / "a", 2, "max")
    assert _room(tmp_path, monkeypatch, "0::/a/b/c\n") == 250
    _group(top / "a" / "b", 2, "max")
    assert _room(tmp_path, monkeypatch, "0::/a/b/c\n") is None


@pytest.mark.parametrize("own", ["/docker/abc", "/not/to/be/seen/from/here"])
def test_version_1_is_known(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "mounted" / "memory"
    stat = "inactive_file 1\nactive_file 2\ntotal_inactive_file 300\ntotal_active_file 40"
    _group(top, 1, 1000, 600, stat)
    _group(top / "docker" / "abc", 1, 2**63 - 4096, 600, "")
    ours = f"5:cpu,cpuacct:/x\n4:memory:{own}\n1:name=systemd:/x\n0::/x\n"
    assert _room(tmp_path, monkeypatch, ours) == 740


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
