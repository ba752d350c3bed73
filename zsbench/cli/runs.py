"""The commands that measure: `run`, `train`, `eval`, `ablate`, `sweep`, `profile`, `predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zsbench import registry
from zsbench.cli.errors import console, errors
from zsbench.cli.options import made_from, split_commas
from zsbench.cli.program import app
from zsbench.errors import UserError
from zsbench.runs import api
from zsbench.runs.grid import Finished
from zsbench.runs.request import TRAINING, ProfileRequest, Request, Verb
from zsbench.runs.resolve import resolve
from zsbench.utils.distributed import leave
from zsbench.utils.files import read_text, write_text

VARIED = ("device", "dtype", "size", "dataset", "method")
"""What a grid of profiles may vary; methods first: what is compared is measured one after the other."""
SEVERAL_SEEDS = "several seeds, 0,1,2: each is a run, then mean and deviation"


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
            typer.Option(metavar="N,N,...", help=SEVERAL_SEEDS, rich_help_panel=TRAINING.panel),
        ] = None,
    ) -> None:
        several = [{**given, "seed": seed} for seed in split_commas([seeds or ""])]
        run_all(verb, [Request.of(verb, one) for one in several or [given]])


def run_all(verb: Verb, requests: Sequence[Request]) -> None:
    """Carry out requests that differ in nothing but the seed, and show what came of them."""
    resolve(requests[0])
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
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds, from 0", metavar="N")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="cells that run at a time", metavar="N")] = 1,
) -> None:
    """Measure an ablation table of a method's paper; finished cells are kept, failing ones listed (exit code 1)."""
    finished = api.ablate(method, table, seeds=seeds, jobs=jobs, say=say, **given)
    from zsbench.reports.tables import ablation_table

    results = [result for row in finished.results.values() for result in row]
    rows = registry.load_options(method).tables[table]
    conclude(finished, ablation_table(rows, results) if results else None)


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

    conclude(finished, sweep_table({row: [cell.load() for cell in cells] for row, cells in finished.rows.items()}))


def conclude(finished: Finished[Any], table: str | None = None) -> None:
    """Print a grid's table and keep it in the grid's folder; list what failed."""
    if table is not None:
        write_text(finished.cells[0].out.parent / "table.md", table + "\n")
        print(table)
    for cell in finished.failed:
        say(f"failed: {cell.failure}")
    if finished.failed:
        raise typer.Exit(1)


@app.command()
@made_from(ProfileRequest, "profile", listed=VARIED)
def profile(
    given: dict[str, Any],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: an object, or a list for several")] = False,
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
    images: Annotated[list[Path], typer.Argument(help="image files")],
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
    out: Annotated[
        Path, typer.Option(help="folder for the pictures; default: the current one", metavar="PATH", show_default=False)
    ] = Path(),
) -> None:
    """Segment images into classes of your choice: for each an overlay with a legend, and the label map."""
    first: dict[str, Path] = {}
    for path in images:
        if (other := first.setdefault(path.stem, path)) != path:
            raise UserError(f"{other} and {path} would both be drawn as {path.stem}-overlay.png: give each a --out.")
    for found in api.predict_all(images, own_names(classes), method, dataset, **given):
        overlay, label_map = found.save(out)
        console.print(f"overlay {overlay}\nlabels  {label_map}", soft_wrap=True)
        if found.orientation != 1:
            turned = f"EXIF orientation {found.orientation}: viewers turn it, here it is as stored"
            console.print(f"note    {found.path}: {turned}", style="yellow", soft_wrap=True)
