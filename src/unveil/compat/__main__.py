"""Run somebody's script with the stand-ins in place: `python -m unveil.compat script.py args…`."""

import argparse
import importlib.util
import logging
import runpy
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from unveil.compat.inventory import PACKAGES
from unveil.compat.standin import install
from unveil.ops.heap import keep_freed_memory

# What PyTorch says where a script needs a GPU.
_GPU_IS_MISSING = (
    "Torch not compiled with CUDA enabled",
    "Found no NVIDIA driver",
    "Attempting to deserialize object on a CUDA device",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Put the stand-ins in place and run a script or a module as `__main__`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="unveil.compat: %(message)s")
    if options.verbose:
        logging.getLogger("unveil").setLevel(logging.INFO)
    script = Path(options.script)
    if not options.module:
        if not script.is_file() and not (script / "__main__.py").is_file():
            parser.error(f"{script} does not exist, expected a Python script")
        # Before anything is stood in for: what lies beside the script is found first.
        place = script.resolve()
        sys.path.insert(0, str(place if place.is_dir() else place.parent))
    provided = install(force=options.force)
    # Networks flip, join and copy large tensors: without it page faults are a third of their time.
    keep_freed_memory()
    logging.getLogger("unveil.compat").info("standing in for %s", ", ".join(provided) or "nothing")
    if kept := sorted(set(PACKAGES) - set(provided)):
        logging.getLogger("unveil.compat").warning(
            "%s: the installed packages are used; --force stands in for them", ", ".join(kept)
        )
    if options.module and not _is_module(options.script):
        parser.error(f"there is no module {options.script}, expected one that Python finds")
    sys.argv = [options.script, *options.arguments]
    with _mapped() if options.cpu else nullcontext():
        try:
            if options.module:
                runpy.run_module(options.script, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(str(script), run_name="__main__")
        except (AssertionError, RuntimeError) as error:
            if not options.cpu and any(sign in str(error) for sign in _GPU_IS_MISSING):
                logging.getLogger("unveil.compat").error(
                    "the script needs a GPU: run it with python -m unveil.compat --cpu"
                )
            raise


def _mapped() -> AbstractContextManager[None]:
    from unveil.compat.cuda_on_cpu import cuda_on_cpu  # noqa: PLC0415 - imports torch

    return cuda_on_cpu()


def _is_module(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        # Otherwise the package is there, but something that it imports is not.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return False
    return spec is not None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unveil.compat",
        description="Run a script written for mamba_ssm, causal_conv1d or VMamba's extensions.",
    )
    parser.add_argument("--force", action="store_true", help="stand in for installed ones too")
    parser.add_argument("--cpu", action="store_true", help="run calls that ask for CUDA on the CPU")
    parser.add_argument("--verbose", action="store_true", help="say what is provided")
    parser.add_argument("-m", dest="module", action="store_true", help="run a module by its name")
    parser.add_argument("script", help="script, or module with -m")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on as they are")
    return parser


if __name__ == "__main__":
    main()
