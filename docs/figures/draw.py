"""Draw the figures of the documentation as SVG: `python docs/figures/draw.py`.

Sizes and counts of the networks are read from their configurations, so that a figure cannot fall
behind the code; a test compares the files with what this script draws.
"""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from unveil.models.registry import get_record

FOLDER = Path(__file__).parent
COLOURS = {
    "image": "#fff3d6", "level": "#dbe9ff", "latent": "#cfe8d5", "step": "#f1f1f4",
    "prompt": "#f6dcee", "file": "#fff3d6",
}  # fmt: skip
INK = "#24292f"


@dataclass
class Figure:
    """Boxes and arrows on a white sheet, in pixels."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, x: int, y: int, w: int, h: int, text: str, kind: str = "step") -> None:
        """Draw a box with lines of text."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" fill="{COLOURS[kind]}" '
            f'stroke="{INK}"/>'
        )
        lines = text.split("\n")
        top = y + h / 2 - 8.5 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(x + w / 2, top + 17 * number, line, bold=number == 0 and len(lines) > 1)

    def text(
        self, x: float, y: float, text: str, *, bold: bool = False, anchor: str = "middle"
    ) -> None:
        """Write a line."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )

    def arrow(self, *points: tuple[int, int], dashed: bool = False) -> None:
        """Draw a line through points, with a head at its end."""
        path = " ".join(f"{x},{y}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{INK}"{dash} marker-end="url(#head)"/>'
        )

    def svg(self) -> str:
        """Return the file's text."""
        body = "\n".join(self.parts)
        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" \
font-family="Helvetica, Arial, sans-serif" font-size="13" fill="{INK}" role="img">
<title>{escape(self.title)}</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" \
orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>
<rect width="100%" height="100%" rx="10" fill="#ffffff"/>
{body}
</svg>
"""


def network(title: str, model: str, unit: str, latent: str, *, prompts: bool) -> Figure:
    """Draw a U-Net of three levels from a variant's configuration."""
    config = get_record(model).config
    *levels, deepest = config.levels
    figure = Figure(900, 45 + 110 * len(config.levels), f"{title}, the variant {model}")
    factor = config.stem_factor
    figure.text(20, 28, f"{title} ({model})", bold=True, anchor="start")
    figure.box(20, 60, 110, 54, "degraded\n3 × h × w", "image")
    figure.box(770, 60, 110, 54, "restored\n3 × h × w", "image")
    stem = "pixel-unshuffle, 3×3" if factor > 1 else "3×3"
    for number, level in enumerate(levels):
        y = 60 + 110 * number
        side = factor * 2**number
        size = f"h/{side} × w/{side}" if side > 1 else "h × w"
        figure.box(180, y, 150, 54, f"{level.encoder} × {unit}\n{level.width} × {size}", "level")
        figure.box(570, y, 150, 54, f"{level.decoder} × {unit}\n{level.width} × {size}", "level")
        if prompts:
            figure.arrow((330, y + 27), (390, y + 27))
            figure.box(390, y + 5, 120, 44, "prompt block\nS-C PB", "prompt")
            figure.arrow((510, y + 27), (570, y + 27))
        else:
            figure.arrow((330, y + 27), (570, y + 27), dashed=True)
            figure.text(450, y + 20, "skip")
        figure.arrow((255, y + 54), (255, y + 110))
        figure.arrow((645, y + 110), (645, y + 54))
    bottom = 60 + 110 * len(levels)
    side = factor * 2 ** len(levels)
    text = f"{deepest.encoder} × {latent}\n{deepest.width} × h/{side} × w/{side}"
    figure.box(180, bottom, 250 if prompts else 540, 54, text, "latent")
    if prompts:
        figure.arrow((430, bottom + 27), (480, bottom + 27))
        figure.box(480, bottom + 5, 120, 44, "prompt block\nS-C PB", "prompt")
        figure.arrow((600, bottom + 27), (645, bottom + 27), (645, bottom))
    figure.arrow((130, 87), (180, 87))
    figure.arrow((720, 87), (770, 87))
    figure.text(155, 52, stem)
    refinement = getattr(config, "refinement", 0)
    figure.text(745, 52, f"{refinement} units, head, +" if refinement else "head, +")
    figure.arrow((75, 114), (75, bottom + 80), (825, bottom + 80), (825, 114), dashed=True)
    figure.text(450, bottom + 74, "global residual: the network predicts the change")
    return figure


def photo() -> Figure:
    """Draw the way of a photo from file to file."""
    figure = Figure(900, 330, "The way of a photo")
    figure.text(20, 28, "The way of a photo", bold=True, anchor="start")
    top = [
        ("photo.jpg", "file"), ("read_image\npixels, metadata", "step"),
        ("float, padded\nto size_multiple", "step"), ("network\nwhole, or tiles", "latent"),
        ("change\n× strength", "step"), ("rounded,\nwrite_image", "step"),
        ("photo.restored.jpg", "file"),
    ]  # fmt: skip
    x = 20
    for number, (text, kind) in enumerate(top):
        width = {0: 76, 6: 132}.get(number, 112)
        figure.box(x, 70, width, 60, text, kind)
        if number < len(top) - 1:
            figure.arrow((x + width, 100), (x + width + 16, 100))
        x += width + 16
    figure.box(240, 180, 190, 60, "global statistics\nfrom crops of the image", "prompt")
    figure.box(450, 180, 190, 60, "bottleneck features\nof the whole image", "prompt")
    figure.arrow((335, 180), (395, 130))
    figure.arrow((545, 180), (440, 130))
    figure.text(440, 262, "for images in tiles: the same in every tile")
    figure.arrow((160, 130), (160, 290), (680, 290), (680, 130), dashed=True)
    figure.text(420, 310, "alpha, colour profile, EXIF, bit depth: kept")
    return figure


ROOMS = (
    ("cli", "one file per verb"),
    ("serve | bench", "page and HTTP API | speed"),
    ("training", "recipes, loop, checkpoints"),
    ("evaluation", "protocols, reports, comparison"),
    ("batch", "many files: jobs, journal, cluster, server"),
    ("inference | data", "images of any size | training sets"),
    (
        "models | weights | degradations | metrics",
        "networks, weights, noise to rain, PSNR",
    ),
    ("imaging", "image files, conversions of samples"),
    ("layers", "blocks that both networks use"),
    ("compat", "stands in for mamba_ssm"),
    ("ops", "functions on tensors, C++ and Triton kernels"),
    ("errors", "every error raised on purpose"),
)


def package() -> Figure:
    """Draw the layers of the package."""
    figure = Figure(900, 70 + 46 * len(ROOMS), "Layers of the package")
    figure.text(20, 28, "Layers of the package: imports point down only", bold=True, anchor="start")
    for number, (name, text) in enumerate(ROOMS):
        y = 50 + 46 * number
        figure.box(20, y, 430, 36, name, "level" if number < 7 else "latent")
        figure.text(470, y + 23, text, anchor="start")
    return figure


FIGURES = {
    "cu_mamba.svg": lambda: network(
        "CU-Mamba", "cu_mamba_small", "gated unit", "gated unit, scan in every 2nd", prompts=False
    ),
    "mtair.svg": lambda: network(
        "MTAIR", "mtair_small", "gated unit", "unit, scan and attention", prompts=True
    ),
    "photo.svg": photo,
    "package.svg": package,
}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        (FOLDER / name).write_text(draw().svg(), encoding="utf-8")
