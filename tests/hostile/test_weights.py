"""Weights files that are damaged or lie, through the command."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.hostile.conftest import Run, cases
from tests.hostile.values import hostile_tree
from tests.imaging.test_fuzz import mutated

from unveil import create_model
from unveil.models.checkpoint import save_checkpoint

_DTYPES = [
    "F16",
    "BF16",
    "F64",
    "F8_E4M3",
    "F8_E5M2",
    "I8",
    "I32",
    "I64",
    "U8",
    "BOOL",
    "C64",
    "X9",
]
_TENSORS = 60  # changes of a header hit one of the first tensors


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def _joined(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, str) else json.dumps(header)
    return struct.pack("<Q", len(text.encode())) + text.encode() + body


def _other_configuration(data: bytes, rng: np.random.Generator) -> bytes:
    header, body = _split(data)
    content = json.loads(header["__metadata__"]["unveil"])
    if rng.random() < 0.7:
        content["config"] = hostile_tree(content["config"], rng)
    else:
        content = hostile_tree(content, rng)
    text = content if isinstance(content, str) else json.dumps(content)
    header["__metadata__"]["unveil"] = text
    return _joined(header, body)


def _other_tensor(data: bytes, rng: np.random.Generator) -> bytes:
    header, body = _split(data)
    name = list(header)[1 + int(rng.integers(min(_TENSORS, len(header) - 1)))]
    facts = header[name]
    match rng.integers(0, 6):
        case 0:
            facts["dtype"] = str(rng.choice(_DTYPES))
        case 1:
            facts["shape"] = [int(n) for n in rng.integers(0, 2**31, rng.integers(0, 5))]
        case 2:
            facts["data_offsets"] = [int(n) for n in rng.integers(0, 2**40, 2)]
        case 3:
            header[f"{name}.more"] = facts
        case 4:
            del header[name]
        case _:
            header[name] = hostile_tree(facts, rng)
    return _joined(header, body)


def _other_entries(data: bytes, rng: np.random.Generator) -> bytes:
    header, body = _split(data)
    readout = {"causes": ["noise"], "weight": [[0.1]], "bias": [0.0], "means": {"a": {"b": [1.0]}}}
    changed = hostile_tree(readout, rng)
    header["__metadata__"]["readout"] = changed if isinstance(changed, str) else json.dumps(changed)
    return _joined(header, body)


def _no_file(path: Path, rng: np.random.Generator) -> str:
    match rng.integers(0, 4):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            return str(rng.choice(["/dev/null", "/dev/zero", "/dev/random", "/proc/self/mem"]))
        case _:
            path.write_bytes(rng.bytes(int(rng.integers(0, 50))))
    return path.name


def _attack(run: Run, photo: Path, number: int) -> None:
    path = save_checkpoint(create_model("cu_mamba_tiny"), photo.with_name("w.safetensors"))
    data, rng = path.read_bytes(), np.random.default_rng(12)
    path.unlink()
    ways = [mutated, _other_configuration, _other_tensor, _other_entries]
    for case in range(number):
        chosen = int(rng.choice(5, p=[0.25, 0.35, 0.25, 0.1, 0.05]))
        name = path.name
        if chosen < len(ways):
            path.write_bytes(ways[chosen](data, rng))
        else:
            name = _no_file(path, rng)
        verb = ("inspect",) if chosen == 3 else ("restore", "-o", "out.png", "--force")
        if rng.random() < 0.1:
            verb = ("restore", "--task", "denoise", "-o", "out.png")
        run(*verb, photo.name, "--model", name, case=case)


def test_some_hostile_weights(run: Run, photo: Path, request: pytest.FixtureRequest) -> None:
    _attack(run, photo, cases(request, 25, 25))


@pytest.mark.slow
def test_many_hostile_weights(run: Run, photo: Path, request: pytest.FixtureRequest) -> None:
    _attack(run, photo, cases(request, 25, 300))
