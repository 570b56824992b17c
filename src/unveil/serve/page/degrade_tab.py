"""The second tab: add noise, rain and haze to a clean photo, restore it, measure."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from unveil.degradations import parse
from unveil.errors import CancelledError, InputError, MissingExtraError, UnveilError
from unveil.imaging import load_rgb
from unveil.imaging.image import Array
from unveil.metrics import psnr, ssim
from unveil.serve.engine import Options, plain_message
from unveil.serve.page import view
from unveil.serve.page.desk import Desk, Photo
from unveil.serve.page.samples import CLEAN, png, sample_named
from unveil.serve.page.tab import CLICKS, DROPS, TICK_S, Tab, progress_of

_TASK_NAMES = {"denoise": "noise", "derain": "rain", "dehaze": "haze"}
_PAIRS = ("Degraded | Restored", "Clean | Restored", "Clean | Degraded")

Score = tuple[str, float, float | None]


@dataclass(frozen=True)
class Parts:
    """What of the tab changes."""

    drop: gr.HTML
    samples: gr.HTML
    work: gr.Column
    view: gr.HTML
    pair: gr.Radio
    scores: gr.HTML
    status: gr.HTML
    progress: gr.HTML
    go: gr.Button
    cancel: gr.Button

    def all(self) -> list[Any]:
        """Return them in the order in which `DegradeTab.draw` gives their values."""
        return list(vars(self).values())


class DegradeTab(Tab):
    """The tab's controls and what they do."""

    def build(self, page: gr.Blocks) -> None:
        """Lay the tab out and connect it."""
        drop = gr.HTML(js_on_load=DROPS, elem_classes="unveil-plain")
        samples = gr.HTML(js_on_load=CLICKS, elem_classes="unveil-plain")
        with gr.Column(visible=False) as work, gr.Row(elem_classes="unveil-work"):
            with gr.Column(scale=5, min_width=320):
                viewer = gr.HTML(elem_classes="unveil-plain")
                pair = gr.Radio(list(_PAIRS), value=_PAIRS[2], show_label=False, container=False)
            with gr.Column(scale=2, min_width=280, elem_classes="unveil-side"):
                sliders = [
                    gr.Slider(0, 75, 25, step=1, label="Noise, σ of 255", buttons=[]),
                    gr.Slider(0, 100, 0, step=1, label="Rain, %", buttons=[]),
                    gr.Slider(0, 100, 0, step=1, label="Haze, %", buttons=[]),
                ]
                gr.HTML(view.abilities(removed(self.engine.tasks())), elem_classes="unveil-plain")
                progress = gr.HTML(elem_classes="unveil-plain")
                go = gr.Button("Restore", variant="primary", size="lg", elem_id="unveil-degrade-go")
                cancel = gr.Button("Cancel", visible=False)
                status = gr.HTML(elem_classes="unveil-plain")
                scores = gr.HTML(elem_classes="unveil-plain")
        parts = Parts(drop, samples, work, viewer, pair, scores, status, progress, go, cancel)
        self._connect(page, parts, sliders)

    def _connect(self, page: gr.Blocks, parts: Parts, sliders: list[gr.Slider]) -> None:
        every: dict[str, Any] = {
            "outputs": parts.all(), "show_progress": "hidden", "api_visibility": "private",
        }  # fmt: skip
        page.load(self.show, parts.pair, queue=False, **every)
        parts.drop.upload(self.degrade, sliders, concurrency_limit=None, **every)
        parts.samples.select(self.try_sample, sliders, concurrency_limit=None, **every)
        for slider in sliders:
            # The keyboard changes a slider without ever releasing it.
            slider.change(
                self.degrade, sliders, trigger_mode="always_last", concurrency_limit=None, **every
            )
        parts.pair.input(self.show, parts.pair, queue=False, **every)
        parts.go.click(self.restore, None, concurrency_limit=None, **every)
        parts.cancel.click(self.cancel, None, queue=False, **every)

    def draw(self, desk: Desk, pair: str, progress: str = "", busy: bool = False) -> list[Any]:
        """Return the values of all `Parts` as the desk stands."""
        degraded = desk.degraded
        restored = degraded is not None and degraded.restored is not None
        if not restored:
            pair = _PAIRS[2]
        return [
            view.drop(desk, self.engine.settings.max_bytes, purpose="degrade", many=False),
            gr.HTML(view.samples(CLEAN), visible=desk.clean is None),
            gr.Column(visible=degraded is not None),
            self._view(desk, pair),
            gr.Radio(value=pair, visible=restored),
            view.scores(desk.scores),
            view.status(degraded),
            progress,
            gr.Button(visible=not busy, variant="secondary" if restored else "primary"),
            gr.Button(visible=busy),
        ]

    def _view(self, desk: Desk, pair: str) -> str:
        clean, degraded = desk.clean, desk.degraded
        if clean is None or degraded is None:
            return ""
        addresses = {
            "Clean": f"page/seen/{clean.key}/before",
            "Degraded": f"page/seen/{degraded.key}/before",
            "Restored": f"page/seen/{degraded.key}/after?{degraded.version}",
        }
        left, right = pair.split(" | ")
        return view.pair(clean, (left, addresses[left]), (right, addresses[right]))

    def show(self, pair: str, request: gr.Request) -> list[Any]:
        """Draw the tab."""
        return self.draw(self.desk(request), pair)

    async def try_sample(
        self, sigma: float, rain: float, haze: float, event: gr.EventData, request: gr.Request
    ) -> list[Any]:
        """Take a sample as the clean photo."""
        sample = sample_named(event.key, CLEAN)
        desk = self.desk(request)
        if sample is not None:
            try:
                await asyncio.to_thread(self._take_sample, desk, sample)
            except UnveilError as error:
                raise view.shown(plain_message(error, self.engine.folder)) from error
        return await self.degrade(sigma, rain, haze, request)

    def _take_sample(self, desk: Desk, sample: Any) -> None:
        with sample.open() as stream:
            self.desks.set_clean(desk, sample.name, stream)

    async def degrade(
        self, sigma: float, rain: float, haze: float, request: gr.Request
    ) -> list[Any]:
        """Degrade the clean photo as the sliders say."""
        desk = self.desk(request)
        if desk.clean is not None:
            description = describe(sigma, rain / 100, haze / 100)
            try:
                await asyncio.to_thread(self._degrade, desk, desk.clean, description)
            except UnveilError as error:
                raise view.shown(plain_message(error, self.engine.folder)) from error
        return self.draw(desk, _PAIRS[2])

    def _degrade(self, desk: Desk, clean: Photo, description: str) -> None:
        truth = load_rgb(clean.source)
        picture = parse(description)(
            (truth / np.float32(255)).astype(np.float32), np.random.default_rng(0)
        )
        stem = clean.name.rpartition(".")[0] or clean.name
        photo = self.desks.receive(f"{stem}-degraded.png", png(picture))
        older, desk.degraded = desk.degraded, photo
        desk.scores = [_score("Degraded", load_rgb(photo.source), truth)]
        if older is not None:
            self.desks.discard(older)

    def cancel(self, request: gr.Request) -> list[Any]:
        """Stop restoring."""
        desk = self.desk(request)
        if desk.trial is not None:
            desk.trial.cancel()
        return self.draw(desk, _PAIRS[0], view.progress("Stopping…", None), busy=True)

    async def restore(self, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Restore the degraded photo and measure both against the clean one."""
        desk = self.desk(request)
        photo = desk.degraded
        if photo is None or desk.clean is None:
            yield self.draw(desk, _PAIRS[2])
            return
        try:
            desk.trial = photo.job = job = self.engine.submit(photo.source, Options())
            while not job.future.done():
                text, share = progress_of(job)
                yield self.draw(desk, _PAIRS[0], view.progress(text, share), busy=True)
                await asyncio.sleep(TICK_S)
            await asyncio.to_thread(photo.finish, job.wait(0), Options())
            if photo is desk.degraded:
                await asyncio.to_thread(self._measure, desk, desk.clean, photo)
        except CancelledError:
            pass
        except UnveilError as error:
            photo.problem = plain_message(error, self.engine.folder)
        yield self.draw(desk, _PAIRS[0])

    def _measure(self, desk: Desk, clean: Photo, photo: Photo) -> None:
        assert photo.restored is not None
        score = _score("Restored", photo.restored.after(), load_rgb(clean.source))
        desk.scores = [*desk.scores[:1], score]


def removed(tasks: Iterable[str]) -> list[str]:
    """Return what networks doing `tasks` remove.

    >>> removed(("auto", "denoise", "derain"))
    ['noise', 'rain']
    """
    return [_TASK_NAMES[task] for task in tasks if task in _TASK_NAMES]


def describe(sigma: float, rain: float, haze: float) -> str:
    """Write what the sliders say as a short description of a degradation.

    Args:
        sigma: Of the noise, on the 0–255 scale.
        rain: Amount, 0–1.
        haze: Amount, 0–1.

    >>> describe(25, 0, 0.5)
    'haze:beta=1.5+noise:sigma_255=25'
    """
    steps = []
    if haze > 0:
        steps.append(f"haze:beta={3 * haze:g}")
    if rain > 0:
        steps.append(f"rain:density={1.2 * rain:g},veil={0.1 * rain:g}")
    if sigma > 0:
        steps.append(f"noise:sigma_255={sigma:g}")
    return "+".join(steps)


def _score(name: str, picture: Array, clean: Array) -> Score:
    """Measure 8-bit RGB; SSIM is None where scikit-image or pixels are missing."""
    similarity: float | None
    try:
        similarity = ssim(picture, clean, data_range=255)
    except (InputError, MissingExtraError):
        similarity = None
    return name, psnr(picture, clean, data_range=255), similarity
