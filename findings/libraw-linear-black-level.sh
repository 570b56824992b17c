#!/usr/bin/env bash
# LibRaw 0.22.2 (rawpy 0.28.0): of a LinearRaw DNG whose BlackLevel has three values (one for each
# colour, as DNG 1.7 asks for), black is subtracted from samples and not from the white level. White
# comes out at (white - black) / white, here 0.967, and every other sample with it; without a black
# level it comes out at 1.
# Exits with 1 if that changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q rawpy==0.28.0 numpy==2.4.6 tifffile==2026.3.3
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import rawpy
import tifffile

black, white = 512, 15360
light = np.full((64, 64, 3), 0.5)
light[:32] = 1.0
data = np.rint(light * (white - black) + black).astype(np.uint16)
found = {}
for number in (3, 1):
    level = (black,) * 3 if number == 3 else black
    tags = [
        (50706, "B", 4, (1, 4, 0, 0), True), (50707, "B", 4, (1, 1, 0, 0), True),
        (50708, "s", 0, "Maker Model", True), (50714, "H", number, level, True),
        (50717, "I", 3, (white,) * 3, True), (50778, "H", 1, 21, True),
        (50721, "2i", 9, [v for i in range(9) for v in (int(i % 4 == 0), 1)], True),
        (50728, "2I", 3, (1, 1) * 3, True),
    ]
    if number == 1:  # the same light without a black level
        tags[3] = (50714, "H", 3, (0,) * 3, True)
        data = np.rint(light * white).astype(np.uint16)
    tifffile.imwrite("a.dng", data, photometric=34892, planarconfig="contig", extratags=tags, metadata=None)
    with rawpy.imread("a.dng") as raw:
        out = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, gamma=(1, 1),
            output_color=rawpy.ColorSpace.raw, adjust_maximum_thr=0.0,
        )
    found[number] = (out[8, 8, 1] / 65535, out[48, 8, 1] / 65535)
print(rawpy.libraw_version, "white and middle gray, black levels of 512:", found[3], "of 0:", found[1])
share = (white - black) / white
raise SystemExit(not (abs(found[3][0] - share) < 1e-3 and abs(found[1][0] - 1) < 1e-3))
PYTHON
