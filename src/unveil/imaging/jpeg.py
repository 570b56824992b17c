"""Metadata and quality of JPEG files: the segments before the first scan.

Source: ITU-T T.81 annexes B and K, JFIF 1.02, Exif 2.32, XMP part 3, ICC.1 annex B.
"""

import io
import shutil
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unveil.imaging.exif import build_exif, orientation_of, parse_exif
from unveil.imaging.image import CREDENTIALS, Array, Metadata, plausible_density
from unveil.imaging.trailer import ISO_GAIN_MAP, MPF, described, mend_index, read_trailer

_APP0, _APP1, _APP2, _APP13, _COM = 0xE0, 0xE1, 0xE2, 0xED, 0xFE
_APP11 = 0xEB
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_ICC, _PHOTOSHOP, _JFIF = b"ICC_PROFILE\0", b"Photoshop 3.0\0", b"JFIF\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
# The maker's own segments are carried, too, but for those that belong to the old pixels: APP11
# holds their signature (C2PA) or refines them (JPEG XT), APP14 says how they are encoded.
_CARRIED = frozenset({_COM, *range(_APP1, 0xF0)} - {_APP11, 0xEE})
# Sequential and progressive, by Huffman or arithmetic coding.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_SEGMENT = 65533
_MOST_XMP, _MOST_IPTC = _SEGMENT - len(_XMP), _SEGMENT - 40

# T.81 table K.1; the order of its entries does not matter here.
_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99],
    ]
).ravel()


def extract(path: Path) -> Metadata:
    """Return the metadata of a JPEG file; segments that make no sense are left out."""
    with path.open("rb") as file:
        placed = _placed_segments(file)
        scan = file.tell()
    found = [(marker, body) for marker, body, _ in placed]
    index = next((at for m, body, at in placed if m == _APP2 and body.startswith(MPF)), None)
    exif = _first(found, _APP1, _EXIF)
    return Metadata(
        orientation=orientation_of(exif),
        exif=exif,
        icc=_profile(found),
        xmp=_first(found, _APP1, _XMP),
        iptc=_iptc(_first(found, _APP13, _PHOTOSHOP)),
        density=_density(_first(found, _APP0, _JFIF)),
        quality=_quality(found),
        trailer=read_trailer(path, scan, None if index is None else index + len(MPF)),
        raw=tuple((m, body) for m, body in found if _is_carried(m, body)),
    )


def embed(encoded: BinaryIO, target: BinaryIO, metadata: Metadata, verbatim: bool) -> None:
    """Copy a JPEG file, its metadata replaced by `metadata`.

    Args:
        encoded: What the encoder wrote.
        target: Where the result goes; open for reading, too.
        metadata: To be put in.
        verbatim: Put back the segments of the JPEG file that `metadata` came from, and what
            followed its picture.
    """
    found = _segments(encoded)
    carried = metadata.raw if verbatim else tuple(_build(metadata))
    trailer = metadata.trailer if verbatim and keeps_trailer(metadata) else None
    if not verbatim and not any(marker == _APP0 for marker, _ in carried):
        carried = tuple(s for s in found if s[0] == _APP0) + carried
    index = None
    target.write(b"\xff\xd8")
    for marker, body in carried + tuple(s for s in found if not _is_carried(*s)):
        if marker == _APP2 and body.startswith((MPF, ISO_GAIN_MAP)):
            if trailer is None:
                continue
            index = target.tell() + 4 + len(MPF) if body.startswith(MPF) else index
        target.write(bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body)
    shutil.copyfileobj(encoded, target)
    if trailer is not None:
        end = target.tell()
        target.write(trailer.data)
        if index is not None:
            mend_index(target, index, end, trailer)


def keeps_trailer(metadata: Metadata) -> bool:
    """Return whether a JPEG result keeps what follows the picture."""
    return metadata.trailer is not None and bool(metadata.trailer.data)


def names_of_trailer(metadata: Metadata) -> list[str]:
    """Name what follows the picture of a JPEG file, as what would be lost without it."""
    return described(metadata.trailer, (body[:64] for _, body in metadata.raw), metadata.xmp)


def other_parts(path: Path) -> list[str]:
    """Name what a JPEG file holds that belongs to its old pixels alone."""
    with path.open("rb") as file:
        signed = any(m == _APP11 and b"jumb" in body[:64] for m, body in _segments(file))
    return [CREDENTIALS] if signed else []


def own_segments(metadata: Metadata) -> list[str]:
    """Name the segments of a JPEG file that no other format has a place for.

    >>> own_segments(Metadata(raw=((0xE1, b"FLIR..."), (0xE1, b"Exif.."), (0xE4, b"x"))))
    ['APP1', 'APP4']
    """
    known = (_EXIF[:4], _XMP[:28], _ICC, _PHOTOSHOP, _JFIF, MPF, ISO_GAIN_MAP)
    names = {
        f"APP{marker - 0xE0}"
        for marker, body in metadata.raw
        if marker != _COM and not body.startswith(known) and not body.startswith(_XMP_MORE)
    }
    return sorted(names, key=lambda name: int(name[3:]))


def exif_of(data: bytes) -> bytes | None:
    """Return the EXIF block of a JPEG file."""
    return _first(_segments(io.BytesIO(data)), _APP1, _EXIF)


def frame_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in the header of a JPEG file; None when it has none."""
    if not data.startswith(b"\xff\xd8"):
        return None
    frame = next((body for m, body in _segments(io.BytesIO(data)) if m in _FRAMES), b"")
    if len(frame) < 5:
        return None
    height, width = struct.unpack(">HH", frame[1:5])
    return (width, height) if width and height else None


def too_large(metadata: Metadata) -> list[str]:
    """Name what of another format's metadata is too large for the segments of a JPEG file.

    >>> too_large(Metadata(xmp=bytes(70_000), iptc=b"short"))
    ['XMP']
    """
    sizes = {"XMP": (metadata.xmp, _MOST_XMP), "IPTC": (metadata.iptc, _MOST_IPTC)}
    return [name for name, (content, most) in sizes.items() if len(content or b"") > most]


def _segments(file: BinaryIO) -> list[tuple[int, bytes]]:
    """Read marker segments; leaves `file` at the first scan."""
    return [(marker, body) for marker, body, _ in _placed_segments(file)]


def _placed_segments(file: BinaryIO) -> list[tuple[int, bytes, int]]:
    """Read marker segments, each with the offset of its body; leaves `file` at the first scan."""
    file.seek(2)
    found: list[tuple[int, bytes, int]] = []
    while True:
        start = file.tell()
        head = file.read(2)
        while len(head) == 2 and head[0] == 0xFF and head[1] == 0xFF:
            head = head[1:] + file.read(1)
        size = int.from_bytes(file.read(2), "big")
        if len(head) < 2 or head[0] != 0xFF or head[1] in (0xDA, 0xD9) or size < 2:
            file.seek(start)
            return found
        at = file.tell()
        found.append((head[1], file.read(size - 2), at))


def _is_carried(marker: int, body: bytes) -> bool:
    return marker in _CARRIED or (marker == _APP0 and body.startswith(_JFIF))


def _first(found: list[tuple[int, bytes]], marker: int, prefix: bytes) -> bytes | None:
    bodies = (body for m, body in found if m == marker and body.startswith(prefix))
    body = next(bodies, None)
    return None if body is None else body[len(prefix) :]


def _profile(found: list[tuple[int, bytes]]) -> bytes | None:
    parts = {b[12]: b[14:] for m, b in found if m == _APP2 and b.startswith(_ICC) and len(b) > 14}
    return b"".join(parts[i] for i in sorted(parts)) or None


def _iptc(resources: bytes | None) -> bytes | None:
    """Find resource 0x0404 among Photoshop's."""
    at = 0
    while resources and resources[at : at + 4] == b"8BIM":
        name = resources[at + 6] if at + 6 < len(resources) else 0
        size_at = at + 6 + (name + 2) // 2 * 2
        size = int.from_bytes(resources[size_at : size_at + 4], "big")
        if resources[at + 4 : at + 6] == b"\x04\x04":
            return resources[size_at + 4 : size_at + 4 + size] or None
        at = size_at + 4 + size + size % 2
    return None


def _density(jfif: bytes | None) -> tuple[float, float] | None:
    if jfif is None or len(jfif) < 7 or jfif[2] not in (1, 2):
        return None
    unit = 25.4 if jfif[2] == 1 else 10.0
    x, y = int.from_bytes(jfif[3:5], "big"), int.from_bytes(jfif[5:7], "big")
    return plausible_density(x / unit, y / unit)


def _quality(found: list[tuple[int, bytes]]) -> tuple[int, bool, bool] | None:
    """Return libjpeg's quality nearest to the luminance table, and what else an encoder chose."""
    table = next((body for m, body in found if m == 0xDB), None)
    frame = next(((m, body) for m, body in found if m in _FRAMES), None)
    if table is None or frame is None or len(table) < 65 or table[0] >> 4:
        return None
    given = np.sort(np.frombuffer(table[1:65], np.uint8).astype(int))
    quality = min(range(1, 101), key=lambda q: (np.abs(np.sort(_table(q)) - given).sum(), -q))
    marker, body = frame
    subsampled = len(body) > 7 and body[5] == 3 and body[7] == 0x22
    return quality, subsampled, marker in (0xC2, 0xCA)


def _table(quality: int) -> Array:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table: Array = np.clip((_LUMINANCE * scale + 50) // 100, 1, 255)
    return table


def _build(metadata: Metadata) -> list[tuple[int, bytes]]:
    out: list[tuple[int, bytes]] = []
    if metadata.density:
        x, y = (min(round(d * 25.4), 65535) for d in metadata.density)
        out.append(
            (_APP0, _JFIF + b"\1\1\1" + x.to_bytes(2, "big") + y.to_bytes(2, "big") + b"\0\0")
        )
    exif, limit = metadata.exif, _SEGMENT - len(_EXIF)
    if exif and len(exif) > limit:
        exif = build_exif(parse_exif(exif), limit)
    if exif:
        out.append((_APP1, _EXIF + exif))
    if metadata.xmp and len(metadata.xmp) <= _MOST_XMP:
        out.append((_APP1, _XMP + metadata.xmp))
    parts = _pieces(metadata.icc or b"", _SEGMENT - len(_ICC) - 2)
    out += [(_APP2, _ICC + bytes([i + 1, len(parts)]) + part) for i, part in enumerate(parts)]
    if metadata.iptc and len(metadata.iptc) <= _MOST_IPTC:
        size = len(metadata.iptc).to_bytes(4, "big")
        resource = b"8BIM\x04\x04\0\0" + size + metadata.iptc + bytes(len(metadata.iptc) % 2)
        out.append((_APP13, _PHOTOSHOP + resource))
    return out


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]
