"""Options that several verbs take."""

from typing import Annotated

import typer

Include = Annotated[
    list[str] | None,
    typer.Option(help="Only files whose name matches, e.g. '*_wall_*'. May be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Leave out files whose name matches. May be repeated."),
]
