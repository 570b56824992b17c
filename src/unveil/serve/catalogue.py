"""Which networks a server offers, and what each of them does."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, Field

from unveil.errors import InputError
from unveil.inference.conditioning import tasks_of
from unveil.inference.loading import LoadedModel, default_model, load
from unveil.inference.options import TASKS, TaskChoice
from unveil.models.base import count_parameters
from unveil.models.checkpoint import bundled_weights
from unveil.models.registry import get_record, list_models

# Networks in memory at once: those used last.
_MOST_KEPT = 8


class Model(BaseModel):
    """A network on offer."""

    id: str
    tasks: list[TaskChoice] = Field(description="What it does beside auto.")
    inspects: bool = Field(description="Whether it says what is wrong with a picture.")
    parameters: int
    paper: str
    default: bool = Field(description="Whether it is taken when none is named.")
    file: str | None = Field(
        default=None,
        description="Weights file that the server was given; without its folders where others can "
        "reach the server.",
    )


class Catalogue:
    """The networks whose weights are bundled, and those the server was given.

    Args:
        given: Weights files; the first that does a task is preferred for it.

    Raises:
        CheckpointError: If a given file is missing or damaged.
        InputError: If two of them have one name.
    """

    def __init__(self, given: Sequence[Path] = ()) -> None:
        self._given = names_of(given)
        sources: dict[str, str | Path] = {name: name for name in bundled_weights()}
        sources |= dict(zip(self._given, given, strict=True))
        self._files = {name: str(path) for name, path in zip(self._given, given, strict=True)}
        self._preferred = self._given[0] if self._given else default_model("auto")
        self._load = lru_cache(_MOST_KEPT)(lambda name: load(sources[name]))
        self._offers = {name: self._offer(name, self._load(name)) for name in sources}

    def _offer(self, name: str, loaded: LoadedModel) -> Model:
        model_id = getattr(loaded.network, "model_id", "")
        return Model(
            id=name,
            tasks=tasks_of(loaded),
            inspects=loaded.probe is not None,
            parameters=count_parameters(loaded.network),
            paper=get_record(model_id).paper if model_id in list_models() else "",
            default=name == self._preferred,
            file=self._files.get(name),
        )

    @property
    def offers(self) -> list[Model]:
        """All of them, the default first."""
        return sorted(self._offers.values(), key=lambda offer: (not offer.default, offer.id))

    @property
    def tasks(self) -> tuple[TaskChoice, ...]:
        """``"auto"`` and what some network does."""
        done = {task for offer in self._offers.values() for task in offer.tasks}
        return tuple(task for task in TASKS if task == "auto" or task in done)

    def loaded(self, offer: Model) -> LoadedModel:
        """Return the network of an offer; its file is read again if others were used since."""
        return self._load(offer.id)

    def choose(self, model: str | None, task: str) -> Model:
        """Return the network for a choice.

        Args:
            model: An id; None leaves it open.
            task: One of `tasks`.

        Raises:
            InputError: If there is no such network or task, or the one does not do the other.
        """
        if task not in self.tasks:
            raise InputError(f"no task {task!r} here; there are {', '.join(self.tasks)}")
        if model is None:
            able = [name for name in self._given if task in ("auto", *self._offers[name].tasks)]
            model = able[0] if able else default_model(task)
        offer = self._offers.get(model)
        if offer is None:
            known = ", ".join(self._offers) or "none"
            raise InputError(f"no model {model!r} here; there are {known}")
        if task not in ("auto", *offer.tasks):
            raise InputError(f"{offer.id} does not {task}; it does {', '.join(offer.tasks)}")
        return offer

    def inspector(self, model: str | None = None) -> Model | None:
        """Return the network that says what is wrong with a picture; None when there is none.

        Raises:
            InputError: If there is no model of that id.
        """
        if model is not None:
            self.choose(model, "auto")
        return next((o for o in self.offers if o.inspects and model in (None, o.id)), None)


def names_of(given: Sequence[Path]) -> list[str]:
    """Name weights files by their stems, with their folders before those that share one.

    >>> names_of([Path("mtair_small"), Path("one/tuned"), Path("two/tuned")])
    ['mtair_small', 'one/tuned', 'two/tuned']

    Raises:
        InputError: If two of them have one name.
    """
    names = [path.stem if path.is_file() else path.name for path in given]
    full = [
        name if names.count(name) == 1 else f"{path.absolute().parent.name}/{name}"
        for path, name in zip(given, names, strict=True)
    ]
    for name in full:
        if full.count(name) > 1:
            raise InputError(f"two models called {name}; rename one, or give it once")
    return full
