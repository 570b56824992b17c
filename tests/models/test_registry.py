import pytest

from unveil import create_model, list_models
from unveil.errors import CheckpointError, InputError
from unveil.models import registry
from unveil.models.checkpoint import bundled_weights
from unveil.models.cu_mamba_config import CUMambaConfig


def test_the_variants_are_listed():
    families = [
        f"{family}_{size}" for family in ("cu_mamba", "mtair") for size in ("base", "small", "tiny")
    ]
    assert list_models() == sorted([*families, "cu_mamba_small_deblur"])


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'cu_mamba_small'"):
        create_model("cu_mamba_smal")
    with pytest.raises(InputError, match="there are"):
        create_model("zzz")


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(InputError, match="no option 'd_stat'; did you mean 'd_state'"):
        create_model("cu_mamba_tiny", d_stat=4)
    with pytest.raises(InputError, match="directoins"):
        create_model("cu_mamba_tiny", channel={"directoins": 1})


def test_nested_options_are_replaced_one_by_one():
    model = create_model("cu_mamba_tiny", channel={"d_state": 7})
    default = registry.get_record("cu_mamba_tiny").config.channel
    assert model.config.channel.d_state == 7
    assert model.config.channel.descriptor == default.descriptor


def test_configurations_are_frozen_and_round_trip_through_json():
    config = registry.build_config("cu_mamba_small", d_state=4)
    assert CUMambaConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="frozen"):
        config.d_state = 2


def test_pretrained_weights_load_or_say_that_none_are_bundled():
    assert "cu_mamba_tiny" not in bundled_weights()
    with pytest.raises(CheckpointError, match="no weights are bundled for 'cu_mamba_tiny'"):
        create_model("cu_mamba_tiny", pretrained=True)
    for name in bundled_weights():
        assert not create_model(name, pretrained=True).training
