"""Weights that lie or exhaust: one line each, at once, and nothing large is built for them."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unveil import create_model, from_pretrained, restore, save_pretrained
from unveil.errors import CheckpointError, InputError
from unveil.models import checkpoint
from unveil.models.checkpoint import read_checkpoint, read_metadata, save_checkpoint

Change = Callable[[dict[str, Any], dict[str, str]], None]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(create_model("cu_mamba_tiny"), tmp_path / "net.safetensors")


def _refusal(path: Path) -> str:
    start = time.process_time()
    with pytest.raises(CheckpointError) as refused:
        read_checkpoint(path)
    assert time.process_time() - start < 4  # 2 s, and a first use of torch's meta device
    assert "\n" not in str(refused.value)
    return str(refused.value)


def _described(saved: Path, description: str) -> Path:
    save_file(load_file(saved), saved, metadata={"unveil": description})
    return saved


def _configured(saved: Path, **changes: Any) -> Path:
    content = json.loads(read_metadata(saved)["unveil"])
    content["config"] |= changes
    return _described(saved, json.dumps(content))


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"model": "cu_mamba_tiny", "config": ' + '{"a":' * 200 + "1" + "}" * 201, "nested more"),
        ('{"model": "cu_mamba_tiny", "config": {"d_state": ' + "9" * 5000 + "}}", "digits"),
        ('{"model": "cu_mamba_tiny", "config": {"d_state": ' + "9" * 4000 + "}}", "d_state"),
        ('{"model": "cu_mamba_tiny", "config": {"expand": 1e999}}', "expand"),
        ('{"model": ["cu_mamba_tiny"], "config": {}}', "no model"),
        ('{"model": "cu_mamba_tiny"}', "config"),
        ("[]", "cannot be read"),
        ("3", "cannot be read"),
        ("{", "cannot be read"),
        ('{"a": "' + "a" * 2**20 + '"}', "larger than"),
    ],
)
def test_a_configuration_out_of_bounds(saved: Path, description: str, said: str) -> None:
    assert said in _refusal(_described(saved, description))


_LEVEL = {"width": 16, "encoder": 1, "decoder": 0, "parts": ["gated"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"levels": [_LEVEL | {"width": 10**9}]}, "width is beyond"),
        ({"levels": [_LEVEL | {"encoder": 10**6}]}, "encoder"),
        ({"levels": [_LEVEL | {"decoder": 1}] * 10**4 + [_LEVEL]}, "levels has 10001 entries"),
        ({"levels": [_LEVEL | {"width": 8000, "encoder": 32}]}, "does not fit cu_mamba_tiny"),
        ({"levels": [_LEVEL | {"parts": ["gated"] * 10**5}]}, "parts has 100000 entries"),
        ({"d_state": 8000}, "does not fit"),
        ({"d_state": True}, "does not fit"),
        ({"expand": 1e300}, "expand is beyond"),
    ],
)
def test_a_network_out_of_bounds_is_not_built(
    saved: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in _refusal(_configured(saved, **changes))


@pytest.mark.parametrize(
    "dtype",
    [torch.float8_e4m3fn, torch.float8_e5m2, torch.int64, torch.int32, torch.uint8, torch.bool,
     torch.complex64],
)  # fmt: skip
def test_tensors_of_another_type_do_not_load(saved: Path, dtype: torch.dtype) -> None:
    state, metadata = load_file(saved), read_metadata(saved)
    name = "stem.weight"
    state[name] = (
        torch.zeros(state[name].shape, dtype=torch.uint8).view(dtype)
        if dtype.itemsize == 1
        else torch.zeros(state[name].shape, dtype=dtype)
    )
    save_file(state, saved, metadata=metadata)
    assert _refusal(saved).endswith(
        f"stem.weight is {str(dtype).removeprefix('torch.')}, the model float32"
    )


def test_doubles_that_become_infinite_are_refused(saved: Path) -> None:
    state, metadata = load_file(saved), read_metadata(saved)
    state["stem.weight"] = torch.full_like(state["stem.weight"], 1e300, dtype=torch.float64)
    save_file(state, saved, metadata=metadata)
    assert "not finite" in _refusal(saved)


def test_weights_of_absurd_size_give_a_picture_and_no_warning() -> None:
    network = create_model("cu_mamba_tiny").eval()
    with torch.no_grad():
        network.head.weight.fill_(1e25)
    image = np.full((16, 16, 3), 100, np.uint8)
    assert set(np.unique(restore(image, network))) <= {0, 100, 255}


def test_a_name_with_a_null_character_is_one_line() -> None:
    assert "no name of a file" in _refusal(Path("\0"))


def test_pipes_devices_and_folders_are_not_opened(saved: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path / "pipe.safetensors", Path("/dev/zero"), tmp_path):
        assert "expected a file" in _refusal(path)
    save_file(load_file(saved), tmp_path / "bare.safetensors")
    os.mkfifo(tmp_path / checkpoint.CONFIG_NAME)
    assert "a pipe or a device" in _refusal(tmp_path / "bare.safetensors")


def test_many_small_tensors_are_counted_and_not_read(saved: Path) -> None:
    state, metadata = load_file(saved), read_metadata(saved)
    state |= {f"extra.{i}": torch.zeros(0) for i in range(20_000)}
    save_file(state, saved, metadata=metadata)
    assert "is unknown and 19999 more" in _refusal(saved)


def test_a_network_of_too_many_parameters_is_not_created() -> None:
    with pytest.raises(InputError, match="parameters; expected 1,073,741,824 at most"):
        create_model("cu_mamba_base", levels=[_LEVEL | {"width": 8000, "encoder": 32}])


def test_a_module_without_configuration_is_refused(tmp_path: Path) -> None:
    for module in (nn.Conv2d(3, 3, 1), nn.Identity()):
        with pytest.raises(InputError, match="has no configuration to be built from again"):
            save_pretrained(module, tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_the_id_of_a_bundled_model_is_a_source(tmp_path: Path, monkeypatch: Any) -> None:
    assert from_pretrained("cu_mamba_small").model_id == "cu_mamba_small"
    assert not from_pretrained("mtair_small").training
    with pytest.raises(CheckpointError, match="no weights are bundled"):
        from_pretrained("cu_mamba_tiny")
    # A folder of that name is what the user sees.
    monkeypatch.chdir(tmp_path)
    save_pretrained(create_model("cu_mamba_tiny"), "cu_mamba_small")
    assert from_pretrained("cu_mamba_small").model_id == "cu_mamba_tiny"
