"""`zsbench leaderboard`: tables from committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsbench.cli.errors import console
from zsbench.cli.program import app
from zsbench.errors import UserError


@app.command()
def leaderboard(
    folder: Annotated[
        Path, typer.Option(help="folder with results/*.json, efficiency/*.json and published.csv")
    ] = Path("leaderboards"),
    efficiency: Annotated[
        bool, typer.Option("--efficiency", help="print the page of costs; --add takes profiles")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="change nothing; fail if a committed table is stale")] = False,
    suite: Annotated[
        str | None,
        typer.Option(help="print means and ranks over a suite's data sets (a name, or a .toml); write nothing"),
    ] = None,
    add: Annotated[list[Path] | None, typer.Option(help="a result.json to take in; may be repeated")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="print which command measures which printed row, and what it needs")
    ] = False,
    unverified: Annotated[
        bool,
        typer.Option("--unverified", help="print what publications are said to report, where nobody could check it"),
    ] = False,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="further ones for --add")] = None,
) -> None:
    """Write the Markdown tables from the committed results, or check that they are up to date.

    Every number that follows from a result's counts is computed again; from the records beside it, too, unless --check.
    """
    if published or unverified:
        show_published(folder, unverified, commands=published)
        return
    if more and not add:
        raise UserError(f"{more[0]}: to take in a result, give --add {more[0]}.")
    paths = [*(add or []), *(more or [])]
    if absent := [path for path in paths if not path.is_file()]:
        raise UserError(f"{absent[0]}: no such result; nothing was taken in. The folder of the tables is --folder.")
    for path in paths:
        take_in(path, folder, efficiency)
    if check:
        from zsbench.reports.leaderboard import check_tables

        check_tables(folder)
        console.print("leaderboard tables are up to date")
    elif suite is not None:
        show_suite(suite, folder)
    else:
        write(folder, efficiency)


def show_published(folder: Path, unverified: bool, commands: bool) -> None:
    from zsbench.reports.commands import commands_page
    from zsbench.reports.leaderboard import published_table
    from zsbench.reports.published import read_published

    rows = read_published(folder / "published.csv", unverified)
    print(commands_page(rows) if commands else published_table(rows))


def take_in(path: Path, folder: Path, profile: bool) -> None:
    """Add a result, or a profile, and say where it is and what it replaced."""
    from zsbench.reports.costs import add_profile
    from zsbench.reports.leaderboard import add_result
    from zsbench.reports.rows import records_beside

    target, replaced = (add_profile if profile else add_result)(path, folder)
    before = f", which replaces what was measured on {replaced}" if replaced else ""
    bare = "" if profile or records_beside(target).exists() else "; without its records, errors are as it says"
    console.print(f"took in {target}{before}{bare}", soft_wrap=True)


def show_suite(suite: str, folder: Path) -> None:
    from zsbench.data.suite import read_suite
    from zsbench.reports.leaderboard import read_entries
    from zsbench.reports.suites import suite_page

    named, entries = read_suite(suite, installed=False), read_entries(folder)
    if not entries:
        results = folder / "results"
        raise UserError(f"no result lies in {results}: give a leaderboard by --folder, or take results in by --add.")
    print(suite_page(named, entries), end="")


def write(folder: Path, costs: bool) -> None:
    """Write all pages; print that of `costs`, if asked for."""
    from zsbench.reports.costs import efficiency_pages
    from zsbench.reports.leaderboard import write_tables

    for path in write_tables(folder):
        console.print(f"wrote {path}", soft_wrap=True)
    for text in efficiency_pages(folder).values() if costs else ():
        print(text)
