"""Folders for Hugging Face: models and a static Space with their cards; nothing is sent."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from unveil.errors import CheckpointError
from unveil.imaging.atomic import write_text
from unveil.models.card import read_card
from unveil.models.checkpoint import read_bundled, save_pretrained


def card(model_id: str) -> str:
    """Return the model card of bundled weights: metadata for the hub, then their own description.

    Args:
        model_id: A bundled model's id.

    Raises:
        CheckpointError: No weights of this id are bundled.

    >>> card("cu_mamba_small").splitlines()[0]
    '---'
    """
    head = yaml.safe_dump(metadata(model_id), sort_keys=False, allow_unicode=True)
    text = (files("unveil") / "weights" / f"{model_id}.md").read_text(encoding="utf-8")
    use = (
        "```python\nimport unveil\n\n"
        f'network = unveil.from_pretrained("hf://OWNER/{model_id}")  # downloads it\n'
        'unveil.restore("photo.jpg", network)\n```\n'
    )
    return f"---\n{head}---\n{text.rstrip()}\n\n## Use\n\n{use}"


def metadata(model_id: str) -> dict[str, Any]:
    """Return what the hub reads from a card's head: `read_card` in the hub's words.

    Args:
        model_id: A bundled model's id.

    Raises:
        CheckpointError: No weights of this id are bundled.

    >>> metadata("cu_mamba_small")["license"]
    'apache-2.0'
    """
    about = read_card(model_id)
    return {
        "license": about.license.lower(),
        "library_name": "unveil",
        "pipeline_tag": "image-to-image",
        "tags": [*about.tags, f"arxiv:{about.arxiv}"],
    }


def write_model(model_id: str, folder: Path) -> Path:
    """Write weights, configuration and card of a bundled model into a folder to be pushed.

    The weights keep their metadata, and so the degradation estimate.

    Args:
        model_id: A bundled model's id.
        folder: Made when missing.

    Returns:
        The folder, which `unveil.from_pretrained` opens.

    Raises:
        CheckpointError: No weights of this id are bundled.
    """
    text = card(model_id)
    bundled = read_bundled(model_id)
    save_pretrained(bundled.model, folder, bundled.metadata)
    write_text(folder / "README.md", text)
    return folder


def write_space_card(folder: Path, title: str = "unveil") -> Path:
    """Make a static Space of a folder that ``unveil web --out`` wrote, ready to be pushed.

    Args:
        folder: The page, with its ``index.html``.
        title: Name of the Space.

    Returns:
        The card, ``README.md``.

    Raises:
        CheckpointError: The folder holds no page.
    """
    if not (folder / "index.html").is_file():
        raise CheckpointError(f"{folder}: holds no index.html; write it with unveil web --out")
    entries = {
        "title": title,
        "sdk": "static",
        "app_file": "index.html",
        "license": "apache-2.0",
        "short_description": "Remove noise, rain and haze from photos, in your browser",
    }
    head = yaml.safe_dump(entries, sort_keys=False)
    text = "Photographs stay on your machine: the network runs in the browser.\n"
    card_file = folder / "README.md"
    write_text(card_file, f"---\n{head}---\n{text}")
    return card_file
