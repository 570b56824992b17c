# ruff: noqa: E501, T201
"""Run the public networks of `networks.py` unmodified, and print a table of how they ran.

    python tests/compat/published/run.py FOLDER [name …] [--json results.json]

FOLDER holds the repositories as `owner+name` or `owner/name`, at the commits of `networks.py`. Each
network runs in a process of its own over the stand-in, on one thread, then on the reference loop, and
in float64 on the loop, which the stand-in is held to.
Nothing is downloaded. Their requirements (einops, timm, fvcore, monai, triton, …) must be installed.
"""

import argparse
import copy
import importlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
import types
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from unveil import compat
from unveil.compat.cuda_on_cpu import cuda_on_cpu
from unveil.ops.heap import keep_freed_memory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from calls import record_calls  # noqa: E402
from networks import NETWORKS, Network  # noqa: E402

# Above this error the loop in float32 is held to float64, too.
ILL_CONDITIONED = 1e-5
# Imported once for all networks.
PRELOADED = ("einops", "timm.models.layers", "timm.models.vision_transformer", "fvcore.nn")
COLUMNS = ("imports", "forward", "backward", "error", "ratio", "seconds", "size", "note")


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    keep_freed_memory()  # as python -m unveil.compat does
    warnings.simplefilter("ignore")
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    results: dict[str, dict[str, Any]] = {}
    if options.json and options.json.is_file():
        results = json.loads(options.json.read_text(encoding="utf-8"))
    options.previous = dict(results)
    print("\t".join(("network", "repository", "commit", *COLUMNS)))
    for network in NETWORKS:
        if options.names and network.name not in options.names:
            continue
        result = results[network.name] = _run(network, options)
        cells = [str(result.get(column, "")) for column in COLUMNS]
        print("\t".join((network.name, network.repository, network.commit, *cells)), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    done = sum(bool(result["backward"] == "yes") for result in results.values())
    print(f"{done} of {len(results)} run forward and backward")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the repositories lie")
    parser.add_argument("names", nargs="*", help="networks to run; all when none is named")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--published", action="store_true", help="time the published configuration")
    parser.add_argument("--calls", action="store_true", help="only record the calls")
    parser.add_argument("--timeout", type=int, default=900, help="CPU seconds for each network")
    parser.add_argument("--debug", action="store_true", help="print tracebacks")
    return parser.parse_args()


def _run(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    """Run one network in a process of its own."""
    result: dict[str, Any] = {"imports": "no", "forward": "no", "backward": "no"}
    if not _repository(options.folder, network.repository).is_dir():
        return result | {"note": "the repository is not in the folder"}
    previous = options.previous.get(network.name, {})
    result |= _process(network, options)
    if options.calls:  # what was measured before stays
        result = previous | {k: v for k, v in result.items() if k == "calls" or k not in previous}
    if network.reason is not None:
        result["note"] = network.reason
    return result


def _process(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    """Run one network in a process of its own, a copy of this one."""
    out = Path(options.json or Path.cwd() / "published.json").with_suffix(f".{os.getpid()}.part")
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (options.timeout, options.timeout))
            _work(network, options, out)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    found: dict[str, Any] = {"note": "it ended early, or took too long"}
    if out.is_file():
        found |= json.loads(out.read_text(encoding="utf-8"))
    out.unlink(missing_ok=True)
    shutil.rmtree(out.with_suffix(".fork"), ignore_errors=True)
    return found


def _repository(folder: Path, name: str) -> Path:
    joined = folder / name.replace("/", "+")
    return joined if joined.is_dir() else folder / name


def _paths(network: Network, folder: Path, scratch: Path) -> list[str]:
    """Return where to import from; a fork whose block is replaced is copied first."""
    repository = _repository(folder, network.repository)
    paths = [str(root) for root in _roots(network, folder)]
    if network.fork is None:
        return paths
    owner, _, inside = network.fork.partition(":")
    fork = _repository(folder, owner) / inside
    if network.block is None:
        return [*paths, str(fork)]
    shutil.copytree(fork / "mamba_ssm", scratch / "mamba_ssm", dirs_exist_ok=True)
    shutil.copy(repository / network.block, scratch / "mamba_ssm" / "modules" / "mamba_simple.py")
    return [*paths, str(scratch)]


def _roots(network: Network, folder: Path) -> list[Path]:
    places = (root.rpartition(":") for root in network.roots)
    return [_repository(folder, name or network.repository) / inside for name, _, inside in places]


# In the child: one network.


def _work(network: Network, options: argparse.Namespace, out: Path) -> None:
    found: dict[str, Any] = {"note": ""}
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        sys.path[:0] = _paths(network, options.folder, out.with_suffix(".fork"))
        compat.install()
        with cuda_on_cpu() if network.cpu else nullcontext():
            _measure(network, options, found, out)
    except Exception as error:  # whatever a network of somebody else's may raise
        last = (str(error).strip() or type(error).__name__).splitlines()[0]
        found["note"] = f"{type(error).__name__}: {last}"[:200]
        if options.debug:
            traceback.print_exc()
    finally:
        out.write_text(json.dumps(found), encoding="utf-8")


def _measure(
    network: Network, options: argparse.Namespace, found: dict[str, Any], out: Path
) -> None:
    for name in network.stubs:
        sys.modules[name] = mock.MagicMock(__spec__=None, __path__=[])
    for name in network.shells:
        _shell(name, _roots(network, options.folder))
    recorder = record_calls()
    scope = {"m": importlib.import_module(network.module), "torch": torch, "bind": _bind}
    found["imports"] = "yes"
    torch.manual_seed(0)
    net = eval(network.small, scope).train(network.training)
    torch.manual_seed(1)
    inputs = [torch.rand(shape) for shape in network.inputs]
    values = _values(net, inputs, found)
    found["calls"] = recorder()
    out.write_text(json.dumps(found), encoding="utf-8")
    if options.calls:
        return
    if network.compared:
        _compare(net, inputs, values, found)
    out.write_text(json.dumps(found), encoding="utf-8")
    if options.published and network.published:
        shapes = network.published_inputs
        found["size"] = ", ".join("×".join(map(str, shape)) for shape in shapes)
        net = eval(network.published, scope).train(network.training)
        found["seconds"] = round(_seconds(net, [torch.rand(shape) for shape in shapes], 1), 2)


def _compare(net: Any, inputs: list[Any], values: list[Any], found: dict[str, Any]) -> None:
    """Time the loop, and hold the stand-in to it in float64."""
    seconds = _seconds(net, inputs, 3)
    os.environ["UNVEIL_SCAN_BACKEND"] = "reference"
    found["ratio"] = round(_seconds(net, inputs, 1) / seconds, 1)
    torch.set_default_dtype(torch.float64)
    # Networks assert that results are in float32.
    wide = mock.patch.multiple(torch, float=torch.float64, float32=torch.float64)
    with _double(), wide:
        expected = _values(copy.deepcopy(net).double(), [x.double() for x in inputs], {})
    torch.set_default_dtype(torch.float32)
    os.environ["UNVEIL_SCAN_BACKEND"] = "auto"
    found["error"] = _errors(values, expected)
    if max(map(_distance, values, expected)) > ILL_CONDITIONED:
        os.environ["UNVEIL_SCAN_BACKEND"] = "reference"
        loop = _errors(_values(net, inputs, {}), expected)
        found["note"] = f"the loop in float32: {loop}"
        os.environ["UNVEIL_SCAN_BACKEND"] = "auto"


def _values(net: Any, inputs: list[Any], found: dict[str, Any]) -> list[Any]:
    """Return the outputs and the gradients of inputs and of parameters, each in one vector."""
    inputs = [x.requires_grad_() if x.dim() > 1 else x for x in inputs]
    torch.manual_seed(2)
    outputs = _floats(net(*inputs))
    found["forward"] = "yes"
    torch.manual_seed(3)
    loss = sum((y * torch.randn(y.shape)).sum() for y in outputs)
    leaves = [x for x in inputs if x.requires_grad]
    weights = [p for p in net.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, leaves + weights, allow_unused=True)
    found["backward"] = "yes"
    groups = (outputs, gradients[: len(leaves)], gradients[len(leaves) :])
    return [_flat(group) for group in groups]


def _bind(net: Any, **options: Any) -> Any:
    """Return the network with options of its forward filled in."""
    forward = net.forward
    net.forward = lambda *inputs: forward(*inputs, **options)
    return net


def _shell(name: str, roots: list[Path]) -> None:
    """Make a package whose `__init__` is not run."""
    places = [str(root.joinpath(*name.split("."))) for root in roots]
    package = types.ModuleType(name)
    package.__getattr__ = _registry  # type: ignore[method-assign]
    package.__path__ = [place for place in places if Path(place).is_dir()]
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)


def _registry(name: str) -> Any:
    """Stand in for the registries that a package's `__init__` would hold."""
    if name.isupper():
        return mock.MagicMock()
    raise AttributeError(name)


def _double() -> Any:
    tensor, float32 = torch.Tensor, torch.float32
    drawn_in_place = (tensor.exponential_, tensor.normal_, tensor.uniform_, tensor.bernoulli_)
    drawn = (torch.rand, torch.randn, torch.rand_like, torch.randn_like)

    class Double(TorchFunctionMode):
        """Keeps float64 where a network asks for float32, and its random numbers."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            if func in (torch.Tensor.float, torch.Tensor.half):
                return args[0].double()
            kwargs = kwargs or {}
            if func in drawn_in_place and args[0].dtype is torch.float64:
                return args[0].copy_(func(args[0].float(), *args[1:], **kwargs))
            if func in drawn and kwargs.get("dtype") in (None, float32, torch.float64):
                return func(*args, **kwargs | {"dtype": float32}).double()
            args = tuple(torch.float64 if a is float32 else a for a in args)
            kwargs = {k: torch.float64 if v is float32 else v for k, v in kwargs.items()}
            return func(*args, **kwargs)

    return Double()


def _floats(result: Any) -> list[Any]:
    if isinstance(result, torch.Tensor):
        return [result] if result.is_floating_point() and result.requires_grad else []
    if isinstance(result, dict):
        result = list(result.values())
    return (
        [y for part in result for y in _floats(part)] if isinstance(result, (list, tuple)) else []
    )


def _flat(group: Any) -> Any:
    return torch.cat(
        [t.detach().double().flatten() for t in group if t is not None] or [torch.zeros(0)]
    )


def _seconds(net: Any, inputs: list[Any], times: int) -> float:
    """Return the median CPU time of a pass, after one that warms up; short ones go together."""
    taken = []
    with torch.no_grad():
        for _ in range(times + (times > 1)):
            start, passes = time.process_time(), 0
            while passes == 0 or time.process_time() - start < 0.05:
                net(*inputs)
                passes += 1
            taken.append((time.process_time() - start) / passes)
    return sorted(taken[-times:])[times // 2]


def _errors(found: list[Any], expected: list[Any]) -> str:
    return " ".join(f"{error:.1e}" for error in map(_distance, found, expected))


def _distance(one: Any, other: Any) -> float:
    """Return the relative error in the Euclidean norm."""
    if one.shape != other.shape:
        return float("nan")
    return float((one - other).norm() / other.norm().clamp(min=1e-300))


if __name__ == "__main__":
    main()
