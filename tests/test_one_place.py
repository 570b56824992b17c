"""What is done in one place of the package is done there alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import unveil

_PACKAGE = Path(unveil.__file__).parent
_CONVERT = "imaging/convert.py"
# Where a file needs what looks like a conversion of samples, and why it is none.
_NO_SAMPLES = {
    "metrics/luma.py": "coefficients of BT.601",
    "metrics/banding.py": "an error, given in levels of 255",
    "imaging/netpbm.py": "the two values of a bitmap",
    "inference/input_adapters.py": "Pillow's byte orders",
    "integrations/spandrel.py": "text as a tensor",
    "ops/ssd/native.py": "flags for the kernel",
}
_INTEGERS = {"uint8", "uint16"}
_SCALES = {255, 65535}


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(_PACKAGE.rglob("*.py")):
        yield path.relative_to(_PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def _is_scale(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and len(node.args) == 1:
        node = node.args[0]
    return isinstance(node, ast.Constant) and node.value in _SCALES


def _names_integers(node: ast.expr) -> bool:
    named = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
    return named in _INTEGERS


def _converts(node: ast.AST) -> bool:
    """Whether an expression scales by a white value or changes the type to that of samples."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        sides = node.left, node.right
        numbers = all(isinstance(side, ast.Constant) for side in sides)
        return any(map(_is_scale, sides)) and not numbers and "sigma" not in ast.unparse(node)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    if node.func.attr == "iinfo":
        return True
    if node.func.attr in ("asarray", "array"):
        typed = [*node.args[1:], *(k.value for k in node.keywords if k.arg == "dtype")]
        return any(map(_names_integers, typed))
    return node.func.attr in ("astype", "to") and any(map(_names_integers, node.args))


@pytest.mark.parametrize(
    "code",
    [
        "x / 255", "x * np.float32(255.0)", "(x * 65535).round()", "x.astype(np.uint8)",
        "x.astype('uint16')", "x.to(torch.uint8)", "np.asarray(x, dtype=np.uint8)",
        "np.iinfo(x.dtype).max",
    ],
)  # fmt: skip
def test_a_conversion_is_recognised(code: str) -> None:
    assert any(map(_converts, ast.walk(ast.parse(code))))


def test_samples_change_type_and_scale_in_one_file() -> None:
    found = {name for name, tree in _sources() if any(map(_converts, ast.walk(tree)))}
    assert _CONVERT in found
    assert found - {_CONVERT} == set(_NO_SAMPLES)


_ATOMIC = "imaging/atomic.py"
# Where a file renames or writes at once, and why nothing torn can be seen.
_WRITES = {
    "bench/model.py": "a switch of the kernel's",
    "export/web.py": "a part of the folder that `serve/site.py` renames",
    "imaging/jxl.py": "the temporary file that `write_image` gives",
    "imaging/pillow.py": "the temporary file that `write_image` gives",
    "serve/site.py": "a folder that is renamed when it is complete",
    "serve/store.py": "uploads, in a folder that is deleted",
}


def _writes(node: ast.AST) -> bool:
    """Whether an expression renames a file, or writes one in one go under its own name."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    name, owner = node.func.attr, ast.unparse(node.func.value)
    if owner == "os" or owner == "shutil":
        return name in ("rename", "replace", "renames", "move")
    if name in ("rename", "replace"):
        return len(node.args) == 1 and not node.keywords
    return name in ("write_text", "write_bytes")


@pytest.mark.parametrize(
    "code", ["a.rename(b)", "part.replace(path)", "os.replace(a, b)", "p.write_text('x')"]
)
def test_a_writer_is_recognised(code: str) -> None:
    assert any(map(_writes, ast.walk(ast.parse(code))))


def test_files_are_renamed_into_place_in_one_file() -> None:
    found = {name for name, tree in _sources() if any(map(_writes, ast.walk(tree)))}
    assert _ATOMIC in found
    assert found - {_ATOMIC} == set(_WRITES)


def test_no_class_has_the_name_of_one_in_another_room() -> None:
    rooms: dict[str, set[str]] = {}
    for name, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                rooms.setdefault(node.name, set()).add(name.split("/")[0])
    assert {name: found for name, found in rooms.items() if len(found) > 1} == {}


# Files of one name in several rooms, and why one word is right.
_FILES_NAMED_TWICE = {
    "__init__": "packages",
    "__main__": "what `python -m` runs",
    "jpeg": "one format: its files, and its artefacts as a degradation",
    "app": "the command (an entry point that is installed) and the server's application",
    "registry": "networks and metrics are found by name in the same way",
    "run": "`unveil.training.run` is public; a batch is run, too",
    "statistics": "layers define the global statistics that inference gathers",
}
# Each file here is a verb, and bears the name of the module whose work it starts.
_VERBS = ("cli", "bench")


def test_no_file_has_the_name_of_one_in_another_room() -> None:
    rooms: dict[str, set[str]] = {}
    for path in _PACKAGE.rglob("*.py"):
        room, *inner = path.relative_to(_PACKAGE).parts
        if inner and (room not in _VERBS or path.stem in _FILES_NAMED_TWICE):
            rooms.setdefault(path.stem, set()).add(room)
    assert {name for name, found in rooms.items() if len(found) > 1} <= set(_FILES_NAMED_TWICE)


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Give the names and definitions of a file's type aliases."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name[0].isupper() and not name.isupper():
                yield name, ast.unparse(node.value)


def test_a_type_alias_means_one_thing() -> None:
    meanings: dict[str, set[str]] = {}
    for _, tree in _sources():
        for name, value in _aliases(tree):
            meanings.setdefault(name, set()).add(value)
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}
