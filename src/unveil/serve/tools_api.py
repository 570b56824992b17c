"""The routes that make something to restore, and measure what came of it."""

import math
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from unveil.degradations import parse
from unveil.errors import InputError, MissingExtraError
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_uint8, to_unit
from unveil.imaging.image import Array
from unveil.metrics import psnr, ssim
from unveil.serve.engine import Engine
from unveil.serve.error_responses import UPLOAD_ERRORS, described, file_of, sends
from unveil.serve.forms import MULTIPART, DegradeForm, SampleInfo, ScoreForm, Scores
from unveil.serve.preview import reduced
from unveil.serve.samples import CLEAN, SAMPLES, SampleImage, png
from unveil.serve.uploads import check_form, result, upload

_KEPT = {"Cache-Control": "public, max-age=86400"}


def tools_router(engine: Engine) -> APIRouter:
    """Return the routes ``/v1/degrade``, ``/v1/score`` and ``/v1/samples``."""
    router = APIRouter(prefix="/v1", tags=["tools"], dependencies=[Depends(check_form)])
    read = partial(load_rgb, max_megapixels=engine.settings.max_megapixels)

    @router.post("/degrade", **sends(file_of("image/png"), *UPLOAD_ERRORS))
    async def degrade(request: Request, form: Annotated[DegradeForm, MULTIPART]) -> Response:
        """Add noise, rain, haze and more to a clean picture; the answer is a PNG of 8 bits."""
        pipeline = parse(form.degradation or "")
        async with upload(engine, form.image) as source:

            def work(_: object) -> bytes:
                clean = _reduced(read(source), form.max_megapixels)
                if not form.degradation:
                    return png(clean)
                return png(pipeline(to_unit(clean), np.random.default_rng(form.seed)))

            made = await result(request, engine.submit_work(source, work))
        return Response(made, media_type="image/png")

    @router.post("/score", responses=described(*UPLOAD_ERRORS))
    async def score(request: Request, form: Annotated[ScoreForm, MULTIPART]) -> Scores:
        """Measure PSNR and SSIM of a picture against a clean one."""
        async with upload(engine, form.image) as picture, upload(engine, form.reference) as clean:

            def work(_: object) -> Scores:
                with engine.store.holding(clean):
                    return scores(read(picture), read(clean))

            return await result(request, engine.submit_work(picture, work))

    @router.get("/samples", response_model=list[SampleInfo], responses=described(401, 403))
    async def samples() -> list[SampleImage]:
        """List pictures to try: degraded ones that a network here restores, and clean ones."""
        return [s for s in (*SAMPLES, *CLEAN) if s.task in engine.catalogue.tasks]

    @router.get("/samples/{sample}", **sends(file_of("image/png", "image/jpeg"), 401, 403, 404))
    async def sample(sample: str) -> Response:
        """Return a picture to try, as its file."""
        found = _sample(sample)
        made = await run_in_threadpool(found.content)
        kind = "image/png" if found.degradation else "image/jpeg"
        return Response(made, media_type=kind, headers=_KEPT)

    @router.get("/samples/{sample}/thumbnail", **sends(file_of("image/png"), 401, 403, 404))
    async def thumbnail(sample: str) -> Response:
        """Return a small PNG of a picture to try."""
        made = await run_in_threadpool(_sample(sample).thumbnail)
        return Response(made, media_type="image/png", headers=_KEPT)

    return router


def scores(picture: Array, clean: Array) -> Scores:
    """Measure 8-bit RGB against a clean picture.

    Args:
        picture: ``(h, w, 3)`` uint8.
        clean: ``(h, w, 3)`` uint8.

    Raises:
        InputError: If the two are of different size.
    """
    if picture.shape != clean.shape:
        sizes = [f"{p.shape[1]}×{p.shape[0]}" for p in (picture, clean)]
        raise InputError(f"image is {sizes[0]}, reference {sizes[1]}; expected the same size")
    level = psnr(picture, clean, data_range=255)
    similarity: float | None
    try:
        similarity = ssim(picture, clean, data_range=255)
    except (InputError, MissingExtraError):
        similarity = None
    return Scores(psnr=level if math.isfinite(level) else None, ssim=similarity)


def _reduced(picture: Array, max_megapixels: float) -> Array:
    height, width = picture.shape[:2]
    block = math.sqrt(height * width / (max_megapixels * 1e6))
    return reduced(to_uint8(picture), math.ceil(min(max(block, 1), max(height, width))))


def _sample(name: str) -> SampleImage:
    for sample in (*SAMPLES, *CLEAN):
        if sample.id == name:
            return sample
    raise HTTPException(404, "no such sample; see /v1/samples")
