#!/usr/bin/env bash
# libvips 8.18.7 gives black pixels for tiles it cannot read, even with fail_on=error.
#
# Input: a valid tiled TIFF, compressed by Zstandard, which the codecs of its Python wheel lack.
# The same picture in strips is refused, as a good engineer expects of both.
# Exits non-zero if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
  pyvips-binary==8.18.7 pyvips==3.2.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" 2>/dev/null <<'EOF'
import sys

import numpy as np
import pyvips
import tifffile

pyvips.cache_set_max(0)
pixels = np.full((128, 128, 3), 200, np.uint8)
seen = {}
for name, options in {"tiles": {"tile": (64, 64)}, "strips": {"rowsperstrip": 64}}.items():
    path = f"{sys.argv[1]}/{name}.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", compression="zstd", **options)
    assert (tifffile.imread(path) == pixels).all()
    try:
        seen[name] = int(pyvips.Image.new_from_file(path, fail_on="error").numpy().max())
    except pyvips.Error as error:
        seen[name] = str(error).strip().splitlines()[-1].strip()
print("libvips", ".".join(str(pyvips.version(i)) for i in range(3)))
print("tiles: brightest sample read, of 200:", seen["tiles"])
print("strips:", seen["strips"])
sys.exit(0 if seen["tiles"] == 0 and "not configured" in str(seen["strips"]) else 1)
EOF
