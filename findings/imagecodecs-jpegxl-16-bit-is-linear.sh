#!/usr/bin/env bash
# imagecodecs 2026.3.6: jpegxl_encode marks 16-bit samples as linear light, 8-bit ones as sRGB.
# The same gray, once in 8 and once in 16 bits, is shown with different brightness: a program that
# manages colours shows the value 0.5 of the second file as sRGB 0.735.
# Seen with libjxl 0.11.2: transfer function 13 (sRGB) for uint8, 8 (linear) for uint16 and float32.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import imagecodecs
import numpy as np


def transfer(data: bytes) -> int:
    """Read the headers of ISO/IEC 18181-1 up to the transfer function of a gray image."""
    value = int.from_bytes(data[data.find(b"\xff\x0a") + 2 :][:64], "little")

    def u(count: int) -> int:
        nonlocal value
        number, value = value & ((1 << count) - 1), value >> count
        return number

    def u32(*choices: tuple[int, int]) -> int:
        bits, offset = choices[u(2)]
        return u(bits) + offset

    def enum() -> int:
        return u32((0, 0), (0, 1), (4, 2), (6, 18))

    assert u(1), "a size in multiples of 8"
    u(5)
    assert u(3) == 1, "as wide as high"
    assert not u(1), "not all as usual"
    assert not u(1), "no further fields"
    if u(1):
        u32((0, 32), (0, 16), (0, 24), (6, 1)), u(4)
    else:
        u32((0, 8), (0, 10), (0, 12), (6, 1))
    u(1)
    assert u32((0, 0), (0, 1), (4, 2), (12, 1)) == 0, "no further channels"
    u(1)
    assert not u(1), "colours that are named"
    assert not u(1), "no profile"
    assert enum() == 1, "gray"
    assert enum() == 1, "D65"
    assert not u(1), "no power"
    return enum()


found = {}
for dtype, half in (("uint8", 128), ("uint16", 32896), ("float32", 0.5)):
    image = np.full((32, 32), half, dtype)
    found[dtype] = transfer(imagecodecs.jpegxl_encode(image, lossless=True, effort=5, numthreads=1))
print(imagecodecs.__version__, imagecodecs.jpegxl_version(), found)
raise SystemExit(found != {"uint8": 13, "uint16": 8, "float32": 8})
PYTHON
