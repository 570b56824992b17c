"""The routes that make something to restore, and measure what came of it."""

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from unveil.degradations import parse
from unveil.errors import InputError, MissingExtraError
from unveil.imaging import load_rgb
from unveil.imaging.convert import to_uint8, to_unit
from unveil.imaging.image import Array
from unveil.metrics import psnr, ssim
from unveil.serve.answers import described
from unveil.serve.engine import Engine, naming
from unveil.serve.forms import DegradeForm, SampleInfo, ScoreForm, Scores
from unveil.serve.preview import reduced
from unveil.serve.samples import CLEAN, SAMPLES, Sample, png, sample_named
from unveil.serve.uploads import check_form, named, result, upload

_UPLOAD_ERRORS = (400, 401, 403, 408, 413, 415, 422, 503, 504)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": _BINARY}}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": _BINARY, "image/jpeg": _BINARY}}
}
_KEPT = {"Cache-Control": "public, max-age=86400"}


def tools_router(engine: Engine) -> APIRouter:
    """Return the routes ``/v1/degrade``, ``/v1/score`` and ``/v1/samples``.

    Args:
        engine: Does the work.
    """
    router = APIRouter(prefix="/v1", tags=["tools"])

    @router.post(
        "/degrade", response_class=Response, responses={**_PNG, **described(*_UPLOAD_ERRORS)}
    )
    async def degrade(
        request: Request, form: Annotated[DegradeForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Add noise, rain, haze and more to a clean picture; the answer is a PNG of 8 bits."""
        await check_form(request)
        pipeline = parse(form.degradation or "")
        async with upload(engine, form.image) as held:
            source = held.source

            def work() -> bytes:
                clean = _reduced(engine, source, form.max_megapixels)
                if not form.degradation:
                    return png(clean)
                return png(pipeline(to_unit(clean), np.random.default_rng(form.seed)))

            held.job = job = engine.submit_work(source, work)
            made = await result(request, job, engine.settings.timeout_s)
        return Response(made, media_type="image/png")

    @router.post("/score", responses=described(*_UPLOAD_ERRORS))
    async def score(
        request: Request, form: Annotated[ScoreForm, Form(media_type="multipart/form-data")]
    ) -> Scores:
        """Measure PSNR and SSIM of a picture against a clean one."""
        await check_form(request)
        async with upload(engine, form.image) as held, upload(engine, form.reference) as other:

            def work() -> Scores:
                with naming(other.source, named(form.reference)):
                    clean = load_rgb(other.source, max_megapixels=engine.settings.max_megapixels)
                picture = load_rgb(held.source, max_megapixels=engine.settings.max_megapixels)
                return scores(picture, clean)

            held.job = other.job = job = engine.submit_work(held.source, work)
            return await result(request, job, engine.settings.timeout_s)

    @router.get("/samples", responses=described(401, 403))
    async def samples() -> list[SampleInfo]:
        """List pictures to try: degraded ones that a network here restores, and clean ones."""
        tasks = engine.tasks()
        return [
            SampleInfo(
                id=s.id, title=s.title, about=s.about, degradation=s.degradation, task=s.task
            )
            for s in (*SAMPLES, *CLEAN)
            if s.task in tasks
        ]

    @router.get(
        "/samples/{sample}",
        response_class=Response,
        responses={**_FILE, **described(401, 403, 404)},
    )
    async def sample(sample: str) -> Response:
        """Return a picture to try, as its file."""
        found = _sample(sample)
        made = await run_in_threadpool(found.content)
        kind = "image/png" if found.degradation else "image/jpeg"
        return Response(made, media_type=kind, headers=_KEPT)

    @router.get(
        "/samples/{sample}/thumbnail",
        response_class=Response,
        responses={**_PNG, **described(401, 403, 404)},
    )
    async def thumbnail(sample: str) -> Response:
        """Return a small PNG of a picture to try."""
        made = await run_in_threadpool(_sample(sample).thumbnail)
        return Response(made, media_type="image/png", headers=_KEPT)

    return router


def scores(picture: Array, clean: Array) -> Scores:
    """Measure 8-bit RGB against a clean picture.

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


def _reduced(engine: Engine, source: Path, max_megapixels: float) -> Array:
    picture = load_rgb(source, max_megapixels=engine.settings.max_megapixels)
    pixels = picture.shape[0] * picture.shape[1]
    return reduced(to_uint8(picture), max(1, math.ceil(math.sqrt(pixels / (max_megapixels * 1e6)))))


def _sample(name: str) -> Sample:
    found = sample_named(name)
    if found is None:
        raise HTTPException(404, "no such sample; see /v1/samples")
    return found
