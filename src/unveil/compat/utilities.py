"""What scripts import from `mamba_ssm.utils` beside the networks."""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unveil.errors import InputError

# States of a layer for decoding: of the convolution and of the scan.
Cache: TypeAlias = tuple[Tensor, Tensor]

custom_fwd = partial(torch.amp.custom_fwd, device_type="cuda")
custom_bwd = partial(torch.amp.custom_bwd, device_type="cuda")


@dataclass
class InferenceParams:
    """What decoding token by token carries along.

    Attributes:
        max_seqlen: Most tokens of a sequence.
        max_batch_size: Most sequences.
        seqlen_offset: Tokens seen.
        batch_size_offset: Sequences before this batch.
        key_value_memory_dict: Caches by layer.
        lengths_per_sample: Tokens of each sequence, or None.
    """

    max_seqlen: int
    max_batch_size: int
    seqlen_offset: int = 0
    batch_size_offset: int = 0
    key_value_memory_dict: dict[int, Cache] = field(default_factory=dict)
    lengths_per_sample: Tensor | None = None

    def reset(self, max_seqlen: int, max_batch_size: int) -> None:
        """Begin anew; the caches stay.

        Args:
            max_seqlen: Most tokens of a sequence.
            max_batch_size: Most sequences.
        """
        self.max_seqlen, self.max_batch_size, self.seqlen_offset = max_seqlen, max_batch_size, 0
        if self.lengths_per_sample is not None:
            self.lengths_per_sample.zero_()


class GenerationMixin:
    """The base class of language models; generating text is not provided."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse.

        Args:
            *args: Not read.
            **kwargs: Not read.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "unveil stands in for mamba_ssm here, for networks on images: it does not generate text"
        )


def load_config_hf(model_name: str) -> Any:
    """Read the configuration in a local folder.

    Args:
        model_name: The folder, which holds `config.json`.

    Raises:
        InputError: There is no such file; nothing is downloaded.
    """
    return json.loads(_local(model_name, "config.json").read_text(encoding="utf-8"))


def load_state_dict_hf(
    model_name: str, device: Any = None, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Read the weights in a local folder.

    Args:
        model_name: The folder, which holds `pytorch_model.bin`.
        device: Where the weights go.
        dtype: Their dtype.

    Raises:
        InputError: There is no such file; nothing is downloaded.
    """
    path = _local(model_name, "pytorch_model.bin")
    weights = torch.load(path, map_location=device or "cpu", weights_only=True)
    return {name: value.to(dtype=dtype or value.dtype) for name, value in weights.items()}


def _local(folder: str, name: str) -> Path:
    path = Path(folder) / name
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: unveil stands in for mamba_ssm here and reads local folders"
        )
    return path
