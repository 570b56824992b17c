"""Raw photographs: developed as the camera would, to 16-bit sRGB.

LibRaw unpacks and interpolates the sensor's values; white balance, highlights, exposure and the
tone curve are applied here, because LibRaw clips highlights at the white balance.

Source: DNG 1.7 (BaselineExposure, DefaultCrop, WhiteLevel), IEC 61966-2-1 (sRGB).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from unveil.errors import ImageFileError, InputError, MissingExtraError
from unveil.imaging._vips import reason, vips
from unveil.imaging.convert import to_integers, to_unit
from unveil.imaging.formats import RAW, check_size
from unveil.imaging.image import Array, Image
from unveil.imaging.raw_tags import RawTags, read_tags
from unveil.imaging.scratch import allocate, release

WhiteBalance = Literal["camera", "auto", "daylight"]
Highlights = Literal["keep", "clip"]
_ROWS = 128
# Part of a channel's range, below its end, over which it counts as more and more saturated.
_SATURATING = 0.06
# Linear value above which highlights are compressed.
_SHOULDER = 0.8
# Lossless JPEG makes no photograph smaller than this many pixels per byte.
_MOST_PIXELS_PER_BYTE = 64
_MOST_STOPS = 4.0
# LibRaw's codes for how the picture is to be turned, as quarter turns of `numpy.rot90`.
_TURNS = {0: 0, 3: 2, 5: 1, 6: 3}


@dataclass(frozen=True)
class Develop:
    """How a raw photograph is developed.

    Attributes:
        white_balance: As the camera set it, estimated from the picture, or for daylight.
        highlights: Keep what the sensor saw above white, compressed; or clip it.
        exposure: Stops brighter, −4 to 4; beside what a DNG file specifies.

    Raises:
        InputError: If a value is none of these.
    """

    white_balance: WhiteBalance = "camera"
    highlights: Highlights = "keep"
    exposure: float = 0.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("white-balance", self.white_balance, get_args(WhiteBalance)),
            ("highlights", self.highlights, get_args(Highlights)),
        ):
            if value not in known:
                raise InputError(f"develop {name}={value}: expected {' or '.join(known)}")
        if not -_MOST_STOPS <= self.exposure <= _MOST_STOPS:
            raise InputError(f"develop exposure={self.exposure}: expected -4 to 4 stops")

    @classmethod
    def parse(cls, text: str) -> "Develop":
        """Return what a text such as ``"white-balance=auto,exposure=0.5"`` says.

        Raises:
            InputError: If a name or a value is unknown.

        >>> Develop.parse("highlights=clip").highlights
        'clip'
        """
        given: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            key = name.strip().replace("-", "_")
            if key not in cls.__dataclass_fields__:
                known = ", ".join(n.replace("_", "-") for n in cls.__dataclass_fields__)
                raise InputError(f"develop {part!r}: expected NAME=VALUE with a name of {known}")
            given[key] = value.strip()
        try:
            return cls(**given | {"exposure": float(given.get("exposure", 0.0))})
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"develop exposure={given['exposure']}: expected a number") from error


def read_raw(path: Path, max_megapixels: float, develop: Develop | None = None) -> Image:
    """Read and develop a raw photograph; see `unveil.imaging.read_image`.

    Args:
        path: Of the file: DNG, or what LibRaw supports of other makers.
        max_megapixels: Largest picture accepted.
        develop: How it is developed.

    Raises:
        ImageFileError: If it is damaged, too large or of a kind that LibRaw does not know.
        MissingExtraError: Without the extra `raw`.
    """
    try:
        import rawpy  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingExtraError("developing raw photographs", "raw") from error
    tags = read_tags(path)
    if tags.truncated:
        raise ImageFileError(f"{path}: damaged or truncated: it ends before its samples do")
    try:
        with path.open("rb") as file, rawpy.RawPy() as raw:
            raw.open_buffer(file)
            sizes = raw.sizes
            check_size(path, sizes.raw_width, sizes.raw_height, max_megapixels)
            if sizes.raw_width * sizes.raw_height > _MOST_PIXELS_PER_BYTE * path.stat().st_size:
                raise ImageFileError(
                    f"{path}: damaged or truncated: it is too small for the "
                    f"{sizes.raw_width}×{sizes.raw_height} pixels that it claims"
                )
            raw.unpack()
            pixels = _developed(rawpy, raw, tags, develop or Develop())
    except (rawpy.LibRawError, rawpy.NotSupportedError, MemoryError, ValueError) as error:
        raise ImageFileError(f"{path}: damaged or unsupported raw: {_said(error)}") from error
    return Image(
        pixels=pixels, format=RAW, bits=16, metadata=tags.metadata(_profile()),
        left_out=tags.left_out,
    )  # fmt: skip


def _said(error: Exception) -> str:
    argument = error.args[0] if error.args else ""
    return argument.decode("utf-8", "replace") if isinstance(argument, bytes) else reason(error)


def _profile() -> bytes:
    return bytes(vips().Image.profile_load("srgb"))


def _developed(rawpy: Any, raw: Any, tags: RawTags, develop: Develop) -> Array:
    """Return ``(h, w, 1 or 3)`` uint16, upright."""
    options: dict[str, Any] = {
        "use_camera_wb": develop.white_balance == "camera",
        "use_auto_wb": develop.white_balance == "auto",
        "user_sat": _white_level(raw, tags),
    }
    flip = raw.sizes.flip  # forgotten once it has been set to none
    plain = raw.num_colors not in (1, 3) or not np.any(raw.color_matrix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = raw.postprocess(
            output_color=rawpy.ColorSpace.sRGB if plain else rawpy.ColorSpace.raw,
            highlight_mode=rawpy.HighlightMode.Clip if plain else rawpy.HighlightMode.Ignore,
            gamma=(1, 1),
            output_bps=16,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            user_flip=0,
            **{name: value for name, value in options.items() if value is not None},
        )
    stored = _cropped(raw, stored)
    gains = np.ones(3) if plain else _gains(raw, develop.white_balance)
    matrix = np.eye(3) if plain or raw.num_colors == 1 else np.asarray(raw.color_matrix)[:3, :3]
    scale = 2.0 ** np.clip(tags.baseline_exposure + develop.exposure, -_MOST_STOPS, _MOST_STOPS)
    out = allocate(stored.shape, np.uint16)
    for top in range(0, len(stored), _ROWS):
        rows = slice(top, top + _ROWS)
        light = to_unit(stored[rows]) * _levels(rawpy, raw)[: stored.shape[2]]
        out[rows] = _toned(light, gains, matrix, float(scale), develop.highlights)
        release(out)
    return np.asarray(np.rot90(out, _TURNS.get(flip, 0)))


def _toned(light: Array, gains: Array, matrix: Array, scale: float, highlights: str) -> Array:
    """Map what LibRaw gives to encoded samples.

    Args:
        light: ``(h, w, c)`` linear camera colours, white-balanced so that none is clipped: the
            channel of the largest gain saturates at 1.
        gains: Of the white balance.
        matrix: From white-balanced camera colours to linear sRGB.
        scale: Of the exposure.
        highlights: As in `Develop`.
    """
    if light.shape[2] == 1:
        gains, matrix = np.ones(1), np.eye(1)
    ends = (gains / gains.max()).astype(np.float32)
    if highlights == "keep":
        light = _saturated(light, ends)
    light = light * np.float32(gains.max() / gains.min())
    if highlights == "clip":
        light = np.minimum(light, 1)
    linear = np.maximum(light @ matrix.T.astype(np.float32) * np.float32(scale), 0)
    if highlights == "keep":
        over = np.maximum(linear - _SHOULDER, 0) / (1 - _SHOULDER)
        linear = np.minimum(linear, _SHOULDER) + (1 - _SHOULDER) * (1 - np.exp(-over))
    linear = np.minimum(linear, 1)
    encoded = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055
    )
    return to_integers(encoded, np.uint16)


def _saturated(light: Array, ends: Array) -> Array:
    """Raise channels that are at their end to the mean of the others; all of them: to neutral.

    A saturated channel is known to have been at least as bright as it is, so it is never lowered.
    """
    share = np.clip((light / ends - 1) / _SATURATING + 1, 0, 1)
    if light.shape[2] == 1:
        return light
    others = (light.sum(-1, keepdims=True) - light) / 2
    light = light + share * np.maximum(others - light, 0)
    all_of_them = share.min(-1, keepdims=True)
    return np.asarray(light + all_of_them * (light.max(-1, keepdims=True) - light))


def _gains(raw: Any, white_balance: WhiteBalance) -> Array:
    """Return red's, green's and blue's gain, as LibRaw applied them."""
    given = {
        "camera": raw.camera_whitebalance,
        "auto": raw.auto_whitebalance or (),
        "daylight": raw.daylight_whitebalance,
    }[white_balance]
    gains = np.asarray(given, float)[:3]
    if len(gains) < 3 or not np.all(gains > 0):
        gains = np.asarray(raw.daylight_whitebalance, float)[:3]
    return gains if np.all(gains > 0) else np.ones(3)


def _levels(rawpy: Any, raw: Any) -> Array:
    """Return what makes up for black that LibRaw subtracts of samples but not of their end.

    It does so where a file of whole colours gives one black level for each.
    """
    black, white = np.asarray(raw.black_level_per_channel, float), raw.white_level
    given = np.all(black[:3] > 0) and np.all(black[:3] < white)
    if raw.raw_type != rawpy.RawType.Stack or black[3] or not given:
        return np.ones(3, np.float32)
    return np.asarray(white / (white - black[:3]), np.float32)


def _white_level(raw: Any, tags: RawTags) -> int | None:
    """Return the sample that stands for white where a DNG of 16 bits does not give it.

    Such files hold what a sensor of 12 or 14 bits saw, more often than 16.
    """
    if not tags.lacks_white or raw.white_level != 65535 or raw.raw_image is None:
        return None
    return int(2 ** int(raw.raw_image.max()).bit_length() - 1)


def _cropped(raw: Any, stored: Array) -> Array:
    """Cut to the size that the camera says is the picture's, where it says one."""
    sizes = raw.sizes
    top, left = sizes.crop_top_margin - sizes.top_margin, sizes.crop_left_margin - sizes.left_margin
    height, width = sizes.crop_height, sizes.crop_width
    if not height or not width or min(top, left) < 0:
        return stored
    if top + height > stored.shape[0] or left + width > stored.shape[1]:
        return stored
    return stored[top : top + height, left : left + width]
