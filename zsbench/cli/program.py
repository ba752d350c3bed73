"""The program that commands add themselves to."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zsbench import __version__
from zsbench.cli.errors import plain_errors
from zsbench.cli.examples import EXAMPLES, epilog
from zsbench.cli.streams import show_what_it_can
from zsbench.utils.interruption import follow, listen

HELP = {"help_option_names": ["--help", "-h"]}
ALONE = ("compare", "export", "leaderboard", "report")
"""Commands whose modules, of the same names, know nothing of the others, so that they answer sooner."""


class PlainErrors(TyperGroup):
    """The group of commands, all of which fail plainly."""

    def invoke(self, ctx: Any) -> Any:
        with plain_errors():
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is not None and cmd_name in EXAMPLES:
            found.epilog = epilog(cmd_name)
        return found


app = typer.Typer(
    cls=PlainErrors,
    help="Measure zero-shot semantic segmentation methods: how good, and how expensive, under one protocol.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
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


def begin() -> None:
    """The `zsbench` command."""
    listen()
    follow()
    show_what_it_can(sys.stdout, sys.stderr)
    named = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    import_module(f"zsbench.cli.{named if named in ALONE else 'app'}")
    app()
