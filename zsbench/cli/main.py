"""The command line. Heavy imports happen inside the commands, so that `zsbench list` answers at once."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from zsbench import registry
from zsbench.cli import data as cli_data
from zsbench.cli import options as options
from zsbench.cli.errors import errors, plain_errors, terminate
from zsbench.errors import UserError
from zsbench.utils.distributed import leave, process_index

console = Console(highlight=False, quiet=process_index() > 0)


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
)


def run_verb(verb: Any, summary: str) -> None:
    """Add `zsbench run`, `train` or `eval`: one signature, one body."""

    def command(
        method: options.MethodName = "zegclip",
        dataset: options.DatasetName = "miniworld",
        setting: Annotated[
            str | None, typer.Option(help="inductive, transductive, supervised or training-free")
        ] = None,
        variant: options.Variant = None,
        option: options.Assignments = None,
        recipe: options.RecipeEntries = None,
        iterations: options.Iterations = None,
        batch_size: Annotated[
            int | None, typer.Option(min=1, help="images per training step, over all devices")
        ] = None,
        clip: options.ClipName = None,
        weights: options.WeightsName = None,
        classes: Annotated[
            str | None,
            typer.Option(help="a name set of the dataset, or a text file: one class a line, synonyms after `;`"),
        ] = None,
        background_threshold: Annotated[
            str | None,
            typer.Option(help="pixels of less probability are background: 0..1, or none; default: the dataset's"),
        ] = None,
        templates: options.Templates = None,
        text_embeddings: options.TextEmbeddings = None,
        words: options.Words = None,
        checkpoint: options.CheckpointPath = None,
        transfer: options.Transfer = False,
        data_root: options.DataRoot = None,
        seed: Annotated[int, typer.Option(min=0, help="seed of initialisation, order and augmentation")] = 0,
        seeds: Annotated[
            str | None, typer.Option(help="several seeds, 0,1,2: each is a run, then mean and deviation")
        ] = None,
        device: options.Device = None,
        dtype: Annotated[str, typer.Option(help="float32, bfloat16 or (evaluation only) float16")] = "float32",
        limit: options.Limit = None,
        eval_batch: Annotated[int | None, typer.Option(min=1, help="images scored together")] = None,
        workers: Annotated[int, typer.Option(min=0, help="processes that read images for evaluation")] = 0,
        resume: Annotated[bool, typer.Option("--resume", help="go on where this very run was stopped")] = False,
        out: Annotated[Path | None, typer.Option(help="output folder; default runs/<method>-<dataset>-seed<N>")] = None,
        plugin: options.Plugins = None,
    ) -> None:
        from zsbench.cli.console import show_plan, show_result, show_seeds
        from zsbench.runs.execution import execute
        from zsbench.runs.plan import make_plan
        from zsbench.runs.request import Request

        request, numbers = options.as_request(Request, locals()), options.seed_numbers(seeds) or [seed]
        results = []
        for number in numbers:
            folder = out / f"seed{number}" if out and len(numbers) > 1 else out
            plan = make_plan(verb, request.model_copy(update={"seed": number, "out": folder}))
            show_plan(console, plan)
            result = execute(plan, console)
            if result is not None:
                show_result(console, result)
                results.append(result)
            console.print(f"written to {plan.out}")
        if len(results) > 1:
            show_seeds(console, results)
        leave()

    app.command(verb, help=summary)(command)


run_verb("run", "Train (if the method learns), evaluate and profile a method on a dataset.")
run_verb("train", "Train a method and write its checkpoint.")
run_verb("eval", "Evaluate a method: a trained one with --checkpoint, a training-free one without.")


@app.command()
def ablate(
    method: Annotated[str, typer.Argument(help="name of a method")],
    table: Annotated[int, typer.Option(help="number of the ablation table in the method's paper")],
    dataset: options.DatasetName = "miniworld",
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds, from 0")] = 3,
    option: options.Assignments = None,
    recipe: options.RecipeEntries = None,
    iterations: options.Iterations = None,
    data_root: options.DataRoot = None,
    device: options.Device = None,
    limit: options.Limit = None,
    out: Annotated[Path | None, typer.Option(help="folder; default: runs/ablate-<method>-table<N>-<dataset>")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="cells that run at a time")] = 1,
    plugin: options.Plugins = None,
) -> None:
    """Measure an ablation table of a method's paper; finished cells are kept, failing ones listed."""
    from zsbench.reports.tables import ablation_table
    from zsbench.runs.ablation import ablation_cells, ablation_rows
    from zsbench.runs.backends import Local
    from zsbench.runs.grid import run_grid
    from zsbench.runs.request import Request
    from zsbench.utils.files import write_text

    rows = ablation_rows(method, table)
    folder = out or Path("runs") / f"ablate-{method}-table{table}-{dataset}"
    cells = ablation_cells(options.as_request(Request, locals()), rows, range(seeds), folder)
    local = Local()
    failed = run_grid(cells, console, local.run, jobs, local.stop)
    results = [result for cell in cells if (result := cell.load()) is not None]
    if results:
        text = ablation_table(rows, results)
        write_text(folder / "table.md", text + "\n")
        print(text)
    if failed:
        raise UserError("failed: " + "; ".join(f"{cell.out.name} ({cell.log_path})" for cell in failed))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="a sweep file (docs/sweep.md)")],
    jobs: Annotated[int | None, typer.Option(min=1, help="cells that run at a time; default: the file's")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of all cells; default: the file's, else runs/<file>")] = None,
) -> None:
    """Run a grid of methods, datasets, seeds and options; finished cells are kept, failing ones listed (exit code 1)."""
    from zsbench.reports.tables import sweep_table
    from zsbench.runs.grid import run_grid
    from zsbench.runs.profiles import reason
    from zsbench.runs.sweep_file import read_sweep, sweep_rows
    from zsbench.utils.files import write_text

    given = {"jobs": jobs, "out": out}
    plan = read_sweep(file).model_copy(update={key: value for key, value in given.items() if value is not None})
    rows = sweep_rows(plan, file)
    cells = sorted((cell for row in rows.values() for cell in row), key=lambda cell: cell.request.seed)
    folder = plan.out or Path("runs")
    backend = plan.open_backend(folder)
    failed = run_grid(cells, console, backend.run, plan.jobs_at_once(len(cells)), backend.stop)
    text = sweep_table(rows)
    write_text(folder / "table.md", text + "\n")
    print(text)
    for cell in failed:
        errors.print(
            f"failed: {cell.out.name}: {reason(cell.log_path)} ({cell.log_path})", markup=False, soft_wrap=True
        )
    if failed:
        raise typer.Exit(1)


@app.command()
def profile(
    method: Annotated[list[str], typer.Option(help="name of a method; several: a,b or repeated")] = ["zegclip"],  # noqa: B006
    dataset: Annotated[list[str], typer.Option(help="name of a dataset; several: a,b or repeated")] = ["miniworld"],  # noqa: B006
    variant: options.Variant = None,
    option: options.Assignments = None,
    clip: options.ClipName = None,
    weights: options.WeightsName = None,
    text_embeddings: options.TextEmbeddings = None,
    words: options.Words = None,
    checkpoint: options.CheckpointPath = None,
    transfer: options.Transfer = False,
    size: Annotated[
        list[str] | None,
        typer.Option(help="HEIGHTxWIDTH of the image; several: a,b; default: one full window of the protocol"),
    ] = None,
    dtype: Annotated[list[str], typer.Option(help="float32, bfloat16 or float16; several: a,b")] = ["float32"],  # noqa: B006
    device: Annotated[list[str] | None, typer.Option(help="cpu, cuda or cuda:N; several: a,b; default: CUDA")] = None,
    timed: Annotated[Literal["model", "end-to-end"], typer.Option(help="what is timed")] = "end-to-end",
    compile: Annotated[bool, typer.Option("--compile", help="time the method through torch.compile")] = False,
    tf32: Annotated[bool, typer.Option("--tf32", help="float32 products in TF32 on CUDA; else surely not")] = False,
    seconds: Annotated[float, typer.Option(min=0, help="for warm-up, for latency; a quarter for each batch")] = 10.0,
    largest_batch: Annotated[
        int, typer.Option(min=1, help="bound of the search for the best batch; 1: no search")
    ] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: an object, or a list for several")] = False,
    out: Annotated[
        Path | None, typer.Option(help="folder for a JSON file each; default for several: runs/profile")
    ] = None,
    plugin: options.Plugins = None,
) -> None:
    """Count parameters and multiply-adds, and time one image. Needs no images; trained weights where cost depends on them.

    Of several methods, datasets, sizes, types or devices, each combination is measured in a process of its own.
    """
    given = dict(locals())
    from zsbench.cli.console import show_efficiency, show_profiles
    from zsbench.runs.api import measure
    from zsbench.runs.profiles import cells, run_cells
    from zsbench.runs.request import ProfileRequest
    from zsbench.utils.files import make_folder

    varied = {"method", "dataset", "size", "dtype", "device"}
    base = options.as_request(ProfileRequest, {name: value for name, value in given.items() if name not in varied})
    requests = cells(base, *[options.listed(texts) for texts in (method, dataset, size, dtype, device)])
    failures: list[Path] = []

    def say(text: str) -> None:  # beside what --json prints
        errors.print(text, markup=False, soft_wrap=True)

    if len(requests) == 1:  # this process is its own
        profiles = [measure(requests[0])]
        if out:
            profiles[0].save(make_folder(out) / f"{requests[0].name}.json")
    else:
        profiles, failures = run_cells(requests, make_folder(out or Path("runs") / "profile"), say)
    if as_json:
        objects = [found.model_dump(mode="json") for found in profiles]
        print(json.dumps(objects[0] if len(requests) == 1 else objects, indent=1))
    elif len(requests) == 1:
        show_efficiency(console, profiles[0], profiles[0].environment.device_name)
    else:
        show_profiles(console, profiles)
    if failures:
        raise UserError("failed: " + "; ".join(f"{log.stem} ({log})" for log in failures))


@app.command()
def predict(
    image: Annotated[Path, typer.Argument(help="an image file")],
    classes: Annotated[str, typer.Option(help='class names, separated by commas: "cat, grass, sky"')],
    method: Annotated[str | None, typer.Option(help="default: the checkpoint's method, else maskclip")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="take CLIP and protocol from this dataset; default: the checkpoint's"),
    ] = None,
    option: options.Assignments = None,
    clip: options.ClipName = None,
    weights: options.WeightsName = None,
    templates: options.Templates = None,
    checkpoint: options.CheckpointPath = None,
    device: options.Device = None,
    out: Annotated[Path | None, typer.Option(help="folder for the pictures; default: the current one")] = None,
    plugin: options.Plugins = None,
) -> None:
    """Segment one image into classes of your choice: an overlay with a legend, and the label map."""
    from zsbench.runs.images import predict_image

    overlay, label_map = predict_image(
        image,
        tuple(options.listed([classes])),
        method=method,
        dataset=dataset,
        options=options.pairs(option, "-o"),
        clip=clip,
        weights=weights,
        templates=templates,
        checkpoint=checkpoint,
        device=device,
        out=out or Path(),
    )
    console.print(f"overlay {overlay}\nlabels  {label_map}")


@app.command()
def leaderboard(
    folder: Annotated[
        Path, typer.Option(help="folder with results/*.json, efficiency/*.json and published.csv")
    ] = Path("leaderboards"),
    efficiency: Annotated[
        bool, typer.Option("--efficiency", help="print the page of costs; --add takes profiles")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="change nothing; fail if a committed table is stale")] = False,
    add: Annotated[list[Path] | None, typer.Option(help="a result.json to take in; may be repeated")] = None,
) -> None:
    """Write the Markdown tables from the committed results, or check that they are up to date."""
    from zsbench.reports.costs import add_profile, efficiency_pages
    from zsbench.reports.leaderboard import add_result, check_tables, write_tables

    for path in add or []:
        console.print(f"took in {(add_profile if efficiency else add_result)(path, folder)}")
    if check:
        check_tables(folder)
        console.print("leaderboard tables are up to date")
        return
    for path in write_tables(folder):
        console.print(f"wrote {path}")
    for text in efficiency_pages(folder).values() if efficiency else ():
        print(text)


@app.command("list")
def list_plugins(
    kind: Annotated[str | None, typer.Argument(help="methods or datasets; default: both")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False,
    plugin: options.Plugins = None,
) -> None:
    """Show the methods and datasets that are installed, and what each needs."""
    if kind not in (None, "methods", "datasets"):
        raise UserError(f"unknown kind {kind!r}: expected methods or datasets.")
    found = [entry for entry in registry.plugins() if kind in (None, f"{entry.kind}s")]
    if as_json:
        print(json.dumps([describe(entry) for entry in found], indent=1))
        return
    for heading in ("method", "dataset"):
        show_plugins(f"{heading}s", [entry for entry in found if entry.kind == heading])
    for problem in registry.problems():
        console.print(f"[yellow]problem:[/] {escape(problem)}", soft_wrap=True)


def show_plugins(heading: str, entries: list[registry.Plugin]) -> None:
    """Name, description and, where it says something, source and needs."""
    table = Table(heading, "", box=None, padding=(0, 2, 0, 0), header_style="bold underline")
    table.columns[0].no_wrap = True
    for entry in entries:
        needs = [f"[red]{need} (missing)[/]" if need in entry.missing else need for need in entry.needs]
        remarks = [] if entry.source == "built-in" else [f"from {entry.source}"]
        remarks += [f"needs {', '.join(needs)}"] if needs else []
        table.add_row(
            f"[bold]{entry.name}[/]", " ".join([entry.summary, *[f"[dim]({remark})[/]" for remark in remarks]])
        )
    if entries:
        console.print(table)


def describe(entry: registry.Plugin) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "description": entry.summary,
        "source": entry.source,
        "needs": list(entry.needs),
        "missing": list(entry.missing),
        "installed": not entry.missing,
    }


app.add_typer(cli_data.app, name="data")


def main() -> None:
    """Entry point of the `zsbench` command."""
    signal.signal(signal.SIGTERM, terminate)
    app()
