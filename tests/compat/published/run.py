# ruff: noqa: E501, T201
"""Run the public networks of `networks.py` unmodified, and print a table of how they ran.

    python tests/compat/published/run.py FOLDER [name …] [--json results.json]

FOLDER holds the repositories as `owner+name` or `owner/name`, at the commits of `networks.py`. Each
network runs in a process of its own under `python -m unveil.compat`, on one thread: on the stand-in,
on the reference loop, and in float64 on the loop, which the stand-in is held to.
Nothing is downloaded. Their requirements (einops, timm, fvcore, monai, triton, …) must be installed.
"""

import argparse
import copy
import importlib
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from calls import record_calls  # noqa: E402
from networks import NETWORKS, Network  # noqa: E402

COLUMNS = ("imports", "forward", "backward", "error", "ratio", "seconds", "note")


def main() -> None:
    options = _options()
    if options.worker:
        _work(options)
        return
    results: dict[str, dict[str, Any]] = {}
    if options.json and options.json.is_file():
        results = json.loads(options.json.read_text(encoding="utf-8"))
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
    parser.add_argument("--timeout", type=float, default=300, help="seconds for each process")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    """Run one network in a process of its own."""
    result: dict[str, Any] = {"imports": "no", "forward": "no", "backward": "no"}
    if not _repository(options.folder, network.repository).is_dir():
        return result | {"note": "the repository is not in the folder"}
    result |= _process(network, options)
    if network.reason is not None:
        result["note"] = network.reason
    return result


def _process(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    out = Path(options.json or Path.cwd() / "published.json").with_suffix(f".{os.getpid()}.part")
    flags = ["--cpu"] if network.cpu else []
    command = [
        *(sys.executable, "-W", "ignore", "-m", "unveil.compat", *flags, str(HERE / "run.py")),
        *(str(options.folder), "--worker", network.name, "--out", str(out)),
        *(["--published"] if options.published else []),
        *(["--calls"] if options.calls else []),
    ]
    paths = _paths(network, options.folder, out.with_suffix(".fork"))
    search = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    found: dict[str, Any] = {}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=options.timeout,
            check=False,
        )
        found["note"] = (done.stderr.strip().splitlines() or ["it ended early"])[-1][:200]
    except subprocess.TimeoutExpired:
        found["note"] = f"longer than {options.timeout:.0f} s"
    if out.is_file():
        found |= json.loads(out.read_text(encoding="utf-8"))
    out.unlink(missing_ok=True)
    _remove(out.with_suffix(".fork"))
    return found


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


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
    import shutil

    shutil.copytree(fork / "mamba_ssm", scratch / "mamba_ssm", dirs_exist_ok=True)
    shutil.copy(repository / network.block, scratch / "mamba_ssm" / "modules" / "mamba_simple.py")
    return [*paths, str(scratch)]


def _roots(network: Network, folder: Path) -> list[Path]:
    places = (root.rpartition(":") for root in network.roots)
    return [_repository(folder, name or network.repository) / inside for name, _, inside in places]


# In the worker: under unveil.compat, one network.


def _work(options: argparse.Namespace) -> None:
    network = next(n for n in NETWORKS if n.name == options.worker)
    found: dict[str, Any] = {"note": ""}
    try:
        _measure(network, options, found)
    except Exception as error:  # whatever a network of somebody else's may raise
        last = (str(error).strip() or type(error).__name__).splitlines()[0]
        found["note"] = f"{type(error).__name__}: {last}"[:200]
        if os.environ.get("UNVEIL_PUBLISHED_TRACEBACK"):
            raise
    finally:
        options.out.write_text(json.dumps(found), encoding="utf-8")


def _measure(network: Network, options: argparse.Namespace, found: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1)
    for name in network.stubs:
        sys.modules[name] = mock.MagicMock(__spec__=None, __path__=[])
    for name in network.shells:
        _shell(name, _roots(network, options.folder))
    recorder = record_calls()
    scope = {"m": importlib.import_module(network.module), "torch": torch, "bind": _bind}
    found["imports"] = "yes"
    torch.manual_seed(0)
    net = eval(network.small, scope).eval()
    torch.manual_seed(1)
    inputs = [torch.rand(shape) for shape in network.inputs]
    values = _values(net, inputs, found)
    found["calls"] = recorder()
    options.out.write_text(json.dumps(found), encoding="utf-8")
    if not network.compared or options.calls:
        return
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
    pairs = zip(values, expected, strict=True)
    found["error"] = " ".join(f"{_distance(one, other):.1e}" for one, other in pairs)
    options.out.write_text(json.dumps(found), encoding="utf-8")
    if options.published and network.published:
        net = eval(network.published, scope).eval()
        inputs = [torch.rand(shape) for shape in network.published_inputs]
        found["seconds"] = round(_seconds(net, inputs, 1), 2)


def _values(net: Any, inputs: list[Any], found: dict[str, Any]) -> list[Any]:
    """Return the outputs and the gradients of inputs and of parameters, each in one vector."""
    import torch

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
    package.__path__ = [place for place in places if Path(place).is_dir()]
    sys.modules[name] = package
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, package)


def _double() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

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
    import torch

    if isinstance(result, torch.Tensor):
        return [result] if result.is_floating_point() and result.requires_grad else []
    if isinstance(result, dict):
        result = list(result.values())
    return (
        [y for part in result for y in _floats(part)] if isinstance(result, (list, tuple)) else []
    )


def _flat(group: Any) -> Any:
    import torch

    return torch.cat(
        [t.detach().double().flatten() for t in group if t is not None] or [torch.zeros(0)]
    )


def _seconds(net: Any, inputs: list[Any], times: int) -> float:
    """Return the median CPU time of a pass, after one that warms up."""
    import torch

    taken = []
    with torch.no_grad():
        for _ in range(times + (times > 1)):
            start = time.process_time()
            net(*inputs)
            taken.append(time.process_time() - start)
    return sorted(taken[-times:])[times // 2]


def _distance(one: Any, other: Any) -> float:
    """Return the relative error in the Euclidean norm."""
    if one.shape != other.shape:
        return float("nan")
    return float((one - other).norm() / other.norm().clamp(min=1e-300))


if __name__ == "__main__":
    main()
