"""Restore clips frame by frame, with statistics that run along; sound and timestamps are copied.

The network restores single frames: nothing moves with the scene. Statistics of the whole frame, by
which an all-in-one network decides what it removes, are averaged over the last frames, and an
option blends a frame with the last result where the scene stands still.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from unveil.batch.jobs import VIDEO_SUFFIXES
from unveil.errors import ImageFileError, InputError, MissingExtraError, OutputError
from unveil.imaging.atomic import replacing
from unveil.imaging.formats import check_size
from unveil.imaging.image import Array
from unveil.inference.restorer import Restorer

# Share of a new frame in the running statistics: about the last ten frames count.
_SHARE_OF_NEW = 0.1
# Differences of results up to this, as means over 5×5 pixels, are noise and not motion.
_STILL = 0.02
_WORKING = "gbrpf32le"
_HD_HEIGHT = 720

FrameProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Clip:
    """What became of a clip.

    Attributes:
        frames: Frames restored.
        width: Of a frame.
        height: Of a frame.
    """

    frames: int
    width: int
    height: int


def restore_video(
    restorer: Restorer,
    source: Path,
    target: Path,
    *,
    damping: float = 0.0,
    force: bool = False,
    progress: FrameProgress | None = None,
) -> Clip:
    """Restore the frames of a clip.

    The picture is encoded anew (H.264, H.265 for more than 8 bits, VP9 in WebM) in near-lossless
    quality; other streams are copied, and every frame keeps its time.

    Args:
        restorer: Network and options.
        source: The clip.
        target: The result; its suffix names the container.
        damping: Share of the last result that is blended in where the scene stands still, 0 to 1:
            less flicker, more lag.
        force: Replace a file that is there.
        progress: Called with the frames done, and their number in all (0: not known).

    Raises:
        InputError: `damping` is out of its range, or the suffix is no video's.
        ImageFileError: The clip cannot be read or has no picture.
        OutputError: The result is there already or cannot be written.
        MissingExtraError: PyAV is not installed.
    """
    if not 0 <= damping < 1:
        raise InputError(f"damping is {damping}; expected at least 0 and less than 1")
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise InputError(f"{target}: expected a name that ends in {', '.join(VIDEO_SUFFIXES)}")
    if target.exists() and (target.samefile(source) or not force):
        raise OutputError(f"{target}: exists; give another name, or --force to replace a result")
    av = _av()
    with ExitStack() as stack:
        if source.exists() and not source.is_file():
            raise ImageFileError(f"{source}: a folder, a pipe or a device; expected a clip")
        try:
            clip = stack.enter_context(av.open(str(source.absolute()), options=_ONLY_FILES))
        except (OSError, ValueError, av.FFmpegError) as error:
            raise ImageFileError(f"{source}: cannot be read as a clip: {_reason(error)}") from None
        _check_picture(source, clip.streams.video, restorer.options.max_megapixels)
        temporary = stack.enter_context(replacing(target))
        kind = _CONTAINERS.get(target.suffix.lower()[1:], target.suffix.lower()[1:])
        try:
            with av.open(str(temporary.absolute()), "w", format=kind) as result:
                return _Transcoder(av, restorer, damping, progress).run(clip, result, target)
        except (av.FFmpegError, ValueError) as error:
            raise OutputError(f"{target}: {source} cannot be restored: {_reason(error)}") from None


_CONTAINERS = {"m4v": "mp4", "mkv": "matroska"}
# A file may hold a playlist, whatever its name: FFmpeg would open the addresses in it. Absolute
# paths keep it from taking the start of a name such as "12:30.mp4" for a protocol.
_ONLY_FILES = {
    "protocol_whitelist": "file",
    "format_whitelist": "avi,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2",
}


def _check_picture(source: Path, streams: Sequence[Any], max_megapixels: float) -> None:
    """Refuse a clip whose picture cannot be decoded, or is larger than is allowed.

    Raises:
        ImageFileError: If it is so.
    """
    if not streams:
        raise ImageFileError(f"{source}: has no picture")
    context = streams[0].codec_context
    if context is None or context.format is None or not context.width or not context.height:
        raise ImageFileError(f"{source}: damaged, or a picture of a kind that FFmpeg cannot decode")
    check_size(source, context.width, context.height, max_megapixels)


class _Transcoder:
    """Decodes, restores, encodes; what is not the picture passes."""

    def __init__(
        self, av: Any, restorer: Restorer, damping: float, progress: FrameProgress | None
    ) -> None:
        self.av, self.damping = av, damping
        self.progress = progress or (lambda _done, _all: None)
        self.frames = _Frames(restorer, damping)

    def run(self, clip: Any, result: Any, target: Path) -> Clip:
        picture = clip.streams.video[0]
        encoder = self._encoder(picture, result, target)
        copied = {
            stream.index: result.add_stream_from_template(stream)
            for stream in clip.streams
            if stream.type in ("audio", "subtitle")
        }
        done = 0
        for packet in clip.demux():
            if packet.stream is picture:
                for frame in packet.decode():
                    result.mux(encoder.encode(self._restored(frame, encoder)))
                    done += 1
                    self.progress(done, picture.frames)
            elif packet.stream.index in copied and packet.dts is not None:
                packet.stream = copied[packet.stream.index]
                result.mux(packet)
        result.mux(encoder.encode())
        if not done:
            raise ImageFileError("the clip holds no frame that can be decoded")
        return Clip(done, picture.width, picture.height)

    def _encoder(self, picture: Any, result: Any, target: Path) -> Any:
        deep = any(part.bits > 8 for part in picture.format.components)
        name = "libx265" if deep else "libx264"
        if target.suffix.lower() == ".webm":
            name = "libvpx-vp9"
        rate = picture.average_rate or Fraction(25)
        stream = result.add_stream(name, rate=rate, options={"crf": "14"})
        stream.width, stream.height = picture.width, picture.height
        # H.264 and H.265 halve colour in width and height: odd sizes need it whole.
        odd = picture.width % 2 or picture.height % 2
        stream.pix_fmt = ("yuv444p" if odd else "yuv420p") + ("10le" if deep else "")
        stream.codec_context.time_base = picture.time_base
        stream.time_base = picture.time_base
        context = picture.codec_context
        for tag in ("color_range", "color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, tag, getattr(context, tag))
        return stream

    def _restored(self, frame: Any, encoder: Any) -> Any:
        # A tag converts nothing by itself, and what has none is read as BT.601.
        space = _colour_space(frame)
        given = frame.reformat(format=_WORKING, src_colorspace=space, dst_colorspace=space)
        restored = self.frames.restored(given.to_ndarray())
        made = self.av.VideoFrame.from_ndarray(np.clip(restored, 0, 1), _WORKING)
        made = made.reformat(format=encoder.pix_fmt, src_colorspace=space, dst_colorspace=space)
        made.pts, made.time_base = frame.pts, frame.time_base
        made.colorspace, made.color_range = frame.colorspace, frame.color_range
        if frame.rotation:
            made.set_display_rotation(frame.rotation)
        return made


class _Frames:
    """Restores frames, each with what the frames before it left behind."""

    def __init__(self, restorer: Restorer, damping: float) -> None:
        self.engine, self.damping = restorer.engine, damping
        self.fixed = dict(self.engine.conditioning)
        self.running: dict[str, torch.Tensor] = {}
        self.last: Array | None = None
        self.gathers = bool(getattr(self.engine.model, "has_statistics", False))

    def restored(self, pixels: Array) -> Array:
        """Restore ``(h, w, 3)`` float32 samples in [0, 1]."""
        if self.gathers:
            self._gather(pixels)
        out = np.empty_like(pixels)
        try:
            self.engine.restore(pixels, out)
        finally:
            self.engine.conditioning = self.fixed
        if self.damping and self.last is not None and self.last.shape == out.shape:
            out += self._still(out) * (self.last - out)
        self.last = out
        return out

    def _gather(self, pixels: Array) -> None:
        """Let the engine use the average of the last frames' statistics."""
        own = self.engine.collect_statistics(pixels).statistics
        for name, value in own.items():
            before = self.running.get(name, value)
            self.running[name] = torch.lerp(before, value, _SHARE_OF_NEW)
        self.engine.conditioning = {**self.running, **self.fixed}

    def _still(self, out: Array) -> Array:
        """Return how much of the last result counts at each pixel, ``(h, w, 1)``."""
        assert self.last is not None
        change = torch.from_numpy(np.abs(out - self.last).mean(2))[None, None]
        mean = F.avg_pool2d(change, 5, 1, 2, count_include_pad=False)[0, 0]
        weight = self.damping * torch.exp(-((mean / _STILL) ** 2))
        return np.asarray(weight.numpy()[..., None])


def _colour_space(frame: Any) -> str:
    tagged = {1: "itu709", 5: "itu601", 6: "itu601", 9: "bt2020", 10: "bt2020"}
    return tagged.get(int(frame.colorspace), "itu709" if frame.height >= _HD_HEIGHT else "itu601")


def _reason(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())


def _av() -> Any:
    try:
        import av  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise MissingExtraError("video", "video") from error
    return av
