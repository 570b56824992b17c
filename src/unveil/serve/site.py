"""The page as a folder for any static host: the browser restores, no server is needed."""

import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unveil.errors import OutputError
from unveil.export.web import WEIGHTS, write_network
from unveil.imaging.atomic import replacing_folder
from unveil.inference.conditioning import task_conditioning, tasks_of
from unveil.inference.loading import default_model, load
from unveil.inference.options import TASKS
from unveil.serve.app import WEB
from unveil.serve.catalogue import names_of
from unveil.serve.samples import SAMPLES

_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; "
    "object-src 'none'; base-uri 'none'"
)
# For hosts that read it: threads need an isolated page.
_HEADERS = """/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
"""


def write_site(target: Path, models: Sequence[str], *, force: bool = False) -> list[Path]:
    """Write the page, networks and the runtime; nothing is fetched.

    Args:
        target: The folder; a file `site.json` marks it as such.
        models: Ids, weights files or folders; the first is preferred.
        force: Replace a site that is there.

    Returns:
        The files.

    Raises:
        OutputError: If the folder holds something else, or cannot be written.
        InputError: If there is no such model, or two of one name.
        CheckpointError: If weights are missing or damaged.
    """
    if target.exists() and any(target.iterdir()):
        if not (target / "site.json").exists():
            raise OutputError(f"{target}: holds other files; name a new or empty folder")
        if not force:
            raise OutputError(f"{target}: exists; give --force to replace it")
    names = names_of([Path(model) for model in models])
    with replacing_folder(target) as folder:
        _write_page(folder)
        written = [
            {"id": name, **_write_model(folder, Path("network") / str(number), models[number])}
            for number, name in enumerate(names)
        ]
        tasks = _choices(written)
        # The network that is taken without a task removes all that it was made for.
        removes = [task for task in TASKS[1:] if task in tasks or task in written[0]["removes"]]
        site = {
            "models": written,
            "tasks": tasks,
            "removes": removes,
            "weights": WEIGHTS,
            "samples": _write_samples(folder / "samples", removes),
        }
        (folder / "site.json").write_text(json.dumps(site))
    return sorted(file for file in target.rglob("*") if file.is_file())


def _write_page(folder: Path) -> None:
    left_out = shutil.ignore_patterns("server.js", "*.gz")
    shutil.copytree(WEB, folder, dirs_exist_ok=True, ignore=left_out)
    for packed in (WEB / "vendor").glob("*.gz"):
        (folder / "vendor" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    page = folder / "index.html"
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    text = page.read_text(encoding="utf-8")
    text = text.replace('data-engine="server"', 'data-engine="browser"')
    page.write_text(text.replace("<title>", f"{policy}\n<title>", 1), encoding="utf-8")
    (folder / "_headers").write_text(_HEADERS)


def _write_samples(folder: Path, removes: Sequence[str]) -> list[dict[str, str]]:
    folder.mkdir()
    found = [sample for sample in SAMPLES if sample.task in removes]
    for sample in found:
        (folder / f"{sample.id}.png").write_bytes(sample.content())
        (folder / f"{sample.id}.thumbnail.png").write_bytes(sample.thumbnail())
    return [{"id": s.id, "degradation": s.degradation, "about": s.about} for s in found]


def _write_model(site: Path, folder: Path, model: str) -> dict[str, Any]:
    """Write a network into a folder of the site; return its entry in `site.json`."""
    loaded = load(model)
    readout = loaded.probe
    removes = tasks_of(loaded)
    # Graphs hold the network as it is, not turned to one of its tasks.
    tasks = [
        task for task in removes if task_conditioning(loaded, task) == ({}, loaded.tiling.window)
    ]
    return {
        "removes": removes,
        "tasks": tasks,
        "inspects": readout is not None,
        "causes": list(readout.causes) if readout else [],
        "folder": folder.as_posix(),
        **write_network(site / folder, loaded, readout),
    }


def _choices(models: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return by task its network, and whether `unveil restore` has to be given its name."""
    found: dict[str, dict[str, Any]] = {}
    for task in TASKS:
        able = [m["id"] for m in models if task in ("auto", *m["tasks"])]
        if able:
            usual = default_model(task)
            chosen = able[0] if task == "auto" or usual not in able else usual
            found[task] = {"model": chosen, "named": chosen != usual}
    return found
