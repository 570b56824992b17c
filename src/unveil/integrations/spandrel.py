"""Let spandrel, and what builds on it (chaiNNer, ComfyUI's upscalers), load this package's weights.

>>> import spandrel, unveil.integrations.spandrel as ours  # doctest: +SKIP
>>> ours.install()  # doctest: +SKIP
>>> spandrel.ModelLoader().load_from_file("cu_mamba_small.safetensors").architecture.id
... # doctest: +SKIP
'CU-Mamba'
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from unveil.errors import CheckpointError, InputError, MissingExtraError
from unveil.models.base import ModelConfig, RestorationModel
from unveil.models.cu_mamba import CUMamba
from unveil.models.mtair import MTAIR
from unveil.models.registry import get_record, list_models

EXTRA = "_extra_state"

# Families: spandrel's id, class, and keys that no other known architecture has together.
_FAMILIES: tuple[tuple[str, type[RestorationModel], tuple[str, ...]], ...] = (
    ("CU-Mamba", CUMamba, ("stem.weight", "latent.blocks.0.blocks.0.norm.weight")),
    ("MTAIR", MTAIR, ("embed.weight", "latent.blocks.0.norm.weight")),
)


def install(registry: Any = None) -> None:
    """Add both families of networks to a registry of spandrel's; a second call changes nothing.

    Args:
        registry: A `spandrel.ArchRegistry`; None is spandrel's own, which `ModelLoader` uses.

    Raises:
        MissingExtraError: spandrel is not installed.
    """
    try:
        import spandrel  # type: ignore[import-not-found]  # noqa: PLC0415 (not ours to require)
    except ImportError as error:
        raise MissingExtraError("unveil.integrations.spandrel", "spandrel") from error
    registry = spandrel.MAIN_REGISTRY if registry is None else registry
    made = [_architecture(spandrel, *family) for family in _FAMILIES]
    supports = [spandrel.ArchSupport.from_architecture(architecture) for architecture in made]
    registry.add(*supports, ignore_duplicates=True)


def _architecture(
    spandrel: Any, name: str, network: type[RestorationModel], keys: tuple[str, ...]
) -> Any:
    """Return a `spandrel.Architecture` for a family."""

    def detect(state: Mapping[str, Any]) -> bool:
        head = state.get("head.weight")
        return (
            all(key in state for key in (*keys, "head.weight"))
            and isinstance(head, Tensor)
            and head.shape[2:] == (3, 3)
            and any(key.startswith("downs.") for key in state)
        )

    class Architecture(spandrel.Architecture):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(id=name, name=name, detect=detect)

        def load(self, state_dict: Mapping[str, Any]) -> Any:
            state = dict(state_dict)
            config = configuration(state, network)
            model = network(config)
            model.model_id = _name_of(config, network)
            _keep_configuration(model, config)
            # spandrel loads strictly: what a file lacks is supplied here.
            state[EXTRA] = _encoded(config)
            tiles = spandrel.ModelTiling
            return spandrel.ImageModelDescriptor(
                model,
                state,
                architecture=self,
                purpose="Restoration",
                tags=[model.model_id] if model.model_id else [],
                supports_half=True,
                supports_bfloat16=True,
                scale=1,
                input_channels=3,
                output_channels=3,
                size_requirements=spandrel.SizeRequirements(multiple_of=model.size_multiple),
                tiling=tiles.DISCOURAGED if model.has_statistics else tiles.SUPPORTED,
            )

    return Architecture()


def configuration(state: Mapping[str, Any], network: type[RestorationModel]) -> ModelConfig:
    """Return the configuration that weights belong to.

    Args:
        state: Weights by name, with or without the configuration in ``_extra_state``.
        network: Their family.

    Raises:
        CheckpointError: There is none, and the weights fit no variant by their shapes.
    """
    stored = state.get(EXTRA)
    if isinstance(stored, Tensor):
        text = bytes(stored.cpu().to(torch.uint8).tolist())
        try:
            return network.config_type.model_validate(json.loads(text))
        except (ValueError, ValidationError) as error:
            raise CheckpointError(
                f"{EXTRA} holds no configuration of {network.__name__}"
            ) from error
    shapes = {key: value.shape for key, value in state.items() if isinstance(value, Tensor)}
    for record in map(get_record, list_models()):
        if record.build is network and _shapes(record.config, network) == shapes:
            return record.config
    raise CheckpointError(
        f"weights of {network.__name__} without a configuration, and no variant has these shapes: "
        "load them with unveil.from_pretrained"
    )


def _shapes(config: ModelConfig, network: type[RestorationModel]) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in network(config).state_dict().items()}


def _name_of(config: ModelConfig, network: type[RestorationModel]) -> str:
    records = [record for record in map(get_record, list_models()) if record.build is network]
    return next((record.id for record in records if record.config == config), "")


def _encoded(config: ModelConfig) -> Tensor:
    return torch.tensor(list(config.model_dump_json().encode()), dtype=torch.uint8)


def _keep_configuration(model: nn.Module, config: ModelConfig) -> None:
    """Let a model's state hold its configuration, so that a state saved from it loads again."""

    def set_extra_state(_: nn.Module, state: Any) -> None:
        if not isinstance(state, Tensor):
            raise InputError(f"{EXTRA} is a {type(state).__name__}, expected bytes of JSON")

    methods = {"get_extra_state": lambda _: _encoded(config), "set_extra_state": set_extra_state}
    model.__class__ = type(type(model).__name__, (type(model),), methods)
