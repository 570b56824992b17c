"""Image folders to training and test samples.

A `Source` is a task's photos: clean ones with the degradations to apply, pairs, or pictures that
are drawn. `TrainingSet`
maps a `SampleKey` (step, index, patch, weights of the tasks) to one sample; nothing else decides
what a sample is, so workers, processes and resumed runs agree without any saved generator state.
"""

from unveil.data.check import FileProblem, SetReport, check_sources
from unveil.data.full_images import FullImages
from unveil.data.generated import (
    GENERATED,
    draw_generated,
    generated_kinds,
    write_generated,
)
from unveil.data.image_cache import ImageStore
from unveil.data.pairing import Matching, Pair, list_images, match_pairs
from unveil.data.sampling import SampleKey, StepBatches, TaskWeights, worker_context
from unveil.data.sources import (
    Source,
    clean_source,
    find_sources,
    generated_source,
    paired_source,
    promptir_sources,
)
from unveil.data.toy import write_toy_set
from unveil.data.training_set import Sample, TrainingSet

__all__ = [
    "GENERATED",
    "FileProblem",
    "FullImages",
    "ImageStore",
    "Matching",
    "Pair",
    "Sample",
    "SampleKey",
    "SetReport",
    "Source",
    "StepBatches",
    "TaskWeights",
    "TrainingSet",
    "check_sources",
    "clean_source",
    "draw_generated",
    "find_sources",
    "generated_kinds",
    "generated_source",
    "list_images",
    "match_pairs",
    "paired_source",
    "promptir_sources",
    "worker_context",
    "write_generated",
    "write_toy_set",
]
