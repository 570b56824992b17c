"""The first tab: drop photos, restore them, look, take them home."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from unveil.errors import BusyError, CancelledError, UnveilError
from unveil.serve.engine import Options, plain_message
from unveil.serve.page import view
from unveil.serve.page.desk import Desk, Desks, Photo
from unveil.serve.page.samples import Sample, offered, sample_named
from unveil.serve.page.tab import CLICKS, DROPS, TICK_S, Tab, progress_of

_log = logging.getLogger(__name__)
_TOUCH_S = 20.0
_TASKS = {
    "auto": "Automatic",
    "denoise": "Remove noise",
    "derain": "Remove rain",
    "dehaze": "Remove haze",
}
_STRENGTH = "(percent) => { window.unveil.strength(percent); }"


@dataclass(frozen=True)
class Parts:
    """What of the tab changes."""

    drop: gr.HTML
    samples: gr.HTML
    work: gr.Column
    view: gr.HTML
    strip: gr.HTML
    report: gr.HTML
    status: gr.HTML
    take: gr.HTML
    strength: gr.Slider
    progress: gr.HTML
    go: gr.Button
    cancel: gr.Button

    def all(self) -> list[Any]:
        """Return them in the order in which `RestoreTab.draw` gives their values."""
        return list(vars(self).values())


class RestoreTab(Tab):
    """The tab's controls and what they do.

    Args:
        desks: Photos of all tabs.
    """

    def __init__(self, desks: Desks) -> None:
        super().__init__(desks)
        self.samples = offered(self.engine.tasks())
        self.able = self.engine.catalogue.inspector() is not None

    def build(self, page: gr.Blocks) -> None:
        """Lay the tab out and connect it."""
        drop = gr.HTML(js_on_load=DROPS, elem_classes="unveil-plain")
        samples = gr.HTML(js_on_load=CLICKS, elem_classes="unveil-plain")
        with gr.Column(visible=False) as work, gr.Row(elem_classes="unveil-work"):
            with gr.Column(scale=5, min_width=320):
                viewer = gr.HTML(elem_classes="unveil-plain")
                strip = gr.HTML(js_on_load=CLICKS, elem_classes="unveil-plain")
            with gr.Column(scale=2, min_width=280, elem_classes="unveil-side"):
                report = gr.HTML(elem_classes="unveil-plain")
                with gr.Accordion("Model and task: automatic", open=False) as settings:
                    model, task, ensemble = self._choices()
                progress = gr.HTML(elem_classes="unveil-plain")
                go = gr.Button("Restore", variant="primary", size="lg", elem_id="unveil-go")
                cancel = gr.Button("Cancel", visible=False, elem_id="unveil-cancel")
                status = gr.HTML(elem_classes="unveil-plain")
                strength = gr.Slider(
                    0, 100, 100, step=1, label="Strength, %", visible=False, buttons=[],
                    info="Share of the change that is shown and downloaded.",
                    elem_id="unveil-strength",
                )  # fmt: skip
                take = gr.HTML(elem_classes="unveil-plain")
        parts = Parts(
            drop, samples, work, viewer, strip, report, status, take, strength, progress, go, cancel
        )
        self._connect(page, parts, [model, task, ensemble], settings)

    def _choices(self) -> tuple[gr.Dropdown, gr.Radio, gr.Checkbox]:
        names = [(f"{m['id']} ({', '.join(m['tasks'])})", m["id"]) for m in self.engine.models()]
        model = gr.Dropdown([("Automatic", ""), *names], value="", label="Model", filterable=False)
        tasks = [(_TASKS.get(task, task), task) for task in self.engine.tasks()]
        task = gr.Radio(tasks, value="auto", label="Task")
        ensemble = gr.Checkbox(
            label="Take more care", info="Averages over 8 views: 8 times slower, slightly better."
        )
        return model, task, ensemble

    def _connect(
        self, page: gr.Blocks, parts: Parts, options: list[Any], settings: gr.Accordion
    ) -> None:
        every: dict[str, Any] = {"outputs": parts.all(), "show_progress": "hidden"}
        quick: dict[str, Any] = every | {"queue": False, "api_visibility": "private"}
        page.load(self.show, **quick)
        page.unload(self.leave)
        parts.drop.upload(
            self.look,
            **every,
            api_visibility="private",
            concurrency_limit=None,
            # More photos may arrive while the first is being drawn: they must be drawn, too.
            trigger_mode="always_last",
        )
        parts.samples.select(
            self.try_sample, **every, api_visibility="private", concurrency_limit=None
        )
        parts.strip.select(self.choose, **quick)
        parts.strip.delete(self.remove, **quick)
        parts.go.click(
            self.restore, options, **every, api_visibility="private", concurrency_limit=None
        )
        parts.cancel.click(self.cancel, **quick)
        parts.strength.change(None, parts.strength, js=_STRENGTH)
        model, task, ensemble = options
        model.change(self.tasks_of, [model, task], task, queue=False, show_progress="hidden")
        for option in options:
            option.change(
                _summary, [model, task, ensemble], settings, queue=False, show_progress="hidden"
            )

    def draw(self, desk: Desk, *, progress: str | None = None) -> list[Any]:
        """Return the values of all `Parts` as the desk stands."""
        photo, busy = desk.photo, desk.restoring
        waiting = [p for p in desk.photos.values() if p.restored is None and not p.problem]
        some = any(p.restored for p in desk.photos.values())
        words = "Restore" if len(desk.photos) == 1 else f"Restore {len(waiting)} photos"
        return [
            gr.HTML(view.drop(desk, self.engine.settings.max_bytes, purpose="restore", many=True)),
            gr.HTML(view.samples(self.samples), visible=not desk.photos),
            gr.Column(visible=bool(desk.photos)),
            view.compare(photo),
            view.strip(desk),
            view.report(photo, self.able),
            view.status(photo),
            view.take(desk),
            gr.Slider(visible=some),
            (progress or desk.told) if busy else "",
            gr.Button(
                words if waiting else "Restore again",
                visible=not busy,
                variant="primary" if waiting else "secondary",
            ),
            gr.Button(visible=busy),
        ]

    def show(self, request: gr.Request) -> list[Any]:
        """Draw the tab."""
        return self.draw(self.desk(request))

    def leave(self, request: gr.Request) -> None:
        """Delete everything of a tab that was closed."""
        self.desks.close(str(request.session_hash))

    async def look(self, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Show what was dropped, then say what the network sees in it."""
        desk = self.desk(request)
        yield self.draw(desk)
        if not self.able:
            return
        for photo in [*desk.photos.values()]:
            if photo.report is None and not photo.restored and not photo.problem:
                await self._inspect(photo)
                if photo is desk.photo:
                    yield self.draw(desk)

    async def _inspect(self, photo: Photo) -> None:
        """Ask what the network sees; when it cannot be asked now, restoring will tell."""
        try:
            job = self.engine.submit_inspection(photo.source)
            try:
                photo.report = await asyncio.wrap_future(job.future)
            finally:
                job.cancel()
        except UnveilError as error:
            _log.info("not inspected: %s", error)

    async def try_sample(
        self, event: gr.EventData, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Put a sample photo on the desk."""
        sample = sample_named(event.key, self.samples)
        desk = self.desk(request)
        if sample is not None:
            try:
                await asyncio.to_thread(self._add_sample, desk, sample)
            except UnveilError as error:
                raise view.shown(plain_message(error, self.engine.folder)) from error
        async for drawn in self.look(request):
            yield drawn

    def _add_sample(self, desk: Desk, sample: Sample) -> None:
        with sample.open() as stream:
            self.desks.add(desk, sample.name, stream)

    def choose(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Show another photo."""
        desk = self.desk(request)
        if event.key in desk.photos:
            desk.chosen = event.key
        return self.draw(desk)

    def remove(self, event: gr.EventData, request: gr.Request) -> list[Any]:
        """Take a photo away."""
        desk = self.desk(request)
        self.desks.remove(desk, event.key)
        return self.draw(desk)

    def cancel(self, request: gr.Request) -> list[Any]:
        """Stop restoring."""
        desk = self.desk(request)
        desk.stop()
        return self.draw(desk, progress=view.progress("Stopping…", None))

    async def restore(
        self, model: str, task: str, ensemble: bool, request: gr.Request
    ) -> AsyncIterator[list[Any]]:
        """Restore what has not been restored, or everything again, one photo after the other."""
        desk = self.desk(request)
        if desk.restoring or not desk.photos:
            yield self.draw(desk)
            return
        options = Options(model=model or None, task=task, ensemble=ensemble)
        todo = [p for p in desk.photos.values() if p.restored is None and not p.problem]
        todo = todo or [*desk.photos.values()]
        # What is looked at comes first; the view stays with it.
        todo.sort(key=lambda photo: photo.key != desk.chosen)
        if todo[0].key != desk.chosen:
            desk.chosen = todo[0].key
        desk.restoring, desk.stopping = True, False
        desk.told = view.progress("Starting…", None)
        try:
            for number, photo in enumerate(todo):
                if desk.stopping:
                    break
                if photo.key not in desk.photos:
                    continue
                count = f"Photo {number + 1} of {len(todo)}: " if len(todo) > 1 else ""
                yield self.draw(desk)
                async for text, share in self._restored(desk, photo, options):
                    desk.told = view.progress(count + text, share)
                    yield self._ticking(desk.told)
        finally:
            desk.restoring, desk.job = False, None
        yield self.draw(desk)

    async def _restored(
        self, desk: Desk, photo: Photo, options: Options
    ) -> AsyncIterator[tuple[str, float | None]]:
        """Restore one photo, telling how far it is; what goes wrong is noted on the photo."""
        photo.problem = ""
        touched = 0.0
        try:
            while True:
                try:
                    job = photo.job = desk.job = self.engine.submit(photo.source, options)
                    break
                except BusyError as error:
                    yield f"waiting, {error}", None
                    await asyncio.sleep(1.0)
                    if desk.stopping or photo.key not in desk.photos:
                        return
            while not job.future.done():
                if time.monotonic() - touched > _TOUCH_S:
                    touched = time.monotonic()
                    desk.touch()
                yield progress_of(job)
                await asyncio.sleep(TICK_S)
            await asyncio.to_thread(photo.finish, job.wait(0), options)
        except CancelledError:
            return
        except UnveilError as error:
            photo.problem = plain_message(error, self.engine.folder)

    def _ticking(self, progress: str) -> list[Any]:
        """Change the progress alone."""
        names = list(Parts.__dataclass_fields__)
        return [progress if name == "progress" else gr.skip() for name in names]

    def tasks_of(self, model: str, task: str) -> gr.Radio:
        """Offer the tasks that a model does."""
        does = {m["id"]: ("auto", *m["tasks"]) for m in self.engine.models()}
        known = does.get(model, self.engine.tasks())
        choices = [(_TASKS.get(name, name), name) for name in known]
        return gr.Radio(choices, value=task if task in known else "auto")


def _summary(model: str, task: str, ensemble: bool) -> gr.Accordion:
    parts = [model] if model else []
    parts += [_TASKS[task].lower()] if task != "auto" else []
    parts += ["more care"] if ensemble else []
    return gr.Accordion(f"Model and task: {', '.join(parts) or 'automatic'}")
