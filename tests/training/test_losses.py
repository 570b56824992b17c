"""Loss terms agree with their formulas in float64, and batches may be split."""

import math

import numpy as np
import pytest
import torch

from unveil.errors import RecipeError
from unveil.training.losses import Loss, bands, charbonnier, fft, l1, mse, psnr, psnr35


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3, 7, 10)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def test_charbonnier_is_the_papers_formula(images):
    a, b = (image.numpy() for image in images)
    expected = np.sqrt((a - b) ** 2 + 1e-3).mean()
    assert charbonnier(*images).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (10, 7), (1, 1), (5, 2)])
def test_half_spectrum_counts_like_the_full_one(size):
    a, b = torch.rand(2, 2, 3, *size)
    difference = (a - b).double().numpy()
    expected = np.abs(np.fft.fft2(difference, norm="ortho")).mean()
    assert fft(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_the_fft_terms_gradient_is_that_of_the_full_spectrum():
    a = torch.rand(1, 3, 6, 8, dtype=torch.float32, requires_grad=True)
    full = a.detach().double().requires_grad_()
    fft(a, torch.zeros_like(a)).backward()
    torch.fft.fft2(full, norm="ortho").abs().mean().backward()
    torch.testing.assert_close(a.grad.double(), full.grad, rtol=1e-4, atol=1e-7)


def test_psnr_is_minus_the_mean_over_images(images):
    errors = ((images[0] - images[1]) ** 2).mean(dim=(1, 2, 3))
    expected = np.mean([10 * math.log10(error + 1e-5) for error in errors.tolist()])
    assert psnr(*images).item() == pytest.approx(expected, rel=1e-9)


def test_up_to_35_db_ends_the_pull_of_images_past_it():
    worse = torch.rand(1, 3, 8, 8)
    pulls = {}
    for difference in (10**-2.5, 10**-1.0):  # 50 and 20 dB
        for term in (psnr, psnr35):
            restored = (worse + difference).requires_grad_()
            term(restored, worse).backward()
            pulls[term, difference] = restored.grad.norm().item()
    assert pulls[psnr35, 10**-1.0] == pytest.approx(pulls[psnr, 10**-1.0], rel=0.05)
    assert pulls[psnr35, 10**-2.5] < pulls[psnr, 10**-2.5] / 10


def test_equal_images_have_finite_losses_and_gradients():
    image = torch.rand(1, 3, 8, 8)
    for name in ("charbonnier", "fft", "l1", "mse", "psnr", "psnr35"):
        restored = image.clone().requires_grad_()
        Loss.parse(name)(restored, image).backward()
        assert restored.grad.isfinite().all(), name


@pytest.mark.parametrize("term", [charbonnier, fft, l1, mse, psnr, psnr35])
def test_a_batchs_loss_is_the_mean_of_its_images(term, images):
    apart = [term(a[None], b[None]) for a, b in zip(*images, strict=True)]
    torch.testing.assert_close(term(*images), torch.stack(apart).mean())


def test_the_balance_does_not_depend_on_the_patch():
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 0.1
    zero = torch.zeros_like(noise)
    large = fft(noise, zero)
    small = fft(noise[..., :64, :64], zero[..., :64, :64])
    assert small.item() == pytest.approx(large.item(), rel=0.03)


def test_weights_are_applied(images):
    loss = Loss.parse("2*l1 + .5 * mse+charbonnier")
    expected = 2 * l1(*images) + 0.5 * mse(*images) + charbonnier(*images)
    torch.testing.assert_close(loss(*images), expected)


@pytest.mark.parametrize("text", ["", "l1 +", "l3", "x*l1", "l1*2", "-l1"])
def test_what_is_no_loss_is_refused(text):
    with pytest.raises(RecipeError, match="charbonnier"):
        Loss.parse(text)


def test_bands_are_high_passed_means_of_strips():
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.rand(2, 3, 70, 50, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = []
    for difference in ((a - b).numpy(), (a - b).transpose(2, 3).numpy()):
        profiles = [difference[:, :, i : i + 32].mean(2) for i in range(0, 33, 32)]
        profiles = profiles[: difference.shape[2] // 32]
        left = []
        for profile in profiles:
            around = np.pad(profile, ((0, 0), (0, 0), (16, 16)), mode="edge")
            smooth = np.lib.stride_tricks.sliding_window_view(around, 33, axis=2).mean(-1)
            left.append(np.abs(profile - smooth).mean())
        expected.append(np.mean(left))
    assert bands(a, b).item() == pytest.approx(sum(expected), rel=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (40, 7)])
def test_bands_of_small_images_are_finite(size):
    assert math.isfinite(bands(torch.rand(1, 3, *size), torch.rand(1, 3, *size)).item())
