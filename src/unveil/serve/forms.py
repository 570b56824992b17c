"""What clients send and receive: the forms and answers of the API."""

from typing import Annotated, Any, Literal, cast

from fastapi import Form, UploadFile
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from unveil.bounded import SMALLEST_TILE, STRENGTHS
from unveil.inference.options import RestoreOptions, TaskChoice, parse_tile
from unveil.inference.strength import Strength
from unveil.serve.catalogue import Model

FormatName = Literal[
    "jpeg", "jpg", "png", "tiff", "tif", "webp", "avif", "heic", "heif", "bmp", "jxl", "ppm",
]  # fmt: skip
Share = Annotated[float, Field(ge=STRENGTHS[0], le=STRENGTHS[1])]
State = Literal["received", "waiting", "running", "done", "failed", "cancelled"]

MULTIPART = Form(media_type="multipart/form-data")
_TENS, _ONES = divmod(SMALLEST_TILE, 10)
_TILES = f"^(auto|off|{_TENS}[{_ONES}-9]|[{_TENS + 1}-9][0-9]|[1-9][0-9]{{2,4}})$"
_STRENGTHS = {"strength", "strength_luma", "strength_chroma"}
_IMAGE = "JPEG, PNG, TIFF, WebP, AVIF, HEIC, BMP, JPEG XL, PPM or a raw photograph."
# Left out of a form; the document has no word for it.
Unset = SkipJsonSchema[None]
# Generators of clients know files by their format, which FastAPI leaves out.
File = Annotated[
    UploadFile,
    WithJsonSchema(
        {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    ),
]


def _unset(description: str) -> Any:
    return Field(default=None, description=description)


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StrengthForm(_Form):
    """How much of the change is applied, and what the result is stored as."""

    strength: Share = Field(default=1.0, description="Share of the change that is applied.")
    strength_luma: Share | Unset = _unset("The same of luminance; default: as strength.")
    strength_chroma: Share | Unset = _unset("The same of colour; default: as strength.")
    format: FormatName | Unset = _unset("Of the result; default: as the upload.")
    quality: Annotated[int, Field(ge=1, le=100)] | Unset = _unset("Of lossy formats.")

    def shares(self) -> Strength:
        """Return the strength of luminance and of colour."""
        return RestoreOptions(**self.model_dump(include=_STRENGTHS)).applied


class ResultForm(StrengthForm):
    """How a result of a job is written."""

    mask: File | Unset = _unset(
        "Picture of any size and the same proportions: restored where white, as it was where black."
    )


class RunForm(_Form):
    """What a network does with a picture."""

    model: str | Unset = _unset("Of /v1/models; default: the server's choice.")
    task: str = Field(
        default="auto", description="What to do; auto lets the network see for itself."
    )
    tile: str = Field(
        default="auto", pattern=_TILES, description="auto, off or a tile's side in pixels."
    )
    ensemble: bool = Field(
        default=False, description="Average over 8 flips and rotations: 8 times slower."
    )

    def options(self) -> RestoreOptions:
        """Return the options of the restorer; the model is an id of the server's."""
        task, tile = cast("TaskChoice", self.task), parse_tile(self.tile)
        return RestoreOptions(model=self.model, task=task, tile=tile, ensemble=self.ensemble)


class RestoreForm(StrengthForm, RunForm):
    """What a client sends to have a picture restored."""

    image: File = Field(description=_IMAGE)


class JobForm(RunForm):
    """What a client sends to have many pictures restored."""

    image: list[File] = Field(min_length=1, description=f"{_IMAGE} Repeat the field for each file.")
    start: bool = Field(
        default=True, description="Whether to restore at once, or when /start is called."
    )


class InspectForm(_Form):
    """What a client sends to have a picture looked at."""

    image: File = Field(description=_IMAGE)
    model: str | Unset = _unset("Of /v1/models; default: the server's choice.")


class DegradeForm(_Form):
    """What a client sends to have a clean picture degraded."""

    image: File = Field(description=_IMAGE)
    degradation: str | Unset = Field(
        default=None,
        max_length=500,
        description="As for `unveil degrade`, such as noise:sigma_255=25; default: none, which "
        "gives the picture as 8 bits.",
    )
    seed: int = Field(default=0, ge=0, le=2**31, description="Of what is drawn at random.")
    max_megapixels: float = Field(
        default=16, gt=0, le=16, description="Larger pictures are reduced by means over blocks."
    )


class ScoreForm(_Form):
    """What a client sends to have a picture measured."""

    image: File = Field(description="The picture; compared as 8-bit RGB.")
    reference: File = Field(description="The clean picture, of the same size.")


class Scores(BaseModel):
    """How near a picture is to its reference, as 8-bit RGB."""

    psnr: float | None = Field(description="In dB; null where both are equal.")
    ssim: float | None = Field(description="Null where either side is below 11 pixels.")


class Seen(BaseModel):
    """What a network sees in a picture."""

    verdict: list[str] = Field(description="Degradations more likely than not, or clean.")
    probabilities: dict[str, float] = Field(description="Of each degradation, 0 to 1.")
    sigma_255: float = Field(description="Standard deviation of the noise, on the 0-255 scale.")


class ServerLimits(BaseModel):
    """What this server takes and keeps."""

    max_bytes: int = Field(description="Of one file.")
    max_megapixels: float
    keep_s: float = Field(description="Seconds that a job is kept after its last use.")
    formats: list[str] = Field(description="Kinds of files that are read and written.")
    local: bool = Field(description="Whether only this machine can reach the server.")


class Models(BaseModel):
    """All networks on offer, and what they do together."""

    models: list[Model]
    tasks: list[str]
    choices: dict[str, str] = Field(description="By task, the network taken when none is named.")
    limits: ServerLimits


class SampleInfo(BaseModel):
    """A picture to try."""

    id: str
    title: str
    about: str
    degradation: str = Field(description="What was done to it; empty for a clean one.")
    task: str = Field(description="What a network must do to restore it.")


class JobImage(BaseModel):
    """One picture of a job."""

    name: str
    state: State
    error: str | None = Field(default=None, description="Why it failed, in one line.")
    share: float = Field(description="Of the work that is done, 0 to 1.")
    position: int = Field(description="Pictures of the server's queue that come first.")
    eta_s: float | None = Field(description="Seconds until it is done, where that is known.")
    width: int | None = Field(default=None, description="In pixels, upright; once restored.")
    height: int | None = None
    model: str | None = Field(default=None, description="Network that was used.")
    task: str | None = None
    tiles: int | None = Field(default=None, description="In how many parts it was done.")
    seconds: float | None = Field(default=None, description="Time the network took.")
    version: int = Field(description="Counts results: each run makes a new one.")


class JobStatus(BaseModel):
    """A job: pictures that are restored one after the other."""

    id: str
    state: State = Field(description="running while any picture waits or is restored.")
    images: list[JobImage]
