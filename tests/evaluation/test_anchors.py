import pytest

from unveil.evaluation import PROTOCOLS
from unveil.evaluation.anchors import _TABLES, find_anchors


@pytest.mark.parametrize("name", ["rain100l", "Rain100L", "Rain100L/test"])
def test_sets_are_found_in_any_spelling(name):
    (mtair,) = (a for a in find_anchors("all-in-one", name).anchors if a.method == "MTAIR")
    assert mtair.scores == {"pairs": (39.15, 0.984)}


def test_protocols_do_not_share_anchors():
    rain = {p: find_anchors(p, "rain100l") for p in PROTOCOLS}
    assert [a.method for a in rain["rain-y"].anchors] == ["Restormer (trained on Rain13K)"]
    assert rain["paired-rgb"] is None
    assert rain["gaussian-color"] is None


def test_every_table_belongs_to_a_protocol_and_is_plausible():
    for (protocol, _), table in _TABLES.items():
        assert protocol in PROTOCOLS
        assert table.images > 0
        for anchor in table.anchors:
            for psnr, *ssim in anchor.scores.values():
                assert 26 < psnr < 42
                assert all(0.75 < value < 1 for value in ssim)


def test_noisier_is_harder():
    for (protocol, name), table in _TABLES.items():
        if name in ("cbsd68", "kodak24", "mcmaster", "urban100"):
            for anchor in table.anchors:
                scores = [anchor.scores[f"sigma{sigma}"][0] for sigma in (15, 25, 50)]
                assert scores == sorted(scores, reverse=True), (protocol, anchor.method)


def test_the_mean_of_the_all_in_one_row_is_the_published_one():
    # MTAIR's own mean over SOTS, Rain100L and the three noise levels
    values = []
    for name in ("sots", "rain100l", "cbsd68"):
        (row,) = (a for a in find_anchors("all-in-one", name).anchors if a.method == "MTAIR")
        values += [scores[0] for scores in row.scores.values()]
    assert sum(values) / 5 == pytest.approx(32.87, abs=0.006)
