import pytest
import torch

from unveil import create_model
from unveil.errors import InputError
from unveil.inference.padding import pad_to_multiple, restore_tensor


@pytest.fixture(scope="module")
def model():
    return create_model("mtair_tiny").eval()


@pytest.fixture(scope="module", params=["cu_mamba_small", "cu_mamba_tiny", "mtair_tiny"])
def any_model(request):
    return create_model(request.param).eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (4, 4), (5, 8), (17, 31)])
@pytest.mark.parametrize("batch", [(), (0,), (1,), (3,)])
def test_any_size_and_batch_comes_back_the_same_size(any_model, size, batch):
    x = torch.rand(*batch, 3, *size)
    restored = restore_tensor(any_model, x)
    assert restored.shape == x.shape
    assert restored.isfinite().all()
    assert not restored.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_any_floats_come_back_as_such(any_model, dtype):
    x = torch.rand(3, 9, 7, dtype=dtype)
    restored = restore_tensor(any_model, x)
    assert restored.dtype == dtype
    assert torch.equal(restored, restore_tensor(any_model, x.float()).to(dtype))


def test_integers_are_refused(model):
    with pytest.raises(InputError, match="expected floats"):
        restore_tensor(model, torch.zeros(3, 8, 8, dtype=torch.uint8))


def test_sizes_that_fit_are_passed_on_unpadded(model):
    x = torch.rand(1, 3, 8, 12)
    assert pad_to_multiple(x, 4) is x
    with torch.no_grad():
        assert torch.equal(restore_tensor(model, x), model(x))


def test_padding_mirrors_where_it_can_and_repeats_the_edge_where_not():
    x = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    expected = torch.tensor([[1.0, 2, 3, 2], [4, 5, 6, 5], [4, 5, 6, 5], [4, 5, 6, 5]])
    assert torch.equal(pad_to_multiple(x, 4)[0, 0], expected)
    assert torch.equal(pad_to_multiple(torch.ones(1, 1, 1, 1), 8), torch.ones(1, 1, 8, 8))


def test_the_context_reaches_the_network(model):
    x = torch.rand(1, 3, 8, 8)
    context = model.collect_statistics(torch.zeros(1, 3, 8, 8))
    with torch.no_grad():
        assert torch.equal(restore_tensor(model, x, context), model(x, context))
    assert not torch.equal(restore_tensor(model, x, context), restore_tensor(model, x))


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8), (1, 4, 8, 8), (1, 3, 0, 8)])
def test_what_is_no_rgb_image_is_refused(model, shape):
    with pytest.raises(InputError, match="degraded has shape"):
        restore_tensor(model, torch.zeros(shape))
