"""The outside of a weights file, looked at before any tensor of it is read."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unveil.bounded import require_regular
from unveil.errors import CheckpointError
from unveil.imaging.atomic import write_bytes

_PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
# Weights are kept in these and computed in single precision.
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_NAMES = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "C64": "complex64",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True)
class TensorFacts:
    """Shape of a tensor, and its type as torch calls it."""

    shape: tuple[int, ...]
    dtype: str


class OpenWeights:
    """A safetensors file that is open.

    Args:
        file: From `safetensors.safe_open`.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    @property
    def metadata(self) -> dict[str, str]:
        """Its free entries."""
        return dict(self._file.metadata() or {})

    @property
    def facts(self) -> dict[str, TensorFacts]:
        """Shapes and types of its tensors by name; no tensor is read."""
        parts = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
        return {
            name: TensorFacts(tuple(part.get_shape()), _torch_name(part.get_dtype()))
            for name, part in parts.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Read all tensors."""
        return {name: self._file.get_tensor(name) for name in self._file.keys()}  # noqa: SIM118


@contextmanager
def open_weights(path: Path) -> Iterator[OpenWeights]:
    """Open a safetensors file, once for its metadata, its tensors' shapes and their values.

    Raises:
        CheckpointError: The file is missing, a pipe or device, damaged, or a pickle.
    """
    _refuse_unreadable(path)
    try:
        with _opened(path) as file:
            yield OpenWeights(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_damaged(path, error)) from None


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, replacing `path` whole.

    Args:
        path: Of the file.
        tensors: By name, contiguous and on the CPU.
        metadata: The file's free entries.

    Raises:
        OutputError: The file cannot be written.
    """
    # Not by the library's own writer, so that the file has the permissions the user's files have.
    write_bytes(path, save(dict(tensors), dict(metadata)))


def facts_of(state: Mapping[str, Tensor]) -> dict[str, TensorFacts]:
    """Return the facts of tensors in memory.

    >>> facts_of({"a": torch.zeros(2, 3)})["a"]
    TensorFacts(shape=(2, 3), dtype='float32')
    """
    return {
        name: TensorFacts(tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for name, value in state.items()
    }


def misfits(found: Mapping[str, TensorFacts], expected: Mapping[str, TensorFacts]) -> list[str]:
    """Say, tensor by tensor, why weights do not fit a network; empty where they do.

    Args:
        found: Facts of the weights.
        expected: Facts of the network's own tensors. Floats of any usual precision fit each other,
            other types only themselves.
    """
    missing = [f"{name} is missing" for name in expected if name not in found]
    unknown = [f"{name} is unknown" for name in found if name not in expected]
    differing = [
        f"{name} has shape {found[name].shape}, the model {wanted.shape}"
        for name, wanted in expected.items()
        if name in found and found[name].shape != wanted.shape
    ]
    mistyped = [
        f"{name} is {found[name].dtype}, the model {wanted.dtype}"
        for name, wanted in expected.items()
        if name in found and not _convertible(found[name].dtype, wanted.dtype)
    ]
    return missing + unknown + differing + mistyped


def _convertible(given: str, wanted: str) -> bool:
    return given == wanted or (given in _FLOATS and wanted in _FLOATS)


def _torch_name(dtype: str) -> str:
    return _NAMES.get(dtype, dtype.lower())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file whatever its name, which the library takes in UTF-8 only."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="unveil-") as folder:
            link = Path(folder) / "weights.safetensors"
            link.symlink_to(path.absolute())
            with safe_open(link, framework="pt") as file:
                yield file
        return
    with safe_open(path, framework="pt") as file:
        yield file


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: damaged, truncated or not a safetensors file ({error}); get it again"


def _refuse_unreadable(path: Path) -> None:
    try:
        require_regular(path)
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    # A safetensors file begins with the length of its header in eight bytes, which may be any.
    is_ours = start[4:] == b"\0\0\0\0{"
    # torch.save writes a zip archive, older versions and pickle.dump a protocol marker.
    pickled = start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05")
    if pickled and not is_ours:
        raise CheckpointError(_pickle_message(path))
    if not start:
        raise CheckpointError(f"{path}: the file is empty")
    if path.suffix in _PICKLE_SUFFIXES:
        raise CheckpointError(f"{path}: expected a .safetensors file")


def _pickle_message(path: Path) -> str:
    return (
        f"{path}: a pickle, which can run any program when it is opened, so unveil does not open "
        "it; load it with torch.load(path, weights_only=True) into a model from create_model and "
        "write that with unveil.models.checkpoint.save_checkpoint"
    )
