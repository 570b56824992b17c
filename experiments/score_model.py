"""Score a model on every test set that its quality is judged by, and print one table.

    UNVEIL_DATA=sets python experiments/score_model.py mtair_small
    UNVEIL_DATA=sets python experiments/score_model.py runs/all/best --limit 4   # a quick look

Each row is what one call of `unveil evaluate` gives; the calls are printed below the table. Scores
are kept in the output folder as they come, so a killed run goes on where it was.
"""

import argparse
import json
import math
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unveil.errors import UnveilError
from unveil.evaluation import (
    Case,
    CaseResult,
    Method,
    Report,
    evaluate,
    load_method,
    protocol_named,
    write_report,
)
from unveil.evaluation.table import pipe_table
from unveil.inference.loading import load

# Several crops of noise_polyu share a scene; these scenes are never trained on.
CAMERA_TEST_SCENES = ("printer", "comproom", "GO", "wall", "plant", "photo", "door", "waterhouse")


@dataclass(frozen=True)
class Test:
    """One call of `unveil evaluate`.

    Attributes:
        data: Folder below `UNVEIL_DATA`.
        protocol: Its name.
        bars: What to reach for each case: a PSNR in dB, or with `gain` what is won over the input;
            None where nothing was set.
        gain: Whether bars are gains.
        include: Filters on the files' names.
        folder: Where the scores are kept, below the output folder.
    """

    data: str
    protocol: str
    bars: dict[Case, float | None]
    folder: str
    gain: bool = False
    include: tuple[str, ...] = field(default=())

    def command(self, model: str) -> str:
        """Return the call that gives the same numbers."""
        levels = ",".join(f"{case.sigma_255:g}" for case in self.bars if case.sigma_255 is not None)
        words = ["unveil", "evaluate", model, "--data", f"$UNVEIL_DATA/{self.data}"]
        words += ["--protocol", self.protocol] + (["--sigma", levels] if levels else [])
        for case in self.bars:
            words += ["--with", case.degradation] if case.degradation else []
        for pattern in self.include:
            words += ["--include", pattern]
        return shlex.join(words).replace(f"'$UNVEIL_DATA/{self.data}'", words[4])


def _gaussian(protocol: str, bars: tuple[float, float, float]) -> Test:
    cases = (Case(sigma_255=sigma) for sigma in (15.0, 25.0, 50.0))
    return Test("cbsd68", protocol, dict(zip(cases, bars, strict=True)), protocol)


def _gray(bar: float) -> Test:
    return Test("set12", "gaussian-gray", {Case(sigma_255=25.0): bar}, "gray")


def _camera(cc: float | None, polyu: float | None) -> tuple[Test, ...]:
    scenes = tuple(f"*_{scene}_*" for scene in CAMERA_TEST_SCENES)
    return (
        Test("noise_cc", "paired-rgb", {Case(): cc}, "cc"),
        Test("noise_polyu", "paired-rgb", {Case(): polyu}, "polyu", include=scenes),
    )


def _kodak(folder: str, bars: dict[str, float], gain: bool = False) -> Test:
    cases: dict[Case, float | None] = {Case(degradation=name): bar for name, bar in bars.items()}
    return Test("kodak24", "rain-rgb", cases, folder, gain)


TESTS = {
    "cu_mamba_small": (
        _gaussian("gaussian-color", (33.85, 31.22, 27.97)),
        _gray(30.0),
        *_camera(None, None),
        _kodak("clean", {"identity": 50.0}),
    ),
    "cu_mamba_small_deblur": (
        _kodak("blur", {"blur:motion,length=15": 2.0}, gain=True),
        _kodak("clean", {"identity": 38.0}),
    ),
    "mtair_small": (
        _gaussian("all-in-one", (33.5, 30.85, 27.6)),
        _gray(29.8),
        Test("rain100h/test", "rain-rgb", {Case(): 24.5}, "rain100h"),
        Test("rain_bsd20/test", "rain-rgb", {Case(): 5.0}, "rain_bsd20", gain=True),
        _kodak(
            "weather", {"rain:light": 35.0, "rain:heavy": 25.6, "haze:light": 25, "haze:heavy": 21}
        ),
        *_camera(38.0, 40.0),
        _kodak("clean", {"identity": 47.5}),
    ),
}


def run(test: Test, method: Method, output: Path, limit: int | None, force: bool) -> Report:
    """Evaluate one test, keeping its scores and its report."""
    report = evaluate(
        method,
        protocol_named(test.protocol),
        Path(os.environ["UNVEIL_DATA"]) / test.data,
        cases=list(test.bars),
        include=test.include or None,
        limit=limit,
        output=output / test.folder,
        force=force,
    )
    write_report(report, output / test.folder)
    return report


def entry(test: Test, report: Report, result: CaseResult) -> dict[str, Any]:
    """Return a row of the table as plain values; an infinite PSNR is None."""
    given, restored = result.mean("input_psnr"), result.mean("psnr")
    gain = restored - given if math.isfinite(given) else None
    bar = test.bars[result.case]
    reached = gain if test.gain else restored
    return {
        "data": report.dataset + (" (part)" if report.selection else ""),
        "images": report.images_used,
        "of": report.images_found,
        "protocol": test.protocol,
        "case": result.case.label,
        "input": given if math.isfinite(given) else None,
        "restored": restored,
        "ssim": result.mean("ssim"),
        "gain": gain,
        "bar": bar,
        "bar_is_gain": test.gain,
        "passed": None if bar is None or reached is None else reached >= bar,
    }


def to_markdown(entries: list[dict[str, Any]]) -> str:
    """Lay the rows out as a table."""
    head = ["set", "images", "protocol", "case", "input", "restored", "gain", "bar", ""]
    marks = {True: "reached", False: "missed", None: ""}
    body = []
    for e in entries:
        bar = "" if e["bar"] is None else f"{'+' if e['bar_is_gain'] else ''}{e['bar']:g}"
        gain = "" if e["gain"] is None else f"{e['gain']:+.2f}"
        given = "∞" if e["input"] is None else f"{e['input']:.2f}"
        images = str(e["images"]) if e["images"] == e["of"] else f"{e['images']} of {e['of']}"
        restored = f"{e['restored']:.2f}"
        cells = [e["data"], images, e["protocol"], e["case"], given, restored, gain, bar]
        body.append([*cells, marks[e["passed"]]])
    return "\n".join(pipe_table(head, body))


def main() -> None:
    """Read the command line, evaluate, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="id, weights file or folder")
    parser.add_argument("--output", type=Path, help="folder for the scores; default: scores/MODEL")
    parser.add_argument("--only", nargs="+", metavar="TEST", help="names of tests to run")
    parser.add_argument("--limit", type=int, help="images per set, for a quick look")
    parser.add_argument("--force", action="store_true", help="throw another model's scores away")
    parser.add_argument("--threads", type=int, help="of the network")
    options = parser.parse_args()
    if "UNVEIL_DATA" not in os.environ:
        parser.error("set UNVEIL_DATA to the folder of the image sets")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        kind = getattr(load(options.model).network, "model_id", "")
        if kind not in TESTS:
            parser.error(f"{options.model} is {kind or 'no network'}; known: {', '.join(TESTS)}")
        output = options.output or Path("scores") / Path(options.model).resolve().name
        method = load_method(options.model)
        names = [test.folder for test in TESTS[kind]]
        if unknown := set(options.only or ()).difference(names):
            parser.error(f"no test {', '.join(sorted(unknown))}; --only takes {', '.join(names)}")
        chosen = [test for test in TESTS[kind] if test.folder in (options.only or names)]
        entries: list[dict[str, Any]] = []
        for test in chosen:
            report = run(test, method, output, options.limit, options.force)
            entries += [entry(test, report, result) for result in report.cases]
    except UnveilError as error:
        raise SystemExit(str(error)) from error
    scores = {"model": options.model, "digest": method.digest, "rows": entries}
    # A part of the tests leaves the whole table of an earlier call alone.
    name = "-".join(["scores", *(test.folder for test in chosen if options.only)])
    (output / f"{name}.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print(f"PSNR in dB of {options.model} (means over images)\n\n{to_markdown(entries)}\n")
    print("\n".join(test.command(options.model) for test in chosen))


if __name__ == "__main__":
    main()
