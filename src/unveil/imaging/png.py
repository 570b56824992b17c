"""Metadata of PNG files: their ancillary chunks.

Source: PNG specification, third edition (W3C, 2025).
"""

import shutil
import zlib
from pathlib import Path
from typing import BinaryIO

from unveil.imaging.exif import orientation_of
from unveil.imaging.image import CREDENTIALS, GAIN_MAP, Metadata, plausible_density

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BEFORE_PALETTE = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI")
_CARRIED = (*_BEFORE_PALETTE, b"pHYs", b"eXIf", b"tIME", b"iTXt", b"tEXt", b"zTXt")
# Primaries and transfer function (ITU-T H.273); gamma, white and primaries times 100,000.
_SRGB_CODES = b"\x01\x0d"
_SRGB_GAMMA = (45455,)
_SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_XMP = b"XML:com.adobe.xmp\0"
_MAX_CHUNK = 64 * 2**20
_MAX_PROFILE = 16 * 2**20
_SAMPLE = 2**16


def extract(path: Path) -> Metadata:
    """Return the metadata of a PNG file; damaged chunks are left out."""
    with path.open("rb") as file:
        chunks = _chunks(file)
    by_name = dict(reversed(chunks))
    exif = by_name.get(b"eXIf")
    return Metadata(
        orientation=orientation_of(exif),
        exif=exif,
        icc=_inflate(by_name.get(b"iCCP")),
        xmp=next((_text(body) for name, body in chunks if body.startswith(_XMP)), None),
        density=_density(by_name.get(b"pHYs")),
        cicp=_cicp(by_name),
        raw=tuple(chunks),
    )


def is_animated(path: Path) -> bool:
    """Return whether a PNG file is an animation."""
    with path.open("rb") as file:
        return any(name == b"acTL" for name, _ in _chunks(file, wanted=(b"acTL",)))


def other_parts(path: Path) -> list[str]:
    """Name what a PNG file holds beside its picture."""
    with path.open("rb") as file:
        names = {name for name, _ in _chunks(file, wanted=(b"gmAP", b"gdAT", b"caBX"))}
        file.seek(4, 1)  # checksum of the last chunk
        rest = file.read(_SAMPLE)
    found = [GAIN_MAP] if names & {b"gmAP", b"gdAT"} else []
    found += [CREDENTIALS] if b"caBX" in names else []
    return found + (["what follows the picture"] if rest.strip(b"\0\r\n \xff") else [])


def colour_chunk(metadata: Metadata) -> str | None:
    """Name the chunk that alone says which colours the samples are, unless they are sRGB.

    No other format has such a chunk; a profile would be carried over.

    >>> colour_chunk(Metadata(raw=((b"gAMA", (100_000).to_bytes(4, "big")),)))
    'gAMA'
    >>> colour_chunk(Metadata(raw=((b"gAMA", (45_455).to_bytes(4, "big")),))) is None
    True
    """
    by_name = dict(reversed(metadata.raw))
    coded = by_name.get(b"cICP")
    if coded is not None and coded[:2] != _SRGB_CODES and metadata.icc is None:
        return "cICP"
    if coded is not None or metadata.icc is not None or b"sRGB" in by_name:
        return None
    for name, srgb, slack in ((b"gAMA", _SRGB_GAMMA, 1000), (b"cHRM", _SRGB_PRIMARIES, 500)):
        body = by_name.get(name, b"")
        values = [int.from_bytes(body[i : i + 4], "big") for i in range(0, len(body), 4)]
        if len(values) == len(srgb) and any(
            abs(value - wanted) > slack for value, wanted in zip(values, srgb, strict=True)
        ):
            return name.decode()
    return None


def embed(encoded: BinaryIO, target: BinaryIO, metadata: Metadata, verbatim: bool) -> None:
    """Copy a PNG file, its metadata replaced by `metadata`.

    Args:
        encoded: What the encoder wrote, with image data only.
        target: Where the result goes.
        metadata: To be put in.
        verbatim: Put back the chunks of the PNG file that `metadata` came from.
    """
    carried = metadata.raw if verbatim else tuple(_build(metadata))
    encoded.seek(0)
    target.write(encoded.read(8 + 25))
    for name, body in sorted(carried, key=lambda chunk: chunk[0] not in _BEFORE_PALETTE):
        target.write(_chunk(name, body))
    while True:
        head = encoded.read(8)
        size = int.from_bytes(head[:4], "big")
        if len(head) < 8 or head[4:] == b"IDAT":
            break
        body = encoded.read(size + 4)
        if head[4:] not in _CARRIED:
            target.write(head + body)
    target.write(head)
    shutil.copyfileobj(encoded, target, 2**20)


def _chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def _chunks(file: BinaryIO, wanted: tuple[bytes, ...] = _CARRIED) -> list[tuple[bytes, bytes]]:
    file.seek(8)
    found = []
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        if name not in wanted or size > _MAX_CHUNK:
            file.seek(size + 4, 1)
            continue
        body = file.read(size)
        if int.from_bytes(file.read(4), "big") == zlib.crc32(name + body):
            found.append((name, body))
    return found


def _inflate(profile: bytes | None) -> bytes | None:
    if profile is None or b"\0" not in profile[:80]:
        return None
    try:
        packed = profile[profile.index(b"\0") + 2 :]
        return zlib.decompressobj().decompress(packed, _MAX_PROFILE) or None
    except zlib.error:
        return None


def _text(body: bytes) -> bytes | None:
    """Return the text of an international text chunk that is not compressed."""
    rest = body[len(_XMP) :]
    if len(rest) < 2 or rest[0]:
        return None
    return rest[2:].split(b"\0", 2)[-1]


def _cicp(chunks: dict[bytes, bytes]) -> tuple[int, int] | None:
    codes = chunks.get(b"cICP", b"")
    if len(codes) != 4 or codes[:2] == _SRGB_CODES or b"iCCP" in chunks:
        return None
    return codes[0], codes[1]


def _density(body: bytes | None) -> tuple[float, float] | None:
    if body is None or len(body) < 9 or body[8] != 1:
        return None
    x, y = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
    return plausible_density(x / 1000, y / 1000)


def _build(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    out = []
    if metadata.cicp:
        out.append((b"cICP", bytes([*metadata.cicp, 0, 1])))
    if metadata.icc:
        out.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.density:
        x, y = (round(d * 1000).to_bytes(4, "big") for d in metadata.density)
        out.append((b"pHYs", x + y + b"\1"))
    if metadata.exif:
        out.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        out.append((b"iTXt", _XMP + b"\0\0\0\0" + metadata.xmp))
    return out
