"""Metadata of WebP files: chunks of a RIFF container.

Source: WebP Container Specification (Google, RFC 9649).
"""

from pathlib import Path
from typing import BinaryIO

from unveil.imaging.exif import orientation_of
from unveil.imaging.image import Metadata

_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
_ALPHA = 0x10


def extract(path: Path) -> Metadata:
    """Return the metadata of a WebP file."""
    with path.open("rb") as file:
        chunks = dict(reversed(_chunks(file)))
    exif = chunks.get(b"EXIF")
    exif = exif.removeprefix(b"Exif\0\0") if exif else None
    return Metadata(
        orientation=orientation_of(exif),
        exif=exif,
        icc=chunks.get(b"ICCP"),
        xmp=chunks.get(b"XMP "),
        lossless=b"VP8L" in chunks,
        raw=tuple((name, chunks[name]) for name in _FLAGS if name in chunks),
    )


def embed(encoded: BinaryIO, target: BinaryIO, metadata: Metadata, verbatim: bool) -> None:
    """Copy a WebP file, its metadata replaced by `metadata`.

    Args:
        encoded: What the encoder wrote.
        target: Where the result goes.
        metadata: To be put in.
        verbatim: Put back the chunks of the WebP file that `metadata` came from.
    """
    chunks = _chunks(encoded)
    carried = dict(metadata.raw) if verbatim else _build(metadata)
    image = [c for c in chunks if c[0] in (b"ALPH", b"VP8 ", b"VP8L")]
    if not carried:
        parts = [c for c in chunks if c[0] not in _FLAGS]
    else:
        before = [(b"ICCP", carried[b"ICCP"])] if b"ICCP" in carried else []
        after = [(name, carried[name]) for name in (b"EXIF", b"XMP ") if name in carried]
        header = _header(chunks, sum(_FLAGS[name] for name in carried))
        parts = [(b"VP8X", header), *before, *image, *after]
    body = b"WEBP" + b"".join(
        name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2) for name, data in parts
    )
    target.write(b"RIFF" + len(body).to_bytes(4, "little") + body)


def _chunks(file: BinaryIO) -> list[tuple[bytes, bytes]]:
    file.seek(12)
    found = []
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        found.append((head[:4], file.read(size)))
        file.seek(size % 2, 1)
    return found


def _header(chunks: list[tuple[bytes, bytes]], flags: int) -> bytes:
    """Return the body of a VP8X chunk: flags and canvas size."""
    by_name = dict(chunks)
    if b"VP8X" in by_name:
        given = by_name[b"VP8X"]
        return bytes([flags | given[0] & _ALPHA]) + given[1:]
    if b"VP8L" in by_name:
        bits = int.from_bytes(by_name[b"VP8L"][1:5], "little")
        width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
        flags |= _ALPHA if bits >> 28 & 1 else 0
    else:
        frame = by_name[b"VP8 "]
        width = (int.from_bytes(frame[6:8], "little") & 0x3FFF) - 1
        height = (int.from_bytes(frame[8:10], "little") & 0x3FFF) - 1
    return bytes([flags, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _build(metadata: Metadata) -> dict[bytes, bytes]:
    given = {b"ICCP": metadata.icc, b"EXIF": metadata.exif, b"XMP ": metadata.xmp}
    return {name: data for name, data in given.items() if data}
