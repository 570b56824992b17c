import pytest

from unveil.evaluation import PROTOCOLS
from unveil.evaluation.published import find_published, published_tables


@pytest.mark.parametrize("name", ["rain100l", "Rain100L", "Rain100L/test"])
def test_sets_are_found_in_any_spelling(name):
    mtair = find_published("all-in-one", name).results["MTAIR"]
    assert mtair.scores == {"pairs": (39.15, 0.984)}


def test_protocols_do_not_share_published_results():
    rain = {p: find_published(p, "rain100l") for p in PROTOCOLS}
    assert list(rain["rain-y"].results) == ["Restormer (trained on Rain13K)"]
    assert rain["paired-rgb"] is None
    assert rain["gaussian-color"] is None


def test_every_table_belongs_to_a_protocol_and_is_plausible():
    for (protocol, _), table in published_tables().items():
        assert protocol in PROTOCOLS
        assert table.images > 0
        for result in table.results.values():
            for psnr, *ssim in result.scores.values():
                assert 26 < psnr < 42
                assert all(0.75 < value < 1 for value in ssim)


def test_noisier_is_harder():
    for (protocol, name), table in published_tables().items():
        if name in ("cbsd68", "kodak24", "mcmaster", "urban100"):
            for result in table.results.values():
                scores = [result.scores[f"sigma{sigma}"][0] for sigma in (15, 25, 50)]
                assert scores == sorted(scores, reverse=True), (protocol, result.method)


def test_the_mean_of_the_all_in_one_row_is_the_published_one():
    # MTAIR's own mean over SOTS, Rain100L and the three noise levels
    values = []
    for name in ("sots", "rain100l", "cbsd68"):
        row = find_published("all-in-one", name).results["MTAIR"]
        values += [scores[0] for scores in row.scores.values()]
    assert sum(values) / 5 == pytest.approx(32.87, abs=0.006)
