#!/usr/bin/env bash
# LibRaw 0.22.2 (rawpy 0.28.0): HighlightMode.Blend makes saturated pixels black where all channels
# end at the same value after the white balance, as light far above white does in a raw file whose
# samples go beyond its WhiteLevel. Highlights that are clipped (white) in the default mode turn
# into black spots.
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

black, white, gains = 512, 15360, np.array([2.0, 1.0, 1.5])
light = np.full((64, 64, 3), 0.18)
light[:32] = 2.5
camera = light / gains
mosaic = np.empty((64, 64))
for i, channel in enumerate((0, 1, 1, 2)):
    mosaic[i // 2 :: 2, i % 2 :: 2] = camera[i // 2 :: 2, i % 2 :: 2, channel]
data = np.rint(mosaic * (white - black) + black).astype(np.uint16)
xyz = np.array([[3.2404542, -1.5371385, -0.4985314], [-0.969266, 1.8760108, 0.041556], [0.0556434, -0.2040259, 1.0572252]])
matrix = (np.diag(1 / gains) @ xyz).ravel()
tags = [
    (50706, "B", 4, (1, 4, 0, 0), True), (50707, "B", 4, (1, 1, 0, 0), True),
    (50708, "s", 0, "Maker Model", True), (50714, "H", 1, black, True),
    (50717, "I", 1, white, True), (50778, "H", 1, 21, True),
    (33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True),
    (50721, "2i", 9, [v for x in matrix for v in (round(x * 10000), 10000)], True),
    (50728, "2I", 3, [v for g in gains for v in (10000, round(g * 10000))], True),
]
tifffile.imwrite("a.dng", data, photometric=32803, extratags=tags, metadata=None)
found = {}
for mode in (rawpy.HighlightMode.Clip, rawpy.HighlightMode.Blend):
    with rawpy.imread("a.dng") as raw:
        out = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, output_bps=16, gamma=(1, 1),
            adjust_maximum_thr=0.0, highlight_mode=mode,
        )
    found[mode.name] = out[16, 16].tolist()
print(rawpy.libraw_version, "light of 2.5 times white:", found)
raise SystemExit(not (min(found["Clip"]) > 65000 and found["Blend"] == [0] * 3))
PYTHON
