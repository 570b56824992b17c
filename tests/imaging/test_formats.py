"""Files are told by content, names by suffix."""

from pathlib import Path

import pytest

from unveil.errors import ImageFileError
from unveil.imaging import IMAGE_SUFFIXES
from unveil.imaging.formats import FORMATS, format_named, format_of_suffix, sniff

_HEADS = {
    b"\xff\xd8\xff\xe0": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\0\x08\0\0\0": "tiff",
    b"MM\0*\0\0\0\x08": "tiff",
    b"II+\0\x08\0\0\0": "tiff",
    b"RIFF\0\0\0\0WEBPVP8 ": "webp",
    b"\0\0\0\x1cftypavif\0\0\0\0mif1": "avif",
    b"\0\0\0\x1cftypmif1\0\0\0\0avif": "avif",
    b"\0\0\0\x18ftypheic\0\0\0\0": "heic",
    b"BM\x36\0": "bmp",
}


@pytest.mark.parametrize("head", list(_HEADS))
def test_signatures_are_recognised(head: bytes) -> None:
    kind = sniff(head.ljust(32, b"\0"))
    assert kind is not None
    assert kind.name == _HEADS[head]


@pytest.mark.parametrize(
    "head", [b"", b"GIF89a", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypmp42\0\0\0\0isom"]
)
def test_other_signatures_are_not(head: bytes) -> None:
    assert sniff(head) is None


def test_every_suffix_belongs_to_one_format() -> None:
    suffixes = [suffix for kind in FORMATS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes)) == len(IMAGE_SUFFIXES)
    for kind in FORMATS:
        assert format_named(kind.name) is kind
        assert all(format_of_suffix(Path(f"a{s.upper()}")) is kind for s in kind.suffixes)


def test_an_unknown_format_is_told_with_those_known() -> None:
    with pytest.raises(ImageFileError, match=r"'gif'; known: jpeg, png"):
        format_named("gif")
