"""Options, results and journals that make no sense, through the command."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.hostile.conftest import Run, cases
from tests.hostile.values import hostile_tree, json_text
from tests.imaging.test_fuzz import mutated

_VALUES = ["", "-1", "0", "1", "3", "65", "1e400", "nan", "inf", "-inf", "9" * 5000, "9" * 18, "²",
           "\udce9", "a" * 300, "a" * 5000, "{", "{stem:>9999999999}{ext}", "{0}", "{stem}.exe",
           "[", "[!]", "*", "../*", "1/0", "2/3", "3/2", "1/" + "9" * 4000, "cpu", "cpu:99",
           "cuda", "meta", "a\nb", "\x1b[2J", "0x10", "1_0", "1,2", "1,,2", "re:(", "re:(a) -> b",
           "{x} -> {y}", "** -> *", "->", "noise", "noise:", "+", "noise+" * 100, "rain:light+",
           "noise:sigma_255=5..1", "noise:sigma_255=" + "9" * 4000, "identity", "auto", "off",
           "photo.png", ".", "..", "/dev/null", "/dev/zero", "none.json", "é", "rain-y",
           "gaussian-color", "denoise", "png", "heic", "~nobody", "$NOTHING"]  # fmt: skip
_RESTORE = ["--model", "--task", "--strength", "--tile", "--format", "--name", "--quality",
            "--max-megapixels", "--device", "--threads", "--shard", "--nonsense", "-o"]  # fmt: skip
_EVALUATE = ["--protocol", "--sigma", "--with", "--pairs", "--limit", "--include", "--exclude",
             "--seed", "--threads", "--device", "-o", "--data"]  # fmt: skip
_VERBS: list[tuple[list[str], list[str]]] = [
    (["restore", "photo.png", "--model", "identity"], _RESTORE),
    (["evaluate", "identity", "--data", "set", "--protocol", "gaussian-color", "--sigma", "25"],
     _EVALUATE),
    (["compare", "a.json", "b.json"], ["--seed", "--confidence", "--threads", *_EVALUATE]),
    (["degrade", "photo.png", "--with", "noise", "-o", "out"],
     ["--with", "--seed", "--depth", "-o"]),
    (["data", "check", "set"], ["--layout", "--min-size"]),
    (["inspect", "photo.png", "--model", "identity"], ["--max-megapixels", "--device", "--model"]),
    (["train", "none.yaml"], ["--devices", "--nodes", "--accelerator"]),
]  # fmt: skip
_SCORE = {"name": "x", "width": 8, "height": 8, "psnr": 30.0, "ssim": 0.9, "input_psnr": 20.0,
          "input_ssim": 0.5, "seconds": 0.1}  # fmt: skip
_REPORT: dict[str, Any] = {
    "model": "m", "parameters": 1, "digest": "", "protocol": {"name": "rain-y"}, "dataset": "d",
    "images_found": 1, "files_digest": "", "seed": 0, "environment": {}, "selection": "",
    "cases": [{"sigma_255": None, "degradation": None, "images": [_SCORE]}],
}  # fmt: skip
_LINE = {"target": "photo.restored.png", "key": "0", "stamp": [1, 2]}


def _write_companions(folder: Path, rng: np.random.Generator) -> None:
    """Put results and a journal beside the photo, most of them damaged."""
    for name in ("a.json", "b.json"):
        tree = hostile_tree(_REPORT, rng) if rng.random() < 0.7 else _REPORT
        text = json_text(tree).encode("utf-8", "surrogatepass")
        (folder / name).write_bytes(mutated(text, rng) if rng.random() < 0.2 else text)
    line = json_text(hostile_tree(_LINE, rng)).encode("utf-8", "surrogatepass")
    (folder / ".unveil-restored.jsonl").write_bytes(line + b"\n" + mutated(line, rng))
    results = folder / "results"
    results.mkdir()
    scores = [json.dumps({"case": "sigma25", **_SCORE}), json_text(hostile_tree(_SCORE, rng))]
    text = "\n".join(scores).encode("utf-8", "surrogatepass")
    (results / "images.jsonl").write_bytes(mutated(text, rng))
    (folder / "set").mkdir()
    os.link(folder / "photo.png", folder / "set" / "photo.png")


def _attack(run: Run, photo: Path, number: int) -> None:
    rng = np.random.default_rng(14)
    for case in range(number):
        _write_companions(photo.parent, rng)
        words, options = _VERBS[int(rng.integers(len(_VERBS)))]
        words = list(words)
        if words[0] == "restore" and rng.random() < 0.3:
            words[1] = "."  # goes on by the journal
        if words[0] == "evaluate" and rng.random() < 0.3:
            words += ["-o", "results", "--force"][: 2 + int(rng.integers(2))]
        for _ in range(int(rng.integers(0, 3))):
            option, value = str(rng.choice(options)), str(rng.choice(_VALUES))
            words += [option, value]
        if rng.random() < 0.1:
            words[-1] = str(rng.choice(_VALUES))
        run(*words, case=case)


def test_some_hostile_options(run: Run, photo: Path, request: pytest.FixtureRequest) -> None:
    _attack(run, photo, cases(request, 40, 40))


@pytest.mark.slow
def test_many_hostile_options(run: Run, photo: Path, request: pytest.FixtureRequest) -> None:
    _attack(run, photo, cases(request, 40, 500))
