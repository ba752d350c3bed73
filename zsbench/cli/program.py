"""The program that commands are added to."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zsbench import __version__
from zsbench.cli.errors import plain_errors
from zsbench.cli.options import HELP


class PlainErrors(TyperGroup):
    """The group of commands, all of which fail plainly."""

    def invoke(self, ctx: Any) -> Any:
        with plain_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=PlainErrors,
    help="Measure zero-shot semantic segmentation methods: how good, and how expensive, under one protocol.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings=HELP,
)


def show_version(asked: bool) -> None:
    if asked:
        print(f"zsbench {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
