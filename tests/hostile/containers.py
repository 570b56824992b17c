"""Files whose structure holds, but whose fields lie: directories, boxes and headers of text."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

_NUMBERS = [0, 1, 2, 3, 255, 256, 999, 4000, 65_535, 2**31 - 1, 2**31, 2**32 - 1]
# None is large enough to harm a decoder that believes it.
_SIDES = [0, 1, 2, 31, 255, 999, 1001, 4000]
_SIZES = range(256, 258)


def lying_directory(data: bytes, rng: np.random.Generator) -> bytes:
    """Change fields of one to three entries of a little-endian TIFF file's first directory."""
    out = bytearray(data)
    (start,) = struct.unpack_from("<I", out, 4)
    (number,) = struct.unpack_from("<H", out, start)
    for _ in range(int(rng.integers(1, 4))):
        entry = start + 2 + 12 * int(rng.integers(number))
        (tag,) = struct.unpack_from("<H", out, entry)
        match rng.integers(0, 5):
            case 0:
                struct.pack_into("<H", out, entry + 2, int(rng.integers(0, 20)))
            case 1:
                struct.pack_into("<I", out, entry + 4, int(rng.choice(_NUMBERS)))
            case 2:
                struct.pack_into("<H", out, entry, int(rng.choice([tag + 1, 254, 330, 700])))
            case _:
                chosen = _SIDES if tag in _SIZES else _NUMBERS
                struct.pack_into("<I", out, entry + 8, int(rng.choice(chosen)))
    return bytes(out)


def lying_boxes(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a size or a type, leave out, repeat, swap or add boxes of a file made of boxes."""
    parts = _boxes(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(parts))) if parts else 0
        match rng.integers(0, 6):
            case 0 if parts:
                size = int(rng.choice(_NUMBERS))
                parts[at] = (size & 0xFFFFFFFF).to_bytes(4, "big") + parts[at][4:]
            case 1 if parts:
                kind = rng.choice([b"brob", b"Exif", b"jxlp", b"jxlc", b"xml ", b"meta", b"uuid"])
                parts[at] = parts[at][:4] + bytes(kind) + parts[at][8:]
            case 2 if len(parts) > 1:
                del parts[at]
            case 3 if parts:
                parts.insert(int(rng.integers(len(parts) + 1)), parts[at])
            case 4 if parts:
                parts[at] = parts[at][: int(rng.integers(len(parts[at]) + 1))]
            case _:
                body = rng.bytes(int(rng.integers(0, 40)))
                kind = bytes(rng.choice([b"Exif", b"brob", b"jxlp", b"moov", b"free"]))
                parts.insert(at, struct.pack(">I4s", 8 + len(body), kind) + body)
    return b"".join(parts)


def _boxes(data: bytes) -> list[bytes]:
    parts, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + size if 8 <= size <= len(data) - at else len(data)
        parts.append(data[at:end])
        at = end
    return parts


_MAGICS = [b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF", b"P0", b"P"]
_WORDS = [b"0", b"1", b"8", b"12", b"255", b"256", b"65535", b"65536", b"-1", b"1e3", b"0x8",
          b"999999999999", b"9" * 500, b"", b"a", b"\xb2", b"#", b"# a comment\n8", b"1.5",
          b"WIDTH 8", b"ENDHDR", b"TUPLTYPE RGB_ALPHA"]  # fmt: skip
_GAPS = [b" ", b"\n", b"\t", b"\r", b"  ", b"\n\n", b"", b"\0", b"\n# a\n", b"#"]


def hostile_netpbm(rng: np.random.Generator) -> bytes:
    """Make a Netpbm file of words that mostly fit: kind, width, height, maximum, samples."""
    out = bytes(rng.choice(_MAGICS))
    likely = [b"8", b"6", bytes(rng.choice([b"255", b"65535", b"1000", b"1"]))]
    for word in likely:
        out += bytes(_GAPS[int(rng.integers(len(_GAPS)))] if rng.random() < 0.3 else b"\n")
        out += _WORDS[int(rng.integers(len(_WORDS)))] if rng.random() < 0.25 else word
    out += _GAPS[int(rng.integers(len(_GAPS)))]
    if out[1:2] in (b"1", b"2", b"3") and rng.random() < 0.9:
        number = int(rng.choice([0, 47, 48, 143, 144, 145]))
        texts = [str(n).encode() for n in rng.integers(0, 300, number)]
        if texts and rng.random() < 0.4:
            texts[int(rng.integers(len(texts)))] = _WORDS[int(rng.integers(len(_WORDS)))]
        return out + b" ".join(texts) + b"\n"
    return out + rng.bytes(int(rng.choice([0, 1, 47, 48, 96, 144, 288, 289, 600])))


def clip(suffix: str, folder: Path) -> bytes:
    """Return a clip of three small frames, with sound."""
    import av

    path, rng = folder / f"seed{suffix}", np.random.default_rng(0)
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libvpx-vp9" if suffix == ".webm" else "libx264", rate=24)
        picture.width, picture.height, picture.pix_fmt = 48, 32, "yuv420p"
        if suffix != ".webm":
            sound = file.add_stream("aac", rate=8000)
            wave = np.sin(np.arange(4096) / 5)[None].astype(np.float32)
            heard = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            heard.sample_rate = 8000
            file.mux(sound.encode(heard))
            file.mux(sound.encode())
        for _ in range(3):
            pixels = rng.integers(60, 200, (32, 48, 3), dtype=np.uint8)
            file.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        file.mux(picture.encode())
    data = path.read_bytes()
    path.unlink()
    return data


Change = Callable[[bytes, np.random.Generator], bytes]


def boxed_jxl(data: bytes) -> bytes:
    """Wrap a JPEG XL codestream in boxes, with EXIF, XMP and a box that readers leave alone."""
    out = io.BytesIO()
    out.write(b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ")
    for kind, body in (
        (b"Exif", bytes(4) + b"II*\0\x08\0\0\0\0\0\0\0\0\0"),
        (b"xml ", b"<x:xmpmeta/>"),
        (b"jxlc", data),
        (b"free", bytes(5)),
    ):
        out.write(struct.pack(">I4s", 8 + len(body), kind) + body)
    return out.getvalue()
