"""The HTTP API for single pictures: restore, inspect, models."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from unveil.imaging.formats import BMP, FORMATS, HEIC, JXL, PPM, Format
from unveil.inference.diagnosis import DegradationEstimate
from unveil.serve.catalogue import Model
from unveil.serve.engine import Engine
from unveil.serve.error_responses import UPLOAD_ERRORS, described, sends
from unveil.serve.forms import MULTIPART, InspectForm, Models, RestoreForm, Seen, ServerLimits
from unveil.serve.results import RESULT, result_file
from unveil.serve.uploads import check_form, result, upload


def api_router(engine: Engine) -> APIRouter:
    """Return the routes below ``/v1`` for single pictures; `engine` does the work."""
    router = APIRouter(prefix="/v1", tags=["api"], dependencies=[Depends(check_form)])

    @router.post("/restore", **sends(RESULT, *UPLOAD_ERRORS))
    async def restore(request: Request, form: Annotated[RestoreForm, MULTIPART]) -> Response:
        """Restore a picture: the same kind of file comes back, with its metadata."""
        options = form.options()
        engine.check(options)
        async with upload(engine, form.image) as source:
            restored = await result(request, engine.submit(source, options))
            return await result_file(engine, restored, form)

    @router.post("/inspect", responses=described(404, *UPLOAD_ERRORS))
    async def inspect(request: Request, form: Annotated[InspectForm, MULTIPART]) -> Seen:
        """Say whether a picture is noisy (and how much), rainy, hazy or clean."""
        offer = inspector(engine, form.model)
        async with upload(engine, form.image) as source:
            return seen_in(await result(request, engine.submit_inspection(source, offer)))

    @router.get("/models", responses=described(401, 403))
    async def models() -> Models:
        """List the networks on offer, the default first."""
        settings, catalogue = engine.settings, engine.catalogue
        offers = catalogue.offers
        if not settings.local:
            offers = [o.model_copy(update={"file": o.file and Path(o.file).name}) for o in offers]
        limits = ServerLimits(
            max_bytes=settings.max_bytes,
            max_megapixels=settings.max_megapixels,
            keep_s=settings.keep_s,
            formats=[kind.name for kind in FORMATS if _is_readable(kind)],
            local=settings.local,
        )
        tasks = catalogue.tasks
        choices: dict[str, str] = {task: catalogue.choose(None, task).id for task in tasks}
        return Models(models=offers, tasks=list(tasks), choices=choices, limits=limits)

    return router


def inspector(engine: Engine, model: str | None = None) -> Model:
    """Return the network that says what is wrong with a picture.

    Args:
        engine: Offers networks.
        model: Id of a network; None leaves it open.

    Raises:
        HTTPException: If it cannot, or none can.
    """
    offer = engine.catalogue.inspector(model)
    if offer is None:
        which = "no model here can" if model is None else f"{model} cannot"
        raise HTTPException(404, f"{which} say what it sees; see /v1/models")
    return offer


def seen_in(found: DegradationEstimate) -> Seen:
    """Return a degradation estimate as clients get it."""
    return Seen(
        verdict=list(found.verdict),
        probabilities={cause: round(p, 4) for cause, p in found.probabilities.items()},
        sigma_255=round(found.sigma_255, 1),
    )


def _is_readable(kind: Format) -> bool:
    needed = {HEIC: "pillow_heif", BMP: "PIL", JXL: "imagecodecs", PPM: "netpbmfile"}.get(kind)
    return needed is None or find_spec(needed) is not None
