import pytest

from unveil import register_model
from unveil.models import cu_mamba, mtair
from unveil.models.registry import _RECORDS
from unveil.models.sizes import _KEPT, count_size, model_size

BUILT_IN = [record.id for record in (*cu_mamba.RECORDS, *mtair.RECORDS)]


@pytest.mark.parametrize("model_id", BUILT_IN)
def test_the_figures_kept_of_a_variant_are_those_counted(model_id):
    assert _KEPT[model_id] == count_size(model_id)


def test_a_registered_network_is_counted():
    register_model("mine", config=cu_mamba.TINY, tasks=("denoise",))(cu_mamba.CUMamba)
    try:
        assert model_size("mine") == count_size("cu_mamba_tiny")
    finally:
        _RECORDS.unregister("mine")
