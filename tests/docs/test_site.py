"""The documentation's examples run, its commands exist, its figures are those of the code."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unveil.degradations import CATALOGUE
from unveil.imaging import read_image, write_image
from unveil.metrics.registry import METRICS
from unveil.models import registry

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the source tree")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Blocks that need a network, a browser or hours.
_NOT_RUN = ("hf://", "push_to_hub", "httpx", "onnxruntime", "ray.", "spandrel")


def blocks(page: Path, *languages: str) -> list[str]:
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_PYTHON = [
    page
    for page in PAGES
    if "decisions" not in page.parts
    and any(not any(word in text for word in _NOT_RUN) for text in blocks(page, "python"))
]


@pytest.fixture
def registries_restored():
    """Take away what a page registers: other tests list the names."""
    registries = (registry._RECORDS, CATALOGUE, METRICS)
    before = [set(one) for one in registries]
    yield
    for one, names in zip(registries, before, strict=True):
        for name in set(one) - names:
            one.unregister(name)


@pytest.mark.usefixtures("registries_restored")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=named)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = read_image(ROOT / "examples/samples/rocket.jpg")
    for name in ("photo.jpg", "other.jpg"):
        write_image(tmp_path / name, replace(image, pixels=image.pixels[64:128, 64:160].copy()))
    names: dict[str, object] = {}
    for text in blocks(page, "python"):
        if not any(word in text for word in _NOT_RUN):
            for path in tmp_path.glob("*.restored.*"):
                path.unlink()
            exec(compile(text, named(page), "exec"), names)


def commands(page: Path) -> list[list[str]]:
    """Return the words of every `unveil …` line, continued lines joined."""
    text = "".join(blocks(page, "", "sh", "bash", "console")).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("unveil ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_commands_of_a_page_exist(page):
    options = json.loads((ROOT / "tests/freeze/records/options.json").read_text(encoding="utf-8"))
    for words in commands(page):
        verb = options[words[0]]
        if words[0] in ("bench", "data"):
            verb = verb[words[1]]
        known = {name for key in verb for name in key.split()} | {"--help", "--debug"}
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, words


def test_figures_are_drawn_from_the_configurations():
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs/figures/draw.py")
    draw = importlib.util.module_from_spec(spec)
    sys.modules["draw"] = draw
    spec.loader.exec_module(draw)
    for name, figure in draw.FIGURES.items():
        drawn = (ROOT / "docs/figures" / name).read_text(encoding="utf-8")
        assert figure().svg() == drawn, f"run docs/figures/draw.py: {name}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


def test_environment_variables_are_documented():
    page = (ROOT / "docs/reference/environment.md").read_text(encoding="utf-8")
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "script").iterdir()]
    used = set()
    for path in sources:
        text = path.read_text(encoding="utf-8", errors="ignore")
        used |= set(re.findall(r"""["'{$](UNVEIL_[A-Z_]+)\b""", text))
    assert {name for name in used if f"`{name}`" not in page} == set()


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
