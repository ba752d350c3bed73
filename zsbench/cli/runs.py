"""The commands that measure: `run`, `train`, `eval`, `ablate`, `sweep`, `profile`, `predict`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zsbench import registry
from zsbench.cli.errors import console, errors
from zsbench.cli.options import made_from, split_commas
from zsbench.cli.program import app
from zsbench.errors import UserError, did_you_mean
from zsbench.result import Result
from zsbench.runs import api
from zsbench.runs.grid import Finished
from zsbench.runs.request import OUTPUT, SEEDS, TRAINING, WHAT, WHERE, ProfileRequest, Request, Verb, parse_seeds
from zsbench.runs.resolve import resolve
from zsbench.utils.distributed import leave
from zsbench.utils.files import read_text, write_text

VARIED = ("device", "dtype", "size", "dataset", "method")
"""What a grid of profiles may vary; methods first: what is compared is measured one after the other."""
SUITE = "every data set of a suite (`zsbench list suites`), by name or file (.toml): a grid, resumed where it stopped"


def say(text: str) -> None:
    """A line beside what is printed for others to read."""
    errors.print(text, soft_wrap=True)


def add_run(verb: Verb, summary: str) -> None:
    """Add `zsbench run`, `train` or `eval`: one body."""

    @app.command(verb, help=summary)
    @made_from(Request, verb)
    def command(
        given: dict[str, Any],
        seeds: Annotated[
            str | None,
            typer.Option(metavar="N | N,N,...", help=SEEDS, rich_help_panel=TRAINING.panel),
        ] = None,
        suite: Annotated[str | None, typer.Option(metavar="TEXT", help=SUITE, rich_help_panel=WHAT.panel)] = None,
    ) -> None:
        if seeds is not None and "seed" in given:
            raise UserError("--seed and --seeds say it twice: leave one out.")
        if suite is not None:
            run_suite(verb, suite, given, seeds)
            return
        several = [given] if seeds is None else [{**given, "seed": seed} for seed in parse_seeds(seeds)]
        run_all(verb, [Request.of(verb, one) for one in several])


def run_suite(verb: Verb, suite: str, given: dict[str, Any], seeds: str | None) -> None:
    """Carry out a request on every data set of a suite, and show one table of all."""
    if "dataset" in given:
        raise UserError("--suite and --dataset say it twice: leave one out.")
    numbers = parse_seeds(seeds if seeds is not None else f"{given.pop('seed', 0)},")
    given.pop("resume", None)  # a grid goes on where it was stopped
    finished = api.run_suite(suite, verb=verb, seeds=numbers, say=say, **given)
    from zsbench.data.suite import read_suite
    from zsbench.reports.tables import suite_table

    cells = {row[0].request.dataset: [cell.load() for cell in row] for row in finished.rows.values()}
    conclude(finished, suite_table(cells, read_suite(suite).metric), cells)


def run_all(verb: Verb, requests: Sequence[Request]) -> None:
    """Carry out requests that differ in nothing but the seed, and show what came of them."""
    resolve(requests[0], verb=verb)
    from zsbench.cli.console import confirm, show_plan, show_result, show_seeds
    from zsbench.runs.execution import execute
    from zsbench.runs.plan import make_plan

    results = []
    for request in requests:
        apart = {"out": request.out, "save_predictions": request.save_predictions}
        if len(requests) > 1:
            apart = {name: folder and folder / f"seed{request.seed}" for name, folder in apart.items()}
        plan = make_plan(verb, request.model_copy(update=apart))
        show_plan(console, plan)
        done = execute(plan, console, confirm=confirm)
        if done.result is not None:
            show_result(console, done.result)
            results.append(done.result)
        console.print(f"written to {done.out}", soft_wrap=True)
    if len(results) > 1:
        show_seeds(console, results)
    leave()


add_run("run", "Train (if the method learns), evaluate and profile a method on a dataset.")
add_run("train", "Train a method and write its checkpoint.")
add_run("eval", "Evaluate a method: a trained one with --checkpoint, a training-free one without.")


@app.command()
@made_from(Request, "run", leave_out=api.OF_THE_TABLE)
def ablate(
    given: dict[str, Any],
    method: Annotated[str, typer.Argument(help="name of a method")],
    table: Annotated[int, typer.Option(help="number of the ablation table in the method's paper", metavar="N")],
    seeds: Annotated[str, typer.Option(metavar="N | N,N,...", help=SEEDS, rich_help_panel=TRAINING.panel)] = "3",
    jobs: Annotated[
        int, typer.Option(min=1, help="cells that run at a time", metavar="N", rich_help_panel=WHERE.panel)
    ] = 1,
) -> None:
    """Measure an ablation table of a method's paper; finished cells are kept, failing ones listed (exit code 1)."""
    finished = api.ablate(method, table, seeds=seeds, jobs=jobs, say=say, **given)
    from zsbench.reports.tables import ablation_table

    results = [result for row in finished.results.values() for result in row]
    rows = registry.load_options(method).tables[table]
    conclude(finished, ablation_table(rows, results) if results else None, finished.results)


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="a sweep file (docs/sweep.md)")],
    jobs: Annotated[
        int | None, typer.Option(min=1, help="cells that run at a time; default: the file's", metavar="N")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="folder of all cells; default: the file's, else runs/<file>", metavar="PATH"),
    ] = None,
) -> None:
    """Run a grid of methods, datasets, seeds and options; finished cells are kept, failing ones listed (exit code 1)."""
    finished = api.sweep(file, jobs=jobs, out=out, say=say)
    from zsbench.reports.tables import sweep_table

    found = {row: [cell.load() for cell in cells] for row, cells in finished.rows.items()}
    conclude(finished, sweep_table(found), found)


def conclude(
    finished: Finished[Any], table: str | None = None, rows: Mapping[str, Sequence[Result | None]] | None = None
) -> None:
    """Print a grid's table, with what is to be known of the results in its `rows`, and keep it in the grid's folder; list
    what failed."""
    if table is not None:
        from zsbench.reports.remarks import table_remarks

        text = "\n\n".join([table, *table_remarks(rows or {})])
        write_text(finished.cells[0].out.parent / "table.md", text + "\n")
        print(text)
    for cell in finished.failed:
        say(f"failed: {cell.failure}")
    if finished.failed:
        raise typer.Exit(1)


@app.command()
@made_from(ProfileRequest, "profile", listed=VARIED)
def profile(
    given: dict[str, Any],
    as_json: Annotated[
        bool,
        typer.Option("--json", help="print JSON: an object, or a list for several", rich_help_panel=OUTPUT.panel),
    ] = False,
) -> None:
    """Count parameters and multiply-adds, and time one image. Needs no images; trained weights where cost depends on them.

    Of several methods, datasets, sizes, types or devices, each combination is measured in a process of its own.

    A folder of its own holds profile.json of each; that of a single one is written where --out says so.
    """
    axes = {name: values for name in VARIED if (values := split_commas(given.pop(name, None)))}
    several = any(len(values) > 1 for values in axes.values())
    if several:
        finished = api.profile_all(axes, given, say)
        costs = [found for row in finished.results.values() for found in row]
    else:
        costs = [api.profile(**given, **{name: value for name, (value,) in axes.items()})]
    from zsbench.cli.console import show_efficiency, show_profiles

    if as_json:
        objects = [found.model_dump(mode="json") for found in costs]
        print(json.dumps(objects if several else objects[0], indent=1))
    elif several:
        show_profiles(console, costs)
    else:
        show_efficiency(console, costs[0], costs[0].environment.device_name)
    if several:
        conclude(finished)


def own_names(given: str) -> list[str]:
    """Class names of the user's own: separated by commas, or the lines of a text file."""
    path = Path(given)
    if path.suffix != ".txt" and not (path.is_file() and len(path.parts) > 1):
        return split_commas([given])
    return [line.strip() for line in read_text(path, "list of class names").splitlines() if line.strip()]


@app.command()
@made_from(Request, "predict")
def predict(
    given: dict[str, Any],
    images: Annotated[list[Path], typer.Argument(help="image files, or folders of them")],
    classes: Annotated[
        str, typer.Option(help='class names, "cat, grass, sky", or a text file of them', metavar="NAMES")
    ],
    method: Annotated[
        str | None,
        typer.Option(help="name of a method; default: the checkpoint's, else a training-free one", metavar="TEXT"),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="take CLIP and protocol from this dataset; default: the checkpoint's", metavar="TEXT"),
    ] = None,
    save: Annotated[str, typer.Option(help="what to write: labels, overlay, json", metavar="KINDS")] = "labels,overlay",
    alpha: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="how much the colours of an overlay cover; default: 0.55", metavar="X"),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            help="folder for the pictures; default: the current one",
            metavar="PATH",
            show_default=False,
            rich_help_panel=OUTPUT.panel,
        ),
    ] = Path(),
) -> None:
    """Segment images into classes of your choice: for each an overlay with names, and the label map."""
    from zsbench.runs.image_files import KINDS, image_files

    kinds = [kind for kind in KINDS if kind in split_commas([save])]
    if unknown := sorted({*split_commas([save])} - {*KINDS}):
        raise UserError(f"--save {unknown[0]!r}: expected {', '.join(KINDS)}.{did_you_mean(unknown[0], KINDS)}")
    if alpha is not None and "overlay" not in kinds:
        raise UserError("--alpha is of overlays, which --save leaves out: leave one out.")
    covered = {} if alpha is None else {"alpha": alpha}
    named = image_files(images)
    for found in api.predict_all(named, own_names(classes), method, dataset, **given):
        for kind, path in found.save(out, kinds, name=named[found.path], **covered).items():
            console.print(f"{kind:7} {path}", soft_wrap=True)
        seen = ", ".join(f"{name} {percent:.1f} %" for name, percent in found.shares.items())
        console.print(f"found   {seen}", markup=False, highlight=False, soft_wrap=True)
        if found.orientation != 1:
            turned = f"EXIF orientation {found.orientation}: viewers turn it, here it is as stored"
            console.print(f"note    {found.path}: {turned}", style="yellow", soft_wrap=True)
