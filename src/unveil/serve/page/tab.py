"""What the tabs share: the scripts of drawn HTML, the desk of a request, how far a job is."""

from typing import Any

import gradio as gr

from unveil.serve.page.desk import Desk, Desks

TICK_S = 0.2
# Buttons inside drawn HTML tell Python which of them was pressed.
CLICKS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !element.contains(button)) return;
  const {photo, remove, sample} = button.dataset;
  if (photo) trigger('select', {key: photo});
  if (remove) trigger('delete', {key: remove});
  if (sample) trigger('select', {key: sample});
});
"""
DROPS = "element.addEventListener('dropped', () => trigger('upload', {}));"


class Tab:
    """A tab of the page.

    Args:
        desks: Photos of all visitors.
    """

    def __init__(self, desks: Desks) -> None:
        self.desks, self.engine = desks, desks.engine

    def desk(self, request: gr.Request) -> Desk:
        """Return the desk of the visitor a request comes from."""
        desk = self.desks.of(str(request.session_hash))
        desk.touch()
        return desk


def progress_of(job: Any) -> tuple[str, float | None]:
    """Say how far a job is: in words, and as a share once that is known."""
    if job.state == "waiting":
        others = job.position
        return f"waiting, {others} ahead", None
    eta = job.eta_s
    left = "" if eta is None or eta < 1 else f", about {_spoken(eta)} left"
    share = job.share
    if share > 0:
        return f"{100 * share:.0f} %{left}", share
    return f"restoring{left}", None


def _spoken(seconds: float) -> str:
    """Say a duration as people do.

    >>> _spoken(7.4), _spoken(170)
    ('7 s', '3 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
