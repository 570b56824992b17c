"""Lists of paths and tables of results, whatever the names hold."""

import os
from pathlib import Path

import pytest
import typer

from unveil.batch.run import Outcome
from unveil.cli.restoring import clips_among, listed_paths, refuse_together, write_table


def test_a_list_and_a_table_take_any_name(tmp_path):
    names = [os.fsdecode(b"caf\xe9.png"), "line\u2028separator.png"]
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\r\n".join(map(os.fsencode, names)) + b"\n\n")
    assert listed_paths(listed) == names
    outcomes = [Outcome(Path(name), Path("out.png"), "failed", "why") for name in names]
    write_table(tmp_path / "table.csv", outcomes, [])
    written = (tmp_path / "table.csv").read_bytes()
    assert b"caf\xe9.png,out.png,failed,why,0.0,0.0" in written


@pytest.mark.parametrize("path", ["/dev/null", "missing.txt", "."])
def test_what_is_no_list_is_refused(path):
    with pytest.raises(typer.BadParameter, match="expected a text file"):
        listed_paths(Path(path))


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(typer.BadParameter, match="commands of their own"):
        clips_among(["a.mp4", "b.png"])
    with pytest.raises(typer.BadParameter, match="name files"):
        clips_among([])
    with pytest.raises(typer.BadParameter, match="--threads: not with --ray; give --cores"):
        refuse_together({"ray", "threads"}, clips=False)
    with pytest.raises(typer.BadParameter, match="not clips"):
        refuse_together({"ray"}, clips=True)
    server = "--compare and --device: not with --server, which does the work"
    with pytest.raises(typer.BadParameter, match=server):
        refuse_together({"server", "device", "compare"}, clips=False)


@pytest.mark.parametrize(
    ("option", "clips"),
    [
        ("format", True),
        ("quality", True),
        ("ray", True),
        ("workers", False),
        ("cores", False),
        ("damping", False),
    ],
)
def test_no_option_is_left_unread(option, clips):
    with pytest.raises(typer.BadParameter, match=f"--{option}"):
        refuse_together({option}, clips=clips)
