"""`unveil serve`: a web page and an HTTP API."""

from pathlib import Path
from typing import Annotated

import typer

from unveil.cli.shared_options import Device, Threads


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 7860,
    token: Annotated[
        str | None,
        typer.Option(envvar="UNVEIL_TOKEN", help="Secret that clients must give."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name the server is known by, such as a proxy's; repeatable."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Weights to offer beside the bundled ones, and prefer; repeatable."),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    max_megapixels: Annotated[float, typer.Option(help="Refuse larger images.")] = 100.0,
    max_megabytes: Annotated[
        float, typer.Option(help="Refuse larger uploads.", min=0, max=1e9)
    ] = 200.0,
    queue: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images that may wait while one is restored.")
    ] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request is given up.")] = (
        600.0
    ),
    keep: Annotated[
        float, typer.Option(help="Minutes that a job is kept after its last use.")
    ] = 15.0,
    root_path: Annotated[
        str, typer.Option(help="Path prefix under which a proxy shows the server, and removes it.")
    ] = "",
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Serve the page, or the API alone.")
    ] = True,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser.")
    ] = False,
) -> None:
    """Serve a page for people and an API for programs; stops at Ctrl-C or SIGTERM."""
    import gc
    import math

    from pydantic import ValidationError

    from unveil.errors import MissingExtraError

    try:
        from unveil.serve.server import run_server
        from unveil.serve.settings import Settings
    except ModuleNotFoundError as error:
        raise MissingExtraError("unveil serve", "serve") from error
    try:
        settings = Settings(
            host=host,
            port=port,
            token=token,
            allowed_hosts=tuple(allow_host or ()),
            models=tuple(model or ()),
            device=device,
            threads=threads,
            max_megapixels=max_megapixels,
            # NaN passes the option's bounds.
            max_bytes=0 if math.isnan(max_megabytes) else round(max_megabytes * 1e6),
            queue=queue,
            timeout_s=timeout,
            keep_s=keep * 60,
            root_path=root_path.rstrip("/"),
        )
    except ValidationError as error:
        raise typer.BadParameter(_sentence(error)) from None

    def ready(address: str) -> None:
        typer.echo(address)
        if open_browser:
            import webbrowser

            webbrowser.open(address)

    run_server(settings, ready, page=page)
    # Whoever stops us waits for the end: spare Python its search through all that was imported.
    gc.freeze()


def _sentence(error: Exception) -> str:
    """Return the first thing that is wrong, naming the option; never the token's value."""
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    first = error.errors(include_input=False, include_url=False)[0]
    options = {"timeout_s": "timeout", "max_bytes": "max-megabytes", "keep_s": "keep"}
    place = "".join(f"--{options.get(str(p), str(p).replace('_', '-'))}: " for p in first["loc"])
    return place + first["msg"].removeprefix("Value error, ")
