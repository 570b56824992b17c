"""Restore a photograph of any size, tile by tile, in ONNX Runtime alone.

    unveil export mtair_small all.onnx --tiles
    python restore_tiles_with_onnx.py all photo.png restored.png

The three files are the parts of a network that decides by the whole image what it removes:
``encode`` maps tiles to features, one position per 8×8 pixels; ``refine`` maps the features of the
whole image to the same shape; ``restore`` maps a tile and its part of them to the result. A part
takes the statistics of its layers, or gathers them from its tiles (``gather``).
"""

import math
import sys
from itertools import product

import numpy as np
import onnxruntime
from PIL import Image

WHOLE_IMAGE = [(0.0, 1.0, 0.0, 1.0)]


class Network:
    """The three files, which are named ``STEM.encode.onnx`` and so on."""

    def __init__(self, stem):
        names = ("encode", "refine", "restore")
        self.parts = {name: onnxruntime.InferenceSession(f"{stem}.{name}.onnx") for name in names}
        about = self.parts["encode"].get_modelmeta().custom_metadata_map
        self.tile, self.overlap, self.multiple = (
            int(about[f"unveil.{key}"]) for key in ("tile", "overlap", "size_multiple")
        )

    def run(self, part, features, places, statistics=None):
        """Return a part's features and the statistics it used; without `statistics` it gathers."""
        session = self.parts[part]
        known = {**features, "places": np.array(places, np.float32)}
        known["gather"] = np.array(statistics is None)
        for item in session.get_inputs():
            layer = item.name.removeprefix("given.")
            if layer != item.name:
                empty = np.zeros(item.shape, np.float32)
                known[item.name] = empty if statistics is None else statistics[layer]
        feeds = {item.name: known[item.name] for item in session.get_inputs()}
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(names, feeds), strict=True))
        used = [name for name in names if name.startswith("statistic.")]
        return found, {name.removeprefix("statistic."): found.pop(name) for name in used}


def spread(length, tile, overlap, multiple):
    """Return the length of tiles along an axis, and where they start: evenly, at multiples."""
    number = math.ceil(max(length - overlap, 1) / (tile - overlap))
    share = math.ceil((length + (number - 1) * overlap) / number)
    tile = min(math.ceil(share / multiple) * multiple, tile, length)
    return tile, [min(i * (tile - overlap), length - tile) for i in range(number)]


def weights(starts, i, tile, overlap):
    """Return how much each pixel of tile `i` counts; neighbours sum to 1."""
    out = np.ones(tile, np.float32)
    ramp = np.clip(2 * (np.arange(overlap) + 0.5) / max(overlap, 1) - 0.5, 0, 1)
    if i:
        # The last tile starts earlier: those before it made that part.
        begin = starts[i - 1] + tile - overlap - starts[i]
        out[:begin], out[begin : begin + overlap] = 0, ramp
    if i + 1 < len(starts):
        out[tile - overlap :] *= 1 - ramp
    return out


def restore(network, image):
    """Restore ``(h, w, 3)`` float32, sRGB-encoded, 0 to 1; the result is not clipped."""
    height, width, _ = image.shape
    m, overlap = network.multiple, network.overlap
    image = np.pad(image, ((0, -height % m), (0, -width % m), (0, 0)), "reflect")
    tall, tops = spread(image.shape[0], network.tile, overlap, m)
    wide, lefts = spread(image.shape[1], network.tile, overlap, m)
    tiles = list(product(tops, lefts))

    def cut(whole, corners, step=1):
        return np.stack(
            [
                whole[t // step : (t + tall) // step, f // step : (f + wide) // step]
                for t, f in corners
            ]
        )

    def of(corners):
        ends = [(min(t + tall, height), min(f + wide, width)) for t, f in corners]
        return [
            (t / height, b / height, f / width, r / width)
            for (t, f), (b, r) in zip(corners, ends, strict=True)
        ]

    def encode(corners, statistics=None):
        given = {"image": cut(image, corners).transpose(0, 3, 1, 2)}
        found, used = network.run("encode", given, of(corners), statistics)
        return found.pop("latent"), found, used

    def decode(corners, skips, statistics=None):
        given = {"image": cut(image, corners).transpose(0, 3, 1, 2), **skips}
        given["refined"] = cut(refined, corners, m)
        found, used = network.run("restore", given, of(corners), statistics)
        return found["restored"].transpose(0, 2, 3, 1), used

    # Up to four tiles, in the middles of the image's quarters, stand for it.
    middles = product(*[(side / 4, 3 * side / 4) for side in (height, width)])
    samples = sorted(
        {
            min(tiles, key=lambda t: abs(t[0] + tall / 2 - y) + abs(t[1] + wide / 2 - x))
            for y, x in middles
        }
    )
    _, skips, early = encode(samples)
    latent = None
    for top, left in tiles:
        part = encode([(top, left)], early)[0][0]
        if latent is None:
            latent = np.zeros(
                (image.shape[0] // m, image.shape[1] // m, part.shape[-1]), np.float32
            )
        # What lies near a tile's rim lacks context: its neighbour has it further in.
        y, x = (overlap // m // 2 if start else 0 for start in (top, left))
        latent[(top // m) + y : (top + tall) // m, left // m + x : (left + wide) // m] = part[
            y:, x:
        ]
    refined = network.run("refine", {"latent": latent[None]}, WHOLE_IMAGE)[0]["refined"][0]
    late = decode(samples, skips)[1]
    out = image.copy()
    for (i, top), (j, left) in product(enumerate(tops), enumerate(lefts)):
        corner = [(top, left)]
        restored = decode(corner, encode(corner, early)[1], late)[0][0]
        weight = weights(tops, i, tall, overlap)[:, None] * weights(lefts, j, wide, overlap)
        before = image[top : top + tall, left : left + wide]
        out[top : top + tall, left : left + wide] += weight[..., None] * (restored - before)
    return out[:height, :width]


if __name__ == "__main__":
    stem, source, target = sys.argv[1:]
    photo = np.asarray(Image.open(source).convert("RGB"), np.float32) / 255
    result = restore(Network(stem), photo).clip(0, 1)
    Image.fromarray((result * 255).round().astype(np.uint8)).save(target)
