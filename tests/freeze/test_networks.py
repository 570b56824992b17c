"""Networks keep the names of their weights, and restored bytes stay the same.

Weights are drawn from a seed, so that new bundled weights change nothing here. Equal bytes are
demanded of the kind of machine that recorded them; elsewhere a level of 255 is allowed.
"""

import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.freeze.conftest import RECORDS

import unveil
from unveil.imaging import read_image
from unveil.ops import native
from unveil.ops.gated_unit.native import has_fast_kernel

SAMPLES = Path(__file__).parents[2] / "examples" / "samples"
PASSES = {
    "whole": {"tile": "off"},
    "tiles": {"tile": 64},
    "ensemble": {"tile": "off", "ensemble": True},
    "ensemble of tiles at strength 0.6": {"tile": 64, "ensemble": True, "strength": 0.6},
}
# One level, and what float sums in another order add at a rounding edge.
OTHER_MACHINE = 1


@pytest.mark.parametrize("name", unveil.list_models())
def test_names_and_shapes_of_weights(name, frozen):
    with torch.device("meta"):
        network = unveil.create_model(name)
    shapes = {key: "×".join(map(str, t.shape)) for key, t in network.state_dict().items()}
    frozen(f"weights/{name}", shapes)


def machine() -> str:
    """Name what may decide the last bits of a float sum."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    isa = torch.backends.cpu.get_cpu_capability()
    kernel = "native" if not native.status().reason else "torch"
    if has_fast_kernel():
        kernel += " unit"
    return f"{platform.machine()}, {model}, {isa}, torch {torch.__version__}, {kernel}"


def seeded(name: str) -> torch.nn.Module:
    """Build a network that changes what it is given, and not only by its last layer."""
    torch.manual_seed(1)
    network = unveil.create_model(name).eval()
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network


def photos() -> dict[str, np.ndarray]:
    chelsea = read_image(SAMPLES / "chelsea.png").pixels[60:132, 120:203]
    rocket = read_image(SAMPLES / "rocket.jpg").pixels[200:237, 300:341].astype(np.uint16) * 257
    return {"chelsea": np.array(chelsea), "rocket, 16 bits": rocket}


@pytest.mark.parametrize("name", [n for n in unveil.list_models() if not n.endswith("_base")])
def test_restored_bytes(name, recording):
    path = RECORDS / "restored" / f"{name}.json"
    network = seeded(name)
    before = {} if recording else json.loads(path.read_text(encoding="utf-8"))
    now = {"machine": machine()}
    for way, options in PASSES.items():
        restorer = unveil.Restorer(network, **options)
        for photo, pixels in photos().items():
            restored = restorer(pixels)
            assert not np.array_equal(restored, pixels)
            now[f"{photo}, {way}"] = {
                "sha256": hashlib.sha256(restored.tobytes()).hexdigest(),
                "every 16th pixel": " ".join(
                    map(str, (restored[::16, ::16] // step(pixels)).ravel())
                ),
            }
    if recording:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return
    same_machine = before.pop("machine") == now.pop("machine")
    assert now.keys() == before.keys()
    for case, made in now.items():
        if same_machine:
            assert made["sha256"] == before[case]["sha256"], f"{case}: see script/freeze"
        values = [np.array(one["every 16th pixel"].split(), int) for one in (made, before[case])]
        np.testing.assert_allclose(*values, atol=OTHER_MACHINE, err_msg=case)


def step(pixels: np.ndarray) -> int:
    """Return one level of 255 in a type's own steps."""
    return np.iinfo(pixels.dtype).max // 255
