import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file, save_file

from unveil import create_model
from unveil.errors import CheckpointError
from unveil.models import checkpoint
from unveil.models.checkpoint import (
    from_pretrained,
    push_to_hub,
    read_metadata,
    save_checkpoint,
    save_pretrained,
)
from unveil.models.cu_mamba import CUMamba


@pytest.fixture
def model():
    return create_model("cu_mamba_tiny", d_state=3, channel={"d_state": 2})


@pytest.fixture
def saved(model, tmp_path):
    return save_checkpoint(model, tmp_path / "net.safetensors", {"recipe": "two: 2"})


def _assert_same(one, other):
    assert one.config == other.config
    for (name, value), (_, expected) in zip(
        one.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert torch.equal(value, expected), name


def test_one_file_suffices(model, saved):
    loaded = from_pretrained(saved)
    _assert_same(loaded, model)
    assert not loaded.training
    assert loaded.model_id == "cu_mamba_tiny"
    assert read_metadata(saved)["recipe"] == "two: 2"


def test_a_folder_follows_hugging_faces_conventions(model, tmp_path):
    folder = save_pretrained(model, tmp_path / "net")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    content = json.loads((folder / "config.json").read_text())
    assert content["model"] == "cu_mamba_tiny"
    assert content["config"]["d_state"] == 3
    _assert_same(from_pretrained(folder), model)
    _assert_same(from_pretrained(folder / "model.safetensors"), model)


def test_a_config_beside_the_file_stands_in_for_metadata(model, tmp_path):
    folder = save_pretrained(model, tmp_path / "net")
    weights = folder / "model.safetensors"
    save_file(load_file(weights), weights)
    _assert_same(from_pretrained(folder), model)


def test_half_precision_weights_load_into_single_precision(model, saved):
    with_metadata = read_metadata(saved)
    save_file({k: v.half() for k, v in load_file(saved).items()}, saved, metadata=with_metadata)
    loaded = from_pretrained(saved)
    assert loaded.stem.weight.dtype is torch.float32
    torch.testing.assert_close(loaded.stem.weight, model.stem.weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("keep", [0, 4, 100, 2000, -1])
def test_a_truncated_file_says_so(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[:keep])
    with pytest.raises(CheckpointError, match=r"net\.safetensors: .*(damaged|empty)"):
        from_pretrained(saved)


def test_a_damaged_header_says_so(saved):
    content = bytearray(saved.read_bytes())
    content[:8] = struct.pack("<Q", 2**60)
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        from_pretrained(saved)


def test_values_that_are_not_finite_are_refused(model, saved):
    with torch.no_grad():
        model.head.weight[0] = float("nan")
    save_checkpoint(model, saved)
    with pytest.raises(CheckpointError, match=r"head\.weight holds values that are not finite"):
        from_pretrained(saved)


def test_a_foreign_file_says_so(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not written by unveil"):
        from_pretrained(path)


def test_a_mismatched_file_names_the_first_tensor(saved):
    state, metadata = load_file(saved), read_metadata(saved)
    for change, message in [
        ({"stem.weight": torch.zeros(2)}, r"stem\.weight has shape \(2,\), the model \(16, 12"),
        ({"extra": torch.zeros(2)}, "extra is unknown"),
    ]:
        save_file(state | change, saved, metadata=metadata)
        with pytest.raises(CheckpointError, match=message):
            from_pretrained(saved)
    del state["stem.weight"]
    save_file(state, saved, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"stem\.weight is missing"):
        from_pretrained(saved)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ('{"model": "cu_mamba_huge", "config": {}}', "another version"),
        ('{"model": "cu_mamba_tiny", "config": {"d_state": -1}}', "d_state"),
        ('{"model": "cu_mamba_tiny", "config": {"new_field": 1}}', "new_field"),
        ('{"config": {}}', "cannot be read"),
        ("not json", "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_configuration_that_does_not_fit_says_what(saved, description, message):
    save_file(load_file(saved), saved, metadata={"unveil": description})
    with pytest.raises(CheckpointError, match=message):
        from_pretrained(saved)


def test_pickles_are_refused_unopened_with_the_way_out(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was opened",))

    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="weights_only=True"):
        from_pretrained(path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="save_checkpoint"):
        from_pretrained(tmp_path / "weights.pth")


def test_missing_files_and_hub_names_without_the_prefix_say_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        from_pretrained(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="write hf://owner/name"):
        from_pretrained("owner/name")
    with pytest.raises(CheckpointError, match="cannot be read"):
        from_pretrained(tmp_path)


def test_only_explicit_hub_names_download(model, tmp_path, monkeypatch):
    folder = save_pretrained(model, tmp_path / "net")
    asked = []

    def download(repo, name, revision=None):
        asked.append((repo, name, revision))
        return str(folder / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    _assert_same(from_pretrained("hf://owner/name@v1"), model)
    assert asked == [("owner/name", n, "v1") for n in ("config.json", "model.safetensors")]


def test_one_file_on_the_hub_suffices(model, tmp_path, monkeypatch):
    class MissingError(EntryNotFoundError):
        def __init__(self):
            Exception.__init__(self, "no such entry")

    weights = save_checkpoint(model, tmp_path / "model.safetensors")

    def download(_, name, **__):
        if name == "config.json":
            raise MissingError
        return str(weights)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    _assert_same(from_pretrained("hf://owner/name"), model)


def test_a_name_the_hub_does_not_allow_is_one_line():
    with pytest.raises(CheckpointError, match="hf://a--b/c: cannot be downloaded"):
        from_pretrained("hf://a--b/c")


# Lengths whose bytes read like a zip archive's or a pickle's first ones.
@pytest.mark.parametrize("length", [19_280, 65_536 + 640, 65_536 + 896, 65_536 + 1_408])
def test_a_header_of_any_length_is_no_pickle(model, tmp_path, length):
    def written(padding):
        path = save_checkpoint(model, tmp_path / "a.safetensors", {"recipe": "x" * padding})
        return path, int.from_bytes(path.read_bytes()[:8], "little")

    path, found = written(8)
    path, found = written(8 + length - found)
    assert found == length
    _assert_same(from_pretrained(path), model)


def test_a_failed_download_is_one_line(monkeypatch):
    def download(*_, **__):
        raise OSError("no route\nand more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(CheckpointError, match=r"hf://a/b: cannot be downloaded \(no route\)"):
        from_pretrained("hf://a/b")


def test_pushing_uploads_what_saving_writes(model, monkeypatch):
    uploads = []

    class Api:
        def create_repo(self, repo_id, **options):
            uploads.append((repo_id, options))

        def upload_folder(self, *, repo_id, folder_path):
            _assert_same(from_pretrained(folder_path), model)
            return f"https://hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert push_to_hub(model, "owner/net", private=True) == "https://hub/owner/net"
    assert uploads == [("owner/net", {"exist_ok": True, "private": True})]


def test_a_failed_write_leaves_the_old_file(model, saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(model, saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_models_made_without_the_registry_are_saved_as_their_variant(tmp_path):
    model = CUMamba(create_model("cu_mamba_tiny").config)
    loaded = from_pretrained(save_checkpoint(model, tmp_path / "a.safetensors"))
    assert loaded.model_id == "cu_mamba_tiny"
    _assert_same(loaded, model)


def test_bundled_weights_are_found_in_the_package(tmp_path, monkeypatch):
    tiny = create_model("cu_mamba_tiny")
    path = save_checkpoint(tiny, tmp_path / "cu_mamba_tiny.safetensors")
    monkeypatch.setattr(checkpoint, "_bundled", path.with_stem)
    assert checkpoint.bundled_weights() == ["cu_mamba_tiny"]
    _assert_same(create_model("cu_mamba_tiny", pretrained=True), tiny)
    with pytest.raises(CheckpointError, match="does not fit cu_mamba_tiny"):
        create_model("cu_mamba_tiny", pretrained=True, d_state=5)


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_a_saved_file_can_be_read_by_whom_the_users_files_can(model, tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    written = save_checkpoint(model, tmp_path / "weights.safetensors")
    assert written.stat().st_mode == plain.stat().st_mode
