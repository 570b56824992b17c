import numpy as np
import pytest
import torch

from unveil import Restorer, create_model
from unveil.errors import CheckpointError, InputError
from unveil.evaluation import NetworkMethod, load_method
from unveil.metrics import psnr


@pytest.fixture
def noisy():
    y, x = np.mgrid[0:30, 0:41] / 10
    clean = np.stack([np.sin(x), np.cos(y), np.sin(x * y)], axis=-1).astype(np.float32) / 3 + 0.5
    noise = np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    return clean, (clean + noise).astype(np.float32)


def test_the_identity_changes_nothing(noisy):
    _, degraded = noisy
    np.testing.assert_array_equal(load_method("identity")(degraded, None), degraded)


def test_non_local_means_removes_noise_of_a_known_level(noisy):
    clean, degraded = noisy
    restored = load_method("nlm")(degraded, 25)
    assert restored.dtype == np.float32
    assert psnr(restored, clean, data_range=1) > psnr(degraded, clean, data_range=1) + 4


def test_non_local_means_must_know_the_level(noisy):
    with pytest.raises(InputError, match="--sigma"):
        load_method("nlm")(noisy[1], None)


def test_a_network_restores_any_size_as_it_does_alone(noisy):
    _, degraded = noisy
    model = create_model("cu_mamba_tiny").eval()
    restored = NetworkMethod("tiny", model)(degraded, 25)
    assert restored.shape == degraded.shape
    even = np.ascontiguousarray(degraded[:28, :40])  # multiples of 4: no padding, plain forward
    batch = torch.from_numpy(even.transpose(2, 0, 1))[None]
    with torch.no_grad():
        expected = model(batch)[0].permute(1, 2, 0).numpy()
    # The change is taken from the input and added to it: a rounding of float32.
    np.testing.assert_allclose(NetworkMethod("tiny", model)(even, None), expected, atol=3e-7)
    np.testing.assert_array_equal(
        NetworkMethod("tiny", model)(even, None), Restorer(model, tile="off")(even)
    )


def test_a_network_that_looks_at_windows_is_scored_as_it_restores(noisy, tmp_path, monkeypatch):
    from unveil.inference import loading
    from unveil.inference.tiling import Tiling
    from unveil.models.checkpoint import save_pretrained

    save_pretrained(create_model("mtair_tiny"), tmp_path / "saved")
    whole = load_method(str(tmp_path / "saved"), device="cpu")
    monkeypatch.setattr(loading, "_recorded", lambda _: Tiling(window=16))
    windows = load_method(str(tmp_path / "saved"), device="cpu")
    degraded = np.tile(noisy[1], (3, 3, 1))
    expected = Restorer(tmp_path / "saved")(degraded)
    np.testing.assert_array_equal(windows(degraded, None), expected)
    assert not np.allclose(whole(degraded, None), expected)
    assert windows.digest != whole.digest


def test_a_saved_network_scores_as_the_one_in_memory(noisy, tmp_path):
    from unveil.models.checkpoint import save_pretrained

    model = create_model("cu_mamba_tiny").eval()
    save_pretrained(model, tmp_path / "saved")
    ours, loaded = NetworkMethod("tiny", model), load_method(str(tmp_path / "saved"), device="cpu")
    again = load_method(str(tmp_path / "saved" / "model.safetensors"), device="cpu")
    np.testing.assert_array_equal(loaded(noisy[1], None), ours(noisy[1], None))
    assert (loaded.digest, loaded.parameters) == (again.digest, ours.parameters)
    assert (loaded.name, again.name) == ("saved", "saved/model.safetensors")


def test_the_digest_tells_weights_apart(tmp_path):
    from unveil.models.checkpoint import save_pretrained

    for name in ("one", "other"):
        save_pretrained(create_model("cu_mamba_tiny"), tmp_path / name)
    digests = [load_method(str(tmp_path / name)).digest for name in ("one", "other", "one")]
    assert digests[0] == digests[2] != digests[1]


def test_an_unknown_model_is_an_error():
    with pytest.raises(InputError, match="cu_mamba_tiny"):
        load_method("cu_mamba_tny")


def test_a_model_without_weights_is_an_error():
    with pytest.raises(CheckpointError):
        load_method("cu_mamba_tiny")


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(CheckpointError):
        load_method(str(tmp_path / "model.safetensors"))


def test_an_unknown_device_is_an_error():
    with pytest.raises(InputError, match="expected auto, cpu, cuda"):
        load_method("cu_mamba_tiny", device="tpu")


@pytest.mark.gpu
def test_a_network_on_the_gpu_agrees_with_the_cpu(noisy):
    model = create_model("cu_mamba_tiny")
    on_cpu = NetworkMethod("tiny", model)(noisy[1], None)
    on_gpu = NetworkMethod("tiny", model, device="cuda")(noisy[1], None)
    # float32 sums in another order, and TF32 off by default for matrix products
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4)
