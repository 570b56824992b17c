"""Small files are read within bounds."""

import os
from pathlib import Path

import pytest

from unveil.bounded import parse_json, read_text


def test_text_is_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("é", encoding="utf-8")
    assert read_text(path) == "é"
    with pytest.raises(ValueError, match="larger than 1 bytes"):
        read_text(path, most=1)
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match=r"not UTF-8 text \(byte 2"):
        read_text(path)


def test_a_pipe_or_a_folder_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a pipe or a device"):
        read_text(tmp_path / "pipe")
    with pytest.raises(OSError, match="a folder"):
        read_text(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100 + "1" + "}" * 100, "9" * 5000, "{"])
def test_json_out_of_bounds_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that it is one, and nothing else
        parse_json(text)


def test_json_within_bounds_is_parsed() -> None:
    assert parse_json('{"a": [1, {"b": 2.5}]}') == {"a": [1, {"b": 2.5}]}
