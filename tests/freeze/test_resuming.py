"""A run begun by version 0.1.0 (commit 2a6cea0) goes on, and ends as it would have there.

`run_of_0_1_0` holds that run's folder, stopped after 4 of 6 steps: Muon, two tasks, two phases.
It is never recorded anew; its end is.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
from tests.freeze.conftest import RECORDS
from tests.freeze.test_networks import machine

from unveil.data import write_toy_set
from unveil.training.checkpoints import load_state
from unveil.training.devices import Devices
from unveil.training.recipe_file import load_recipe
from unveil.training.run import train

RUN = Path(__file__).parent / "run_of_0_1_0"
PART_NAMES = ("network", "average")


def test_a_run_of_the_former_version_goes_on_to_the_same_end(tmp_path, monkeypatch, recording):
    monkeypatch.chdir(tmp_path)
    write_toy_set(Path("toy"), count=2, test_count=2, size=48)
    shutil.copytree(RUN, "run")
    recipe = load_recipe("run/recipe.yaml")
    outcome = train(recipe, "run", resume=True, devices=Devices(accelerator="cpu"))
    assert (outcome.step, outcome.finished) == (6, True)

    state = load_state(Path("run/checkpoints"))
    now = {"machine": machine(), "psnr": round(outcome.psnr, 2)}
    for part in PART_NAMES:
        tensors = getattr(state, part)
        digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors.values()))
        now[part] = {
            "sha256": digest.hexdigest(),
            "sums": [t.sum().item() for t in tensors.values()],
        }
    path = RECORDS / "resumed.json"
    if recording:
        path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    assert now["psnr"] == before["psnr"]
    for part in PART_NAMES:
        if now["machine"] == before["machine"]:
            assert now[part]["sha256"] == before[part]["sha256"], "see script/freeze"
        # Muon's matrices amplify what another machine rounds differently.
        np.testing.assert_allclose(now[part]["sums"], before[part]["sums"], rtol=1e-3, atol=1e-3)
