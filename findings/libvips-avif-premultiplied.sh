#!/usr/bin/env bash
# libvips 8.18.7 gives the colours of an AVIF file whose colours are stored multiplied by
# transparency (item reference "prem") as if they were not: dark where it is transparent.
#
# Input: a valid AVIF that avifenc --premultiply (libavif 0.11.1, Debian's libavif-bin) writes.
# Pillow 12.3, by libavif, divides them. Exits non-zero if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
command -v avifenc >/dev/null || { echo "needs avifenc (apt install libavif-bin)" >&2; exit 2; }
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
  pyvips-binary==8.18.7 pyvips==3.2.0 pillow==12.3.0 numpy==2.4.6
cat >"$folder/make.py" <<'EOF'
import sys

import numpy as np
from PIL import Image

pixels = np.full((64, 64, 4), 200, np.uint8)
pixels[..., 3] = 100
Image.fromarray(pixels).save(sys.argv[1])
EOF
"$folder/venv/bin/python" "$folder/make.py" "$folder/a.png"
avifenc --premultiply --min 0 --max 0 "$folder/a.png" "$folder/a.avif" >/dev/null
"$folder/venv/bin/python" - "$folder/a.avif" <<'EOF'
import sys

import numpy as np
import pyvips
from PIL import Image

vips = pyvips.Image.new_from_file(sys.argv[1]).numpy()[32, 32]
pillow = np.asarray(Image.open(sys.argv[1]))[32, 32]
print("libvips", ".".join(str(pyvips.version(i)) for i in range(3)), vips.tolist())
print("Pillow", Image.__version__, pillow.tolist(), "of [200, 200, 200, 100]")
dark, right = abs(int(vips[0]) - 78) <= 4, abs(int(pillow[0]) - 200) <= 4
sys.exit(0 if dark and right and vips[3] == 100 else 1)
EOF
