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


def test_a_missing_script_is_a_usage_error():
    done = run("no_such_script.py")
    assert done.returncode == 2
    assert "no_such_script.py does not exist" in done.stderr
