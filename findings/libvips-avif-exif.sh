#!/usr/bin/env bash
# libvips 8.18.7: heifsave rewrites the EXIF block of an AVIF file, and writes one where the image had
# none. An AVIF that is read and written with all metadata kept does not have the EXIF it had, and
# maker notes, which count bytes from its start, may break. Seen: 312 bytes became 436, none 186.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pyvips==3.2.0 pyvips-binary==8.18.7 numpy==2.4.6 pillow==12.3.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import PIL.Image
import pyvips

pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
image = pyvips.Image.new_from_memory(pixels.tobytes(), 48, 32, 3, "uchar")
image = image.copy(interpretation="srgb")
plain = pyvips.Image.new_from_buffer(image.heifsave_buffer(compression="av1"), "")
made_up = len(plain.get("exif-data")) if plain.get_typeof("exif-data") else 0

exif = PIL.Image.Exif()
exif[271], exif[272] = "Maker", "Model 7"
exif.get_ifd(34665).update({33434: (1, 250), 34855: 800, 37500: b"maker\0note" * 20})
block = exif.tobytes()
image = image.copy()
image.set_type(pyvips.GValue.blob_type, "exif-data", block)
back = pyvips.Image.new_from_buffer(image.heifsave_buffer(compression="av1"), "")
after = back.get("exif-data")
print(f"libvips {pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}")
print(f"without EXIF: {made_up} bytes written; with {len(block)} bytes: {len(after)} after, "
      f"equal {after == block}, maker note there {b'maker' + bytes(1) + b'note' in after}")
raise SystemExit(not (made_up > 0 and after != block))
PYTHON
