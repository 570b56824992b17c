"""Make the pictures of `docs/tools` that need no other program's window.

`python docs/figures/tools.py DENOISER.onnx`, the file being what `unveil export cu_mamba_small`
writes. Needs the extras `onnx` and `video`, and spandrel for its picture. Each shows the package's
own sample before and after; those of napari, ComfyUI, GIMP and Krita are screenshots.

`python docs/figures/tools.py --ray FOLDER` draws a run of `unveil restore --ray` as a terminal shows
it: FOLDER holds ``run.log``, the command's output, and the pictures in ``photos`` and ``restored``.
"""

import sys
import tempfile
from importlib import resources
from pathlib import Path

import av
import numpy as np
import onnxruntime
from PIL import Image as Drawing
from PIL import ImageDraw, ImageFont
from torch import from_numpy

from unveil.batch.video import restore_video
from unveil.imaging import Image, load_rgb, write_image
from unveil.inference.restorer import Restorer
from unveil.serve.samples import SAMPLES

FOLDER = Path(__file__).parents[1] / "images"
TILE, MARGIN, FRAMES = 768, 64, 12


def side_by_side(name: str, *panels: np.ndarray) -> None:
    """Write panels of one height beside each other, floats of [0, 1] or bytes."""
    as_bytes = [p if p.dtype == np.uint8 else np.rint(p.clip(0, 1) * 255) for p in panels]
    gap = np.full((panels[0].shape[0], 6, 3), 255)
    parts = [part for panel in as_bytes for part in (gap, panel)][1:]
    pixels = np.hstack(parts).astype(np.uint8)
    write_image(FOLDER / name, Image(np.ascontiguousarray(pixels)), quality=85)


def run_onnx(file: str, planes: np.ndarray) -> np.ndarray:
    """Run a file on ``(3, h, w)``."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    restored: np.ndarray = session.run(None, {"image": planes[None]})[0][0]
    return restored


def darktable(file: str, planes: np.ndarray) -> np.ndarray:
    """Run a file on one of darktable's tiles: 64 pixels of margin, mirrored, cut off again."""
    height, width = planes.shape[1:]
    rows, columns = (mirrored(length) for length in (height, width))
    tile = np.ascontiguousarray(planes[:, rows][:, :, columns])
    return run_onnx(file, tile)[:, MARGIN : MARGIN + height, MARGIN : MARGIN + width].clip(0, 1)


def mirrored(length: int) -> np.ndarray:
    """Return which pixel of a side each pixel of a tile shows."""
    index = np.abs(np.arange(-MARGIN, TILE - MARGIN))
    return np.clip(length - 1 - np.abs(index - (length - 1)), 0, length - 1)


def clip(clean: np.ndarray) -> list[np.ndarray]:
    """Return a noisy still scene, restored, and with damping: a frame over its flicker each."""
    rng = np.random.default_rng(0)
    panels = []
    with tempfile.TemporaryDirectory() as made:
        source = Path(made) / "noisy.mp4"
        with av.open(str(source), "w") as result:
            stream = result.add_stream("libx264", rate=12, options={"qp": "8"})
            stream.height, stream.width, stream.pix_fmt = *clean.shape[:2], "yuv444p"
            for _ in range(FRAMES):
                noisy = (clean + rng.normal(0, 15, clean.shape)).clip(0, 255).astype(np.uint8)
                result.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
            result.mux(stream.encode())
        panels.append(frame_and_flicker(source))
        for damping in (0.0, 0.7):
            target = Path(made) / f"{damping}.mp4"
            restore_video(Restorer("cu_mamba_small"), source, target, damping=damping)
            panels.append(frame_and_flicker(target))
    return panels


def frame_and_flicker(file: Path) -> np.ndarray:
    """Return the last frame over eight times its difference from the one before."""
    with av.open(str(file)) as opened:
        frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    change = 8 * np.abs(frames[-1].astype(int) - frames[-2])
    return np.vstack([frames[-1], change.clip(0, 255)]).astype(np.uint8)


def ray(folder: Path) -> None:
    """Draw what a run printed, Ray's own log left out, above its pictures before and after."""
    font = ImageFont.truetype("DejaVuSansMono.ttf", 15)
    command, *printed = (folder / "run.log").read_text(encoding="utf-8").splitlines()
    kept = ("unveil", "photos", "restored", "rc=")
    said = [line.replace(f"{folder}/", "").replace("\t", " ") for line in printed]
    lines = [command, *(line for line in said if line.startswith(kept) or "Started" in line)]
    pairs = [
        np.hstack([load_rgb(path) for path in (before, after)])
        for after in sorted((folder / "restored").glob("*.png"))
        for before in [folder / "photos" / after.name.replace(".restored", "")]
    ]
    panels = [Drawing.fromarray(pair) for pair in pairs]
    for panel in panels:
        panel.thumbnail((440, 160))
    drawn = Drawing.new("RGB", (1340, 190 + 22 * len(lines)), (30, 30, 30))
    pen = ImageDraw.Draw(drawn)
    for i, line in enumerate(lines):
        pen.text((10, 8 + 22 * i), line[:144], (230, 230, 230), font)
    left = 10
    for panel in panels:
        drawn.paste(panel, (left, 20 + 22 * len(lines)))
        left += panel.width + 10
    write_image(FOLDER / "ray.jpg", Image(np.asarray(drawn)[:, :left].copy()), quality=85)


def main(file: str) -> None:
    """Make all of them."""
    sample = next(s for s in SAMPLES if s.task == "denoise")
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "noisy.png"
        path.write_bytes(sample.content())
        noisy = load_rgb(path)
    planes = np.ascontiguousarray(noisy.transpose(2, 0, 1)).astype(np.float32) / 255
    side_by_side("onnx.jpg", noisy, run_onnx(file, planes).transpose(1, 2, 0))
    side_by_side("darktable.jpg", noisy, darktable(file, planes).transpose(1, 2, 0))
    clean = Restorer("cu_mamba_small")(noisy)[60:252, 90:346]
    side_by_side("video.jpg", *clip(clean))
    try:
        import spandrel  # noqa: PLC0415 (optional)
    except ImportError:
        return
    from unveil.integrations.spandrel import install  # noqa: PLC0415

    install()
    weights = resources.files("unveil") / "weights" / "mtair_small.safetensors"
    model = spandrel.ModelLoader().load_from_file(str(weights))
    restored = model(from_numpy(planes)[None])[0].detach().numpy()
    side_by_side("spandrel.jpg", noisy, restored.transpose(1, 2, 0))


if __name__ == "__main__":
    if sys.argv[1] == "--ray":
        ray(Path(sys.argv[2]).resolve())
    else:
        main(sys.argv[1])
