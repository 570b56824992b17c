import pytest
import torch
import yaml

from unveil import from_pretrained
from unveil.errors import CheckpointError
from unveil.inference.loading import load
from unveil.integrations.hugging_face import card, write_model, write_space_card
from unveil.models.card import read_card
from unveil.models.checkpoint import bundled_weights
from unveil.models.registry import create_model, get_record


@pytest.mark.parametrize("name", bundled_weights())
def test_a_written_folder_loads_as_the_bundled_network(name, tmp_path):
    folder = write_model(name, tmp_path / name)
    assert {p.name for p in folder.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = create_model(name, pretrained=True)(image)
        assert torch.equal(from_pretrained(folder)(image), expected)
    assert load(folder).probe == load(name).probe


@pytest.mark.parametrize("name", bundled_weights())
def test_a_card_starts_with_metadata_and_holds_the_models_description(name):
    _, head, text = card(name).split("---\n", 2)
    entries = yaml.safe_load(head)
    assert entries["license"] == "apache-2.0"
    assert entries["pipeline_tag"] == "image-to-image"
    about, record = read_card(name), get_record(name)
    assert f"arxiv:{about.arxiv}" in entries["tags"]
    # One file states it, and it is true of the network.
    assert about.arxiv in record.paper
    ends = {"denoise": "denoising", "derain": "deraining", "dehaze": "dehazing"}
    assert {ends.get(task, "deblurring") for task in record.tasks} <= set(about.tags)
    assert f"# {name}" in text


def test_a_model_without_weights_has_no_card():
    with pytest.raises(CheckpointError, match="bundled"):
        card("mtair_base")


def test_a_page_becomes_a_static_space(tmp_path):
    with pytest.raises(CheckpointError, match="unveil web"):
        write_space_card(tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html>")
    _, head, _ = write_space_card(tmp_path).read_text().split("---\n", 2)
    assert yaml.safe_load(head)["sdk"] == "static"
