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
# Tiles in a pass that gathers statistics: the more, the nearer they are to the whole image's.
AT_ONCE = 4


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


def windows(height, width, tile, overlap, multiple):
    """Return equal tiles: top, left, height and width of each, row by row."""
    tall, tops = spread(height, tile, overlap, multiple)
    wide, lefts = spread(width, tile, overlap, multiple)
    return [(top, left, tall, wide) for top, left in product(tops, lefts)]


def cut(whole, parts, step=1):
    """Cut windows out of an image, or of features with one position per `step` pixels."""
    return np.stack(
        [
            whole[top // step : (top + tall) // step, left // step : (left + wide) // step]
            for top, left, tall, wide in parts
        ]
    )


def average(found, counts):
    """Return the mean of statistics of several passes."""
    return {
        layer: np.average([one[layer] for one in found], 0, counts).astype(np.float32)
        for layer in found[0]
    }


def restore(network, image):
    """Restore ``(h, w, 3)`` float32, sRGB-encoded, 0 to 1; the result is not clipped."""
    height, width, _ = image.shape
    m, overlap = network.multiple, network.overlap
    image = np.pad(image, ((0, -height % m), (0, -width % m), (0, 0)), "reflect")
    padded = image.shape[:2]
    tiles = windows(*padded, network.tile, overlap, m)
    # Together they show every pixel, nearly none twice: what statistics are gathered from.
    crops = windows(*padded, network.tile, 0, m)
    passes = math.ceil(len(crops) / AT_ONCE)
    groups = [crops[i::passes] for i in range(passes)]
    counts = [len(group) for group in groups]

    def of(parts):
        return [
            (top / height, min(top + tall, height) / height,
             left / width, min(left + wide, width) / width)
            for top, left, tall, wide in parts
        ]  # fmt: skip

    def encode(parts, statistics=None):
        given = {"image": cut(image, parts).transpose(0, 3, 1, 2)}
        found, used = network.run("encode", given, of(parts), statistics)
        return found.pop("latent"), found, used

    def decode(parts, statistics=None):
        given = {"image": cut(image, parts).transpose(0, 3, 1, 2), **encode(parts, early)[1]}
        given["refined"] = cut(refined, parts, m)
        found, used = network.run("restore", given, of(parts), statistics)
        return found["restored"].transpose(0, 2, 3, 1), used

    early = average([encode(group)[2] for group in groups], counts)
    latent = None
    for tile in tiles:
        part = encode([tile], early)[0][0]
        if latent is None:
            latent = np.zeros((padded[0] // m, padded[1] // m, part.shape[-1]), np.float32)
        # What lies near a tile's rim lacks context: its neighbour has it further in.
        top, left = (start // m for start in tile[:2])
        y, x = (overlap // m // 2 if start else 0 for start in tile[:2])
        latent[top + y : top + part.shape[0], left + x : left + part.shape[1]] = part[y:, x:]
    refined = network.run("refine", {"latent": latent[None]}, WHOLE_IMAGE)[0]["refined"][0]
    late = average([decode(group)[1] for group in groups], counts)
    out = image.copy()
    tops, lefts = (sorted({tile[axis] for tile in tiles}) for axis in (0, 1))
    for tile in tiles:
        top, left, tall, wide = tile
        weight = weights(tops, tops.index(top), tall, overlap)[:, None] * weights(
            lefts, lefts.index(left), wide, overlap
        )
        change = decode([tile], late)[0][0] - image[top : top + tall, left : left + wide]
        out[top : top + tall, left : left + wide] += weight[..., None] * change
    return out[:height, :width]


if __name__ == "__main__":
    stem, source, target = sys.argv[1:]
    photo = np.asarray(Image.open(source).convert("RGB"), np.float32) / 255
    result = restore(Network(stem), photo).clip(0, 1)
    Image.fromarray((result * 255).round().astype(np.uint8)).save(target)
