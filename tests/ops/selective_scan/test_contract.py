"""What the scan says about wrong arguments."""

import pytest
import torch

from unveil.errors import InputError
from unveil.ops import selective_scan, selective_scan_2d

GOOD = {
    "u": (2, 6, 5),
    "delta": (2, 6, 5),
    "A": (6, 3),
    "B": (2, 3, 5),
    "C": (2, 3, 5),
    "D": (6,),
    "z": (2, 6, 5),
    "delta_bias": (6,),
    "initial_state": (2, 6, 3),
}
IMAGE = {
    "u": (2, 4, 5, 6),
    "delta": (2, 4, 5, 1, 6),
    "A": (1, 6, 3),
    "B": (2, 4, 5, 1, 3),
    "C": (2, 4, 5, 1, 3),
    "D": (1, 6),
    "z": (2, 4, 5, 6),
    "delta_bias": (1, 6),
}


def tensors(shapes, **changed):
    return {name: torch.rand(shape) for name, shape in (shapes | changed).items()}


@pytest.mark.parametrize("name", GOOD)
def test_a_wrong_shape_names_argument_given_and_expected(name):
    wrong = (7,) * len(GOOD[name]) if name != "u" else (2, 6)
    with pytest.raises(InputError) as error:
        selective_scan(**tensors(GOOD, **{name: wrong}))
    message = str(error.value)
    assert message.startswith(f"{name} has shape {wrong}, expected (")
    assert "\n" not in message


@pytest.mark.parametrize("name", IMAGE)
def test_a_wrong_image_shape_names_argument_given_and_expected(name):
    wrong = (7,) * len(IMAGE[name]) if name != "u" else (2, 6)
    with pytest.raises(InputError, match=f"^{name} has shape .*, expected \\("):
        selective_scan_2d(**tensors(IMAGE, **{name: wrong}))


def test_groups_must_divide_the_channels():
    with pytest.raises(InputError, match="B has 4 groups, expected a divisor of d = 6"):
        selective_scan(**tensors(GOOD, B=(2, 4, 3, 5)))


def test_unknown_names_are_errors():
    with pytest.raises(InputError, match="backend is 'fast', expected one of auto, reference"):
        selective_scan(**tensors(GOOD), backend="fast")
    with pytest.raises(InputError, match="layout is 'lbd', expected one of 'bdl', 'bld'"):
        selective_scan(**tensors(GOOD), layout="lbd")
    with pytest.raises(InputError, match=r"orders is \('diagonal',\), expected"):
        selective_scan_2d(**tensors(IMAGE), orders=("diagonal",))
    with pytest.raises(InputError, match="orders is"):
        selective_scan_2d(**tensors(IMAGE), orders=())


def test_integers_and_complex_numbers_are_refused():
    for dtype in (torch.int64, torch.complex64):
        arguments = tensors(GOOD) | {"A": torch.ones(6, 3, dtype=dtype)}
        with pytest.raises(InputError, match=f"A is {dtype}, expected a real floating dtype"):
            selective_scan(**arguments)


def test_tensors_must_share_a_device():
    arguments = tensors(GOOD) | {"D": torch.ones(6, device="meta")}
    with pytest.raises(InputError, match="D is on meta, expected cpu as u"):
        selective_scan(**arguments)


def test_debug_switch_finds_what_is_not_finite(monkeypatch):
    arguments = tensors(GOOD)
    arguments["C"][0, 0, :2] = torch.nan
    selective_scan(**arguments)
    monkeypatch.setenv("UNVEIL_CHECK_FINITE", "1")
    with pytest.raises(InputError, match="C holds 2 values that are not finite"):
        selective_scan(**arguments)
