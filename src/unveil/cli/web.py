"""`unveil web`: the page as a folder for any static host, with networks in the browser."""

from pathlib import Path
from typing import Annotated

import typer


def web(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; new, empty or a site.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model id, weights file or folder; repeatable, the first is preferred. "
            "Default: mtair_small."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a site that is there.")
    ] = False,
) -> None:
    """Write a page that restores photos in the browser: no server, nothing fetched elsewhere."""
    from unveil.errors import MissingExtraError

    try:
        from unveil.serve.site import write_site
    except ModuleNotFoundError as error:
        raise MissingExtraError("unveil web", "serve,onnx") from error
    models = model or ["mtair_small"]
    typer.echo(f"writing {', '.join(models)} as ONNX and checking it: this takes minutes", err=True)
    files = write_site(out, models, force=force)
    size = sum(file.stat().st_size for file in files)
    typer.echo(str(out / "index.html"))
    typer.echo(f"{len(files)} files, {size / 1e6:.1f} MB", err=True)
