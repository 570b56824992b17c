#!/usr/bin/env bash
# libvips 8.18.7 drops the colour codes (nclx: primaries, transfer function) of an AVIF file when it
# loads and saves it: an HDR picture (BT.2020, PQ) is shown as sRGB afterwards.
#
# Input: a valid 10-bit AVIF that avifenc --cicp 9/16/9 (Debian's libavif-bin) writes.
# Exits non-zero if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
command -v avifenc >/dev/null || { echo "needs avifenc (apt install libavif-bin)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
  pyvips-binary==8.18.7 pyvips==3.2.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'EOF'
import sys

import numpy as np
import pyvips

pixels = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), dtype=np.uint16)
image = pyvips.Image.new_from_array(pixels, interpretation="rgb16")
image.pngsave(f"{sys.argv[1]}/a.png", bitdepth=16)
EOF
avifenc --depth 10 --cicp 9/16/9 "$folder/a.png" "$folder/a.avif" >/dev/null
"$folder/venv/bin/python" - "$folder" <<'EOF'
import sys

import pyvips

source, target = (f"{sys.argv[1]}/{name}.avif" for name in "ab")
image = pyvips.Image.new_from_file(source)
image.heifsave(target, compression="av1", bitdepth=10, keep="all")
codes = b"nclx\x00\x09\x00\x10"
before, after = (codes in open(path, "rb").read() for path in (source, target))
print("libvips", ".".join(str(pyvips.version(i)) for i in range(3)))
print("nclx 9/16 in the file:", before, "- in libvips' copy:", after)
print("fields that tell of it:", [f for f in image.get_fields() if "nclx" in f or "cicp" in f])
sys.exit(0 if before and not after else 1)
EOF
