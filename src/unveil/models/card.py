"""What is stated of bundled weights wherever they go: one file per model, beside the weights."""

from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict

from unveil.errors import CheckpointError
from unveil.models.checkpoint import bundled_weights


class ModelCard(BaseModel):
    """The fields of ``weights/ID.yaml``.

    Attributes:
        summary: What the network does, in one line.
        license: Of the weights, an SPDX identifier.
        author: Who trained them.
        arxiv: Number of the paper of the network.
        tags: Keywords of the Hugging Face hub.
        training_data: What they were trained on.
        training_data_license: Its licence.
        notes: Limits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    summary: str
    license: str
    author: str
    arxiv: str
    tags: list[str]
    training_data: str
    training_data_license: str
    notes: str


def read_card(model_id: str) -> ModelCard:
    """Read what is stated of the bundled weights of `model_id`.

    Raises:
        CheckpointError: No weights of this id are bundled.

    >>> read_card("cu_mamba_small").license
    'Apache-2.0'
    """
    if model_id not in bundled_weights():
        known = ", ".join(bundled_weights()) or "none"
        raise CheckpointError(f"no weights are bundled for {model_id!r} (bundled: {known})")
    text = (files("unveil") / "weights" / f"{model_id}.yaml").read_text(encoding="utf-8")
    return ModelCard.model_validate(yaml.safe_load(text))
