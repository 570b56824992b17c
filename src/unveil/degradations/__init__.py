"""Clean images to degraded ones, seeded.

`parse` turns a short description into a pipeline; a pipeline maps a float32 image ``(h, w, 3)`` in
[0, 1] and a `numpy.random.Generator` to its degraded version.
"""

from unveil.degradations.notation import CATALOGUE, parse, register_degradation
from unveil.degradations.pipeline import Choice, Frame, Pipeline, Span, Step
from unveil.degradations.records import Degradation, Parameter

__all__ = [
    "CATALOGUE",
    "Choice",
    "Degradation",
    "Frame",
    "Parameter",
    "Pipeline",
    "Span",
    "Step",
    "parse",
    "register_degradation",
]
