"""The HTTP API keeps its schema."""

import unveil
from unveil.models.checkpoint import save_checkpoint
from unveil.serve.app import build_app
from unveil.serve.settings import Settings


def test_openapi_document(frozen, tmp_path):
    weights = save_checkpoint(unveil.create_model("cu_mamba_tiny"), tmp_path / "tiny.safetensors")
    app = build_app(Settings(models=(weights,), threads=1), page=False)
    try:
        document = app.openapi()
    finally:
        app.state.engine.stop(1.0)
    document["info"].pop("version")
    frozen("openapi", document)
