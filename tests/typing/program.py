"""A program as a user would write it; it is type-checked and not run.

Every `type: ignore` here must be needed, so that what is marked is refused, and nothing else is.
"""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

import unveil

restorer = unveil.Restorer("mtair_small", strength=0.8, tile=256, threads=2)

array: NDArray[np.uint8] = restorer(np.zeros((8, 8, 3), np.uint8))
tensor: torch.Tensor = restorer(torch.zeros(1, 3, 8, 8), strength=0.5, strength_chroma=0.0)
path: Path = restorer(Path("a.jpg"))
name: str = restorer("a.jpg")
picture: PIL.Image.Image = restorer(PIL.Image.new("RGB", (8, 8)))
several: list[torch.Tensor] = restorer([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)])
files: list[Path] = unveil.restore((Path("a.jpg"), Path("b.jpg")), "cu_mamba_small", device="cpu")

restorer(3)  # type: ignore[call-overload]
restorer(None)  # type: ignore[call-overload]
restorer([3, 4])  # type: ignore[type-var]
unveil.restore(b"a.jpg")  # type: ignore[call-overload]
unveil.Restorer("mtair_small", task="sharpen")  # type: ignore[arg-type]
unveil.Restorer("mtair_small", threads="2")  # type: ignore[arg-type]
wrong: str = restorer(Path("a.jpg"))  # type: ignore[assignment]

network = unveil.create_model("cu_mamba_small", pretrained=True)
folder: Path = unveil.save_pretrained(network, "out", {"note": "mine"})
again = unveil.from_pretrained("cu_mamba_small", device="cpu")
restored: torch.Tensor = again(torch.zeros(1, 3, 8, 8))
names: list[str] = unveil.list_models()
unveil.save_pretrained(torch.nn.Identity(), "out")  # type: ignore[arg-type]


def halve(image: NDArray[np.float32], share: float) -> NDArray[Any]:
    """Apply half of the change."""
    return restorer(image, strength=share / 2)
