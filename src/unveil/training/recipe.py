"""A training recipe: one strict schema, section by section, its values parsed once.

Read, override and print recipes with `unveil.training.recipe_file`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from unveil.data import generated_kinds
from unveil.degradations import parse
from unveil.errors import UnveilError
from unveil.training.losses import Loss
from unveil.training.units import Duration, MemorySize


def _checked_kinds(names: str | list[str]) -> str | list[str]:
    try:
        generated_kinds(names)
    except UnveilError as error:
        raise ValueError(str(error)) from None
    return names


def _checked_steps(text: str) -> str:
    try:
        parse(text)
    except UnveilError as error:
        raise ValueError(str(error)) from None
    return text


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
WeightsByTask = dict[str, Annotated[float, Field(gt=0)]]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1, le=65_536)]
StepCount = Annotated[int, Field(ge=1, le=10**9)]
Side = Annotated[int, Field(ge=1, le=16_384)]
# Of a batch: 12 GB in single precision.
_MOST_PIXELS = 10**9
PatternList = str | Annotated[list[str], Field(min_length=1)]
Kinds = Annotated[str | list[str], AfterValidator(_checked_kinds)]
Steps = Annotated[str, AfterValidator(_checked_steps)]


class Section(BaseModel):
    """Base of every part: unknown keys and changes after validation are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """Which network, and the weights it starts from.

    Attributes:
        id: A registered model's id; `unveil models` lists them.
        weights: None for a random start, `pretrained` for the packaged weights, or a file, a folder
            or a hub id.
        options: Fields of the configuration to change: that of the file or folder of weights, else
            the variant's.
    """

    id: str
    weights: str | None = None
    options: dict[str, Any] = {}


class SourceSection(Section):
    """Photographs of one task: a folder of clean ones, a folder of pairs, or generated pictures.

    Attributes:
        clean: Folder of clean photographs; the task's degradations make the other half.
        pairs: Folder holding degraded and clean photographs, matched by `layout`.
        layout: How pairs are matched: None finds the usual sub-folders (`input`/`target`,
            `lq`/`gt`, ...).
        generated: Kinds of clean pictures that are drawn anew for each patch, one name or a list of
            those in `unveil.data.GENERATED`, or `any`; the task's degradations make the other half.
        steps: For pairs: what the degraded image goes through in addition, e.g.
            `jpeg:quality=55..96,p=0.5`; steps of side `both` change its partner too.
        task: Name of the task: the key of `degradation` for clean folders and generated pictures,
            a label for pairs.
        weight: Share of a batch drawn from this source, relative to the other sources.
        shrink: For clean folders: the largest factor by which an image is shrunk before it is
            cut and degraded, drawn from 1 on for each patch, which then shows more of the scene.
        include: Only files whose names match this pattern, or one of a list.
        exclude: Leave out files whose names match this pattern, or one of a list.
    """

    clean: Path | None = None
    pairs: Path | None = None
    layout: str | None = None
    generated: Kinds | None = None
    steps: Steps | None = None
    task: str = "restore"
    weight: Annotated[float, Field(gt=0)] = 1.0
    shrink: Annotated[float, Field(ge=1, le=64)] = 1.0
    include: PatternList | None = None
    exclude: PatternList | None = None

    @property
    def folder(self) -> Path | None:
        """Where the photographs lie; None for generated pictures."""
        return self.clean or self.pairs

    @model_validator(mode="after")
    def _one_kind(self) -> "SourceSection":
        kinds = (self.clean, self.pairs, self.generated)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(
                "a source is one of `clean: FOLDER`, `pairs: FOLDER` and `generated: KINDS`"
            )
        if self.clean is None and self.shrink > 1:
            raise ValueError("`shrink` is for clean folders: pairs cannot be shrunk")
        if self.pairs is None and (self.layout is not None or self.steps is not None):
            raise ValueError("`layout` and `steps` are for pairs")
        if self.generated is not None and (self.include or self.exclude):
            raise ValueError("`include` and `exclude` choose files: `generated` has none")
        return self


class DataSection(Section):
    """Where the training photographs come from.

    Attributes:
        train: The sources, mixed by weight.
        cache: Memory for decoded photographs; what does not fit is read again when drawn.
        workers: Loading processes; None chooses by the number of cores.
        skip_bad: Leave out unreadable, too small and unmatched files, naming them, instead of
            stopping.
        mixup: Share of samples blended with another one, in [0, 1].
    """

    train: Annotated[list[SourceSection], Field(min_length=1, max_length=1000)]
    cache: MemorySize = MemorySize.parse("4GB")
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    skip_bad: bool = False
    mixup: Fraction = 0.0


class Alternative(Section):
    """One way to degrade a clean image.

    Attributes:
        steps: Degradations joined by `+`, e.g. `noise:sigma_255=0..55`; empty leaves it clean.
        clean: Steps that change the clean image before it is degraded, so that the target has
            them, too, e.g. `gray` or `tone:dim+soft:sigma=0..2`.
        share: How often this one is drawn, relative to the task's other alternatives.
    """

    steps: Steps
    clean: Steps = ""
    share: Annotated[float, Field(gt=0)] = 1.0

    @property
    def description(self) -> str:
        """All steps in one description; those of `clean` have side `both`."""
        if not self.clean:
            return self.steps or "identity"
        return str(parse(self.clean).on_both_sides() + parse(self.steps))


class OptimSection(Section):
    """Optimiser, loss and precision.

    Attributes:
        name: `adamw`, or `muon`: Muon for weight matrices, AdamW for the rest.
        lr: Peak learning rate.
        matrix_rate: Factor on the learning rate of the matrices that Muon steps.
        betas: AdamW's two decays.
        weight_decay: Decoupled decay; norms, biases and the recurrence's A and D are spared.
        ssm_rate: Factor on the learning rate of what sets the recurrence's Δ, A, B and C.
        loss: Terms with weights, e.g. `charbonnier + 0.1*fft`; a phase may replace it.
        task_loss: Factor on the loss of a task's images, 1 if not named. A task with large errors
            otherwise dominates the gradient, whatever its share of the samples.
        clip: Largest gradient norm; None leaves gradients alone.
        ema: Decay of the weights' moving average, the one validated and exported.
        precision: Arithmetic of forward and backward.
        micro_batch: Images per forward pass and process; None takes the whole batch, or what
            `memory` allows.
        memory: Choose `micro_batch` so that a step stays within this much memory.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: Annotated[float, Field(gt=0)]
    matrix_rate: Annotated[float, Field(gt=0)] = 1.0
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    ssm_rate: Annotated[float, Field(gt=0)] = 1.0
    loss: Loss
    task_loss: WeightsByTask = {}
    clip: Annotated[float, Field(gt=0)] | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    micro_batch: Count | None = None
    memory: MemorySize | None = None


class Phase(Section):
    """A stretch of training with its own patch, batch and loss.

    Attributes:
        until: Where the phase ends, as a share of all steps; the last one ends at 1.
        patch: Side of the square patches, in pixels.
        batch: Patches per optimiser step, over all processes.
        loss: Replaces `optim.loss`.
        task_loss: Replaces `optim.task_loss`.
        tasks: Weight of each task, in place of the sum of its sources' weights; tasks not named
            are left out.
    """

    until: Annotated[float, Field(gt=0, le=1)]
    patch: Side
    batch: Count
    loss: Loss | None = None
    task_loss: WeightsByTask | None = None
    tasks: Annotated[WeightsByTask, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _imaginable(self) -> "Phase":
        pixels = self.batch * self.patch**2
        if pixels > _MOST_PIXELS:
            raise ValueError(
                f"{self.batch} patches of {self.patch} pixels are {pixels / 1e6:,.0f} megapixels; "
                f"expected {_MOST_PIXELS / 1e6:,.0f} at most in a step"
            )
        return self


class ScheduleSection(Section):
    """How long, and how patch, batch and learning rate develop.

    Attributes:
        steps: Optimiser steps; give this or `duration`.
        duration: A length of time, turned into steps by the speed measured at the start.
        warmup: Share of all steps in which the learning rate rises from 0.
        final_lr: Learning rate at the end of the cosine.
        phases: In order; each ends later than the one before.
        save_every: Longest time between two checkpoints.
    """

    steps: StepCount | None = None
    duration: Duration | None = None
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    final_lr: Annotated[float, Field(ge=0)] = 0.0
    phases: Annotated[list[Phase], Field(min_length=1, max_length=256)]
    save_every: Duration = Duration.parse("5m")

    @model_validator(mode="after")
    def _consistent(self) -> "ScheduleSection":
        if (self.steps is None) == (self.duration is None):
            raise ValueError("give either `steps` or `duration`")
        ends = [phase.until for phase in self.phases]
        if ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError(f"phases must end one after the other and the last at 1, not {ends}")
        return self


class EvaluationSection(Section):
    """Validation during training, on a few images that are never a test set.

    Attributes:
        sets: Clean folders or pairs; each clean one is scored with every entry of `degradations`.
        degradations: Applied to clean images, seeded.
        every: Time between two validations; give this or `every_steps`.
        every_steps: Steps between two validations.
        images: Photographs per set, spread evenly over the folder.
        crop: Side of the centre crop scored, in pixels; None takes whole photographs.
    """

    sets: Annotated[list[SourceSection], Field(min_length=1)]
    degradations: list[str] = []
    every: Duration | None = None
    every_steps: StepCount | None = None
    images: Count = 8
    crop: Side | None = 256

    @model_validator(mode="after")
    def _consistent(self) -> "EvaluationSection":
        if (self.every is None) == (self.every_steps is None):
            raise ValueError("give either `every` or `every_steps`")
        if any(one.generated is not None or one.steps is not None for one in self.sets):
            raise ValueError("`generated` and `steps` are for training")
        if any(one.clean is not None for one in self.sets) and not self.degradations:
            raise ValueError("clean sets need `degradations`")
        if any(one.shrink > 1 or one.weight != 1 for one in self.sets):
            raise ValueError("`shrink` and `weight` are for training")
        return self


class Recipe(Section):
    """A whole training: `model, data, degradation, optim, schedule, evaluation, seed`.

    Attributes:
        degradation: Per task, the ways to degrade its clean photographs.
        seed: Decides the start, the order, the crops and the noise.
    """

    model: ModelSection
    data: DataSection
    degradation: dict[str, Annotated[list[Alternative], Field(min_length=1)]] = {}
    optim: OptimSection
    schedule: ScheduleSection
    evaluation: EvaluationSection
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _known_tasks(self) -> "Recipe":
        for source in self.data.train:
            if source.pairs is None and source.task not in self.degradation:
                known = ", ".join(sorted(self.degradation)) or "nothing"
                raise ValueError(f"task {source.task!r} is not in `degradation`, which has {known}")
        tasks = {source.task for source in self.data.train}
        named = [("optim.task_loss", self.optim.task_loss)]
        for phase in self.schedule.phases:
            named += [("a phase", phase.tasks or {}), ("a phase", phase.task_loss or {})]
        for where, weights in named:
            if unknown := set(weights) - tasks:
                raise ValueError(
                    f"no source in data.train has the task {', '.join(sorted(unknown))} "
                    f"that {where} names; there are {', '.join(sorted(tasks))}"
                )
        return self

    def loss(self, phase: Phase) -> Loss:
        """Return the loss of a phase's steps."""
        return phase.loss or self.optim.loss

    def task_loss(self, phase: Phase) -> WeightsByTask:
        """Return the factors on the losses of tasks in a phase."""
        return self.optim.task_loss if phase.task_loss is None else phase.task_loss
