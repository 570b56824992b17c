"""Restore a photograph of any size, tile by tile, in ONNX Runtime alone.

    unveil export mtair_small all.onnx --tiles
    python restore_tiles_with_onnx.py all photo.png restored.png

The network decides by the whole image what it removes. Each file ends where it looks at the whole
image: there all tiles have added to its statistics, which later files take.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image


class Network:
    """The files ``STEM.encode.0.onnx`` and so on, of which one is in memory."""

    def __init__(self, stem):
        self.stem, self.known = stem, {}
        about = self.open("encode.0").get_modelmeta().custom_metadata_map
        self.order = about["unveil.parts"].split(", ")
        self.tile, self.overlap, self.multiple = (
            int(about[f"unveil.{key}"]) for key in ("tile", "overlap", "size_multiple")
        )

    def open(self, name):
        """Return one of the files, ready to run."""
        return onnxruntime.InferenceSession(f"{self.stem}.{name}.onnx")

    def run(self, part, tiles):
        """Run the files of a part on tiles, dictionaries of inputs; return the results."""
        for name in self.order:
            if not name.startswith(part):
                continue
            session, sums = self.open(name), {}
            outputs = [output.name for output in session.get_outputs()]
            for tile in tiles:
                given = {i.name: {**self.known, **tile}[i.name] for i in session.get_inputs()}
                for used in given.keys() - {"rows", "columns", "place"}:
                    tile.pop(used, None)
                for output, value in zip(outputs, session.run(outputs, given), strict=True):
                    if output.startswith("statistic."):
                        layer = output.replace("statistic.", "given.")
                        sums[layer] = sums.get(layer, 0) + value
                    else:
                        tile[output.replace("next.", "held.")] = value
            self.known |= sums
        return [tile.pop("result") for tile in tiles]


def along(length, tile, overlap, multiple):
    """Return equal tiles along an axis: first and last, the pixels each counts for, its weights.

    Tiles begin a stride apart; the last one sees more of what lies before it.
    """
    number = -(-max(length - overlap, 1) // (tile - overlap))
    share = -(-(length + (number - 1) * overlap) // number)
    side = min(share + -share % multiple, tile)
    starts = range(0, max(length - overlap, 1), max(side - overlap, 1))
    middle = overlap // multiple // 2 * multiple
    bounds = [0, *(start + middle for start in starts[1:]), length]
    ramp = np.clip(2 * (np.arange(overlap) + 0.5) / max(overlap, 1) - 0.5, 0, 1)
    found = []
    for i, start in enumerate(starts):
        first = max(min(start, length - side), 0)
        last, weight = min(first + side, length), np.ones(length, np.float32)
        if i:
            weight[:start], weight[start : start + overlap] = 0, ramp
        if i + 1 < len(starts):
            weight[last - overlap : last] = 1 - ramp
        found.append((slice(first, last), slice(*bounds[i : i + 2]), weight[first:last]))
    return found


def inputs(rows, columns, height, width, step):
    """Return what a tile adds to statistics: positions of its features, and their place."""
    (down, own_rows, _), (across, own_columns, _) = rows, columns
    top, bottom = own_rows.start, own_rows.stop
    left, right = own_columns.start, own_columns.stop
    place = [top / height, bottom / height, left / width, right / width]
    return {
        "rows": np.arange((top - down.start) // step, (bottom - down.start) // step),
        "columns": np.arange((left - across.start) // step, (right - across.start) // step),
        "place": np.array([place], np.float32),
    }


def coarse(part, step):
    """Return the features that belong to some rows or columns."""
    return slice(part.start // step, part.stop // step)


def restore(network, image):
    """Restore ``(h, w, 3)`` float32, sRGB-encoded, 0 to 1; the result is not clipped."""
    m, (real_height, real_width, _) = network.multiple, image.shape
    image = np.pad(image, ((0, -real_height % m), (0, -real_width % m), (0, 0)), "reflect")
    height, width, _ = image.shape
    grid = [
        (rows, columns)
        for rows in along(height, network.tile, network.overlap, m)
        for columns in along(width, network.tile, network.overlap, m)
    ]
    tiles = [inputs(*place, height, width, m) for place in grid]
    for tile, ((rows, *_), (columns, *_)) in zip(tiles, grid, strict=True):
        tile["held.0"] = image[rows, columns].transpose(2, 0, 1)[None]
    features = None
    for (rows, columns), made in zip(grid, network.run("encode", tiles), strict=True):
        if features is None:
            features = np.zeros((1, height // m, width // m, made.shape[-1]), np.float32)
        # What lies near a tile's rim lacks context: its neighbour has it further in.
        own = [coarse(axis[1], m) for axis in (rows, columns)]
        top, left = rows[0].start // m, columns[0].start // m
        inside = [slice(o.start - a, o.stop - a) for o, a in zip(own, (top, left), strict=True)]
        features[:, own[0], own[1]] = made[:, inside[0], inside[1]]
    whole = [(slice(0, side), slice(0, side), None) for side in (height, width)]
    (refined,) = network.run("refine", [{**inputs(*whole, height, width, m), "held.0": features}])
    for tile, ((rows, *_), (columns, *_)) in zip(tiles, grid, strict=True):
        tile["held.0"] = refined[:, coarse(rows, m), coarse(columns, m)]
    for (rows, columns), change in zip(grid, network.run("restore", tiles), strict=True):
        weights = rows[2][:, None, None] * columns[2][:, None]
        image[rows[0], columns[0]] += weights * change[0].transpose(1, 2, 0)
    return image[:real_height, :real_width]


if __name__ == "__main__":
    stem, source, target = sys.argv[1:]
    photo = np.asarray(Image.open(source).convert("RGB"), np.float32) / 255
    result = restore(Network(stem), photo).clip(0, 1)
    Image.fromarray((result * 255).round().astype(np.uint8)).save(target)
