import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import sys
import torch
from mamba_ssm import Mamba
from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
import helper_beside_the_script

if __name__ == "__main__":
    torch.manual_seed(0)
    block = Mamba(d_model=8)
    block(torch.randn(1, 20, 8)).sum().backward()
    print(sys.argv[1:], all(p.grad is not None for p in block.parameters()))
    sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "helper_beside_the_script.py").write_text("")
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "unveil.compat", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


def test_a_script_for_mamba_ssm_runs_as_it_is(script):
    done = run(script, "--lr", "1", "0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['--lr', '1', '0'] True"
    assert done.stderr == ""


def test_its_exit_status_is_passed_on(script):
    assert run(script, "3").returncode == 3


def test_a_module_runs_by_its_name(script):
    done = run("--verbose", "-m", "train", "0", cwd=script.parent)
    assert done.returncode == 0, done.stderr
    assert "standing in for" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_script.py"], "no_such_script.py does not exist, expected a Python script"),
        (["."], ". does not exist, expected a Python script"),
        (["-m", "no_such_module"], "there is no module no_such_module, expected one"),
        (["-m", "json.no_such_module"], "there is no module json.no_such_module"),
        (["-m", "os.path.no_such_module"], "there is no module os.path.no_such_module"),
        (["-m", "email"], "there is no module email"),
    ],
)
def test_what_is_not_there_is_a_usage_error(tmp_path, arguments, message):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_that_lies_beside_the_script_is_left_alone(tmp_path):
    ops = tmp_path / "mamba_ssm" / "ops"
    ops.mkdir(parents=True)
    for folder in (ops.parent, ops):
        (folder / "__init__.py").write_text("")
    (ops / "selective_scan_interface.py").write_text(
        "def selective_scan_fn(u, *others): return u.cumsum(-1)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(
        "from mamba_ssm.ops.selective_scan_interface import selective_scan_fn\n"
        "from causal_conv1d import causal_conv1d_fn\n"
        "print(selective_scan_fn.__module__, causal_conv1d_fn.__module__)\n"
    )
    done = run(script)
    assert (
        done.stdout.strip() == "mamba_ssm.ops.selective_scan_interface unveil.compat.causal_conv1d"
    )
    assert "mamba_ssm: the installed packages are used" in done.stderr


CUDA_WRITTEN_IN = """
import torch
from mamba_ssm import Mamba

device = torch.device("cuda:0")
block = Mamba(d_model=8).cuda()
x = torch.randn(1, 20, 8, device="cuda").to(device).cuda("cuda:0")
with torch.cuda.device(x.device):
    y = block(x)
torch.cuda.synchronize()
print(y.device, torch.cuda.is_available())
"""


def test_a_script_that_needs_a_gpu_is_shown_the_option(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("raise AssertionError('Torch not compiled with CUDA enabled')")
    done = run(script)
    assert done.returncode == 1
    assert "run it with python -m unveil.compat --cpu" in done.stderr


def test_cuda_written_into_a_script_is_mapped_to_the_cpu_and_reported_once(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(CUDA_WRITTEN_IN)
    assert run(script).returncode == 1
    done = run("--cpu", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "cpu False"
    for what in (".cuda()", "randn", "torch.cuda.device", "torch.cuda.synchronize"):
        assert done.stderr.count(f"on the CPU instead: {what}") == 1


def test_a_package_within_a_folder_that_is_run_is_left_alone(tmp_path):
    (tmp_path / "causal_conv1d").mkdir()
    (tmp_path / "causal_conv1d" / "__init__.py").write_text(
        "import torch\n"
        "def causal_conv1d_fn(x, weight):\n"
        "    padded = torch.nn.functional.pad(x, (1, 0))\n"
        "    return torch.nn.functional.conv1d(padded, weight.unsqueeze(1), groups=len(weight))\n"
    )
    main = "from causal_conv1d import causal_conv1d_fn\nprint(causal_conv1d_fn.__module__)\n"
    (tmp_path / "__main__.py").write_text(main)
    done = run(tmp_path)
    assert done.stdout.strip() == "causal_conv1d", done.stderr


def test_a_module_that_lacks_something_else_says_so(tmp_path):
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("import no_such_dependency\n")
    done = run("-m", "theirs.train", cwd=tmp_path)
    assert done.returncode == 1
    assert "No module named 'no_such_dependency'" in done.stderr
