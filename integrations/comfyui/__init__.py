"""Nodes for ComfyUI: load a network, restore images, describe their degradation.

Copy this folder into ComfyUI's ``custom_nodes`` and install the package into ComfyUI's Python:
``pip install .`` in a checkout. Nothing is downloaded at run time: the bundled weights are used,
or a file.
"""

from typing import Any

import comfy.model_management
import comfy.utils
import numpy as np
import torch
from comfy_api.latest import ComfyExtension, io

from unveil import Restorer, list_models
from unveil.inference.conditioning import probe_of
from unveil.inference.diagnosis import estimate_degradation
from unveil.inference.options import TASKS
from unveil.models.checkpoint import bundled_weights

CATEGORY = "image/restoration"
STEPS = 1000

Network = io.Custom("UNVEIL_NETWORK")


class LoadNetwork(io.ComfyNode):
    """A network by its id, or from a weights file."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        bundled = list(bundled_weights()) or list_models()
        return io.Schema(
            node_id="UnveilLoadNetwork",
            display_name="Load unveil network",
            category=CATEGORY,
            description="mtair_small removes noise, rain and haze, cu_mamba_small noise alone, "
            "cu_mamba_small_deblur blur.",
            inputs=[
                io.Combo.Input("model", options=bundled),
                io.Combo.Input("task", options=list(TASKS), default="auto"),
                io.String.Input("weights", default="", tooltip="A .safetensors file instead."),
            ],
            outputs=[Network.Output(display_name="network")],
        )

    @classmethod
    def execute(cls, model: str, task: str, weights: str) -> Any:
        """Load it."""
        return io.NodeOutput(Restorer(weights or model, task=task))


class RestoreImages(io.ComfyNode):
    """Images without their noise, rain or haze; alpha passes unchanged."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        share = {"min": 0.0, "max": 1.0, "step": 0.05}
        return io.Schema(
            node_id="UnveilRestore",
            display_name="Restore with unveil",
            category=CATEGORY,
            inputs=[
                io.Image.Input("image"),
                Network.Input("network"),
                io.Float.Input("strength", default=1.0, **share),
            ],
            outputs=[io.Image.Output(display_name="restored")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, network: Restorer, strength: float) -> Any:
        """Restore a batch ``(b, h, w, c)``, with progress and a way out after every tile."""
        bar = comfy.utils.ProgressBar(STEPS * len(image))
        restored = image.clone()
        for i, one in enumerate(image):

            def advance(share: float, done: int = i) -> None:
                comfy.model_management.throw_exception_if_processing_interrupted()
                bar.update_absolute(round(STEPS * (done + share)))

            pixels = _pixels(one)
            out = network(pixels, strength=strength, progress=advance)
            restored[i, ..., :3] = torch.from_numpy(np.clip(out, 0, 1)).to(restored)
        return io.NodeOutput(restored)


class DescribeImage(io.ComfyNode):
    """What an image suffers from, in words and as probabilities."""

    @classmethod
    def define_schema(cls) -> Any:
        """Describe the node."""
        return io.Schema(
            node_id="UnveilDescribe",
            display_name="Describe degradation with unveil",
            category=CATEGORY,
            inputs=[io.Image.Input("image"), Network.Input("network")],
            outputs=[io.String.Output(display_name="description")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, network: Restorer) -> Any:
        """Describe the first image of a batch."""
        probe = probe_of(network.loaded)
        with torch.inference_mode():
            context = network.engine.collect_statistics(_pixels(image[0]))
            found = estimate_degradation(probe, network.loaded.network, context)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in found.probabilities.items())
        return io.NodeOutput(f"{', '.join(found.verdict)} ({shares})")


def _pixels(image: torch.Tensor) -> Any:
    """Return the colours of ``(h, w, c)`` as float32 in [0, 1]."""
    return np.ascontiguousarray(image[..., :3].float().cpu().numpy())


class UnveilExtension(ComfyExtension):
    """The nodes of this folder."""

    async def get_node_list(self) -> list[type]:
        """List them."""
        return [LoadNetwork, RestoreImages, DescribeImage]


async def comfy_entrypoint() -> UnveilExtension:
    """Return what ComfyUI registers."""
    return UnveilExtension()
