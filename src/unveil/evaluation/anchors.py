"""Published numbers, to stand beside ours under the same protocol and marked as published.

All were taken from the methods' papers or from later papers that cite them; none was measured here.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Anchor:
    """A published result.

    Attributes:
        method: With what its authors say of it.
        parameters: As published; empty where not stated.
        scores: Case key → PSNR, or PSNR and SSIM.
    """

    method: str
    parameters: str
    scores: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class AnchorTable:
    """The published results for one set under one protocol.

    Attributes:
        anchors: From older to newer.
        images: How many images they are means of.
        note: Other conditions of the numbers; empty if none.
    """

    anchors: tuple[Anchor, ...]
    images: int
    note: str = ""


_SIGMAS = ("sigma15", "sigma25", "sigma50")

# PSNR at σ 15/25/50 on each set, in the order of _GAUSSIAN_SETS
_GAUSSIAN = (
    ("CBM3D", "",
     "33.52/30.71/27.38", "34.28/32.15/28.46", "34.06/31.66/28.51", "33.93/31.36/27.93"),
    ("DnCNN, blind", "0.67 M",
     "33.90/31.24/27.95", "34.60/32.14/28.95", "33.45/31.52/28.62", "32.98/30.81/27.59"),
    ("FFDNet, σ given", "0.85 M",
     "33.87/31.21/27.96", "34.63/32.13/28.98", "34.66/32.35/29.18", "33.83/31.40/28.05"),
    ("IRCNN", "0.19 M",
     "33.86/31.16/27.86", "34.69/32.18/28.93", "34.58/32.18/28.91", "33.78/31.20/27.70"),
    ("DRUNet, σ given", "32.6 M",
     "34.30/31.69/28.51", "35.31/32.89/29.86", "35.40/33.14/30.08", "34.81/32.60/29.61"),
    ("Restormer", "26.1 M",
     "34.40/31.79/28.60", "35.47/33.04/30.01", "35.61/33.34/30.30", "35.13/32.96/30.02"),
    ("EAMamba, blind", "25.3 M",
     "34.43/31.81/28.62", "35.36/32.95/29.91", "35.59/33.34/30.31", "35.10/32.93/30.01"),
    ("MambaIR", "",
     "34.43/31.80/28.61", "35.34/32.91/29.85", "35.62/33.35/30.31", "35.17/32.99/30.07"),
)  # fmt: skip
_GAUSSIAN_SETS = (("cbsd68", 68), ("kodak24", 24), ("mcmaster", 18), ("urban100", 100))
_KODAK_NOTE = (
    "some papers use 500×500 centre crops of Kodak24 (FFDNet's copy), some the full 768×512 images"
)

# PSNR of gray images at σ 25 on each set, in the order of _GRAY_SETS
_GRAY = (
    ("BM3D", "", "29.97", "28.57"),
    ("DnCNN, one per σ", "", "30.43", "29.23"),
    ("FFDNet, σ given", "", "30.43", "29.19"),
)
_GRAY_SETS = (("set12", 12), ("bsd68", 68))

# PSNR;SSIM on each set, in the order of _ALL_IN_ONE_SETS; one model for all
_ALL_IN_ONE = (
    ("AirNet", "9 M", "27.94;.962", "34.90;.967", "33.92;.933/31.26;.888/28.00;.797"),
    ("PromptIR", "36 M", "30.58;.974", "36.37;.972", "33.98;.933/31.31;.888/28.06;.799"),
    ("AdaIR", "29 M", "31.06;.980", "38.64;.983", "34.12;.935/31.45;.892/28.19;.802"),
    ("MoCE-IR-S", "11 M", "30.94;.979", "38.22;.983", "34.08;.933/31.42;.888/28.16;.798"),
    ("AnyIR", "6 M", "31.75;.981", "38.61;.984", "34.12;.936/31.46;.893/28.20;.804"),
    ("MTAIR", "", "31.34;.983", "39.15;.984", "34.14;.936/31.50;.893/28.24;.805"),
    ("ABAIR", "41 M", "33.53;.984", "38.69;.982", "34.18;.935/31.38;.890/28.25;.804"),
)
_ALL_IN_ONE_SETS = (("sots", 500), ("rain100l", 100), ("cbsd68", 68))

_PAIRED = {
    ("paired-rgb", "sidd"): (
        1280,
        "MPRNet 39.71, Uformer 39.77, MambaIR 39.89, Restormer 40.02, CU-Mamba 40.22",
    ),
    ("paired-rgb", "gopro"): (
        1111,
        "MPRNet 32.66, Restormer 32.92, CU-Mamba 33.53, EAMamba 33.58, NAFNet 33.69, EVSSM 34.51",
    ),
    ("paired-rgb", "realblurr"): (980, "CU-Mamba 41.01, EVSSM 41.27"),
    ("rain-y", "rain100l"): (100, "Restormer (trained on Rain13K) 38.99"),
}


def find_anchors(protocol: str, dataset: str) -> AnchorTable | None:
    """Return the published results for a set under a protocol, None where there are none.

    Args:
        protocol: Its name.
        dataset: Name of the folder, in any spelling: ``CBSD68``, ``Rain100L/test``.

    >>> find_anchors("gaussian-color", "CBSD68").anchors[0].scores["sigma25"]
    (30.71,)
    >>> find_anchors("paired-rgb", "CBSD68") is None
    True
    """
    name = re.sub(r"[^a-z0-9]", "", dataset.lower().removesuffix("/test"))
    return _TABLES.get((protocol, name.removesuffix("outdoor")))


def _scores(keys: tuple[str, ...], text: str) -> dict[str, tuple[float, ...]]:
    cells = (tuple(map(float, cell.split(";"))) for cell in text.split("/"))
    return dict(zip(keys, cells, strict=True))


def _columns(
    rows: tuple[tuple[str, ...], ...], column: int, keys: tuple[str, ...]
) -> tuple[Anchor, ...]:
    return tuple(
        Anchor(method, parameters, _scores(keys, cells[column]))
        for method, parameters, *cells in rows
    )


def _paired(text: str) -> tuple[Anchor, ...]:
    rows = (item.rsplit(" ", 1) for item in text.split(", "))
    return tuple(Anchor(method, "", {"pairs": (float(score),)}) for method, score in rows)


def _tables() -> dict[tuple[str, str], AnchorTable]:
    tables = {}
    for column, (name, images) in enumerate(_GAUSSIAN_SETS):
        note = _KODAK_NOTE if name == "kodak24" else ""
        anchors = _columns(_GAUSSIAN, column, _SIGMAS)
        tables["gaussian-color", name] = AnchorTable(anchors, images, note)
    for column, (name, images) in enumerate(_GRAY_SETS):
        anchors = _columns(_GRAY, column, ("sigma25",))
        tables["gaussian-gray", name] = AnchorTable(anchors, images)
    for column, (name, images) in enumerate(_ALL_IN_ONE_SETS):
        keys = _SIGMAS if name == "cbsd68" else ("pairs",)
        tables["all-in-one", name] = AnchorTable(_columns(_ALL_IN_ONE, column, keys), images)
    for key, (images, text) in _PAIRED.items():
        tables[key] = AnchorTable(_paired(text), images)
    return tables


_TABLES = _tables()
