"""The command line. Heavy imports happen inside the commands, so that `zsbench list` answers at once."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from zsbench import cli_data, registry
from zsbench.errors import UserError, out_of_memory
from zsbench.processes import leave, process_index

console = Console(highlight=False, quiet=process_index() > 0)
errors = Console(stderr=True, highlight=False)


@contextmanager
def plain_errors() -> Iterator[None]:
    """A user's mistake, an interruption or a full memory ends in one message and exit code 2.

    `ZSBENCH_DEBUG=1` shows the traceback of a user's mistake.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("ZSBENCH_DEBUG"):
            raise
        say("error", str(error))
    except KeyboardInterrupt:
        say(
            "interrupted", "what was computed is kept; the same command with --resume goes on (ablate, sweep: without)."
        )
    except (MemoryError, RuntimeError, Terminated) as error:
        if out_of_memory(error):
            say(
                "error",
                "out of memory. Reduce --batch-size or -r micro_batch=1 in training, --eval-batch in evaluation, or "
                "choose --dtype bfloat16; records so far are kept and --resume goes on.",
            )
        elif isinstance(error, Terminated) or lost_process(error):
            say(
                "stopped",
                "another process of this run has ended, or this one was told to; what was computed is kept, and the same "
                "command with --resume goes on, with any number of processes.",
            )
        else:
            raise
    else:
        return
    sys.exit(2)


def say(what: str, message: str) -> None:
    """A message on stderr; of several processes, those that are not the main one say which they are."""
    number = process_index()
    where = f" in process {number}" if number else ""
    # escaped: what stands in brackets, as in zsbench[two-stage], is no markup
    errors.print(f"[bold red]{what}{where}:[/] {escape(message)}", soft_wrap=True)


class Terminated(BaseException):
    """The system told this process to end (SIGTERM), as `torchrun` does to all when one of them has failed."""


def terminate(number: int, frame: object) -> None:
    raise Terminated


def lost_process(error: BaseException) -> bool:
    """Whether talking to another process of the run failed: the error of `torch.distributed`, by its backend."""
    text = str(error).lower()
    return "gloo" in text or "nccl" in text or "connection closed by peer" in text


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

PLUGIN_HELP = "a Python file that registers methods or datasets; may be repeated"
Method = Annotated[str, typer.Option(help="name of a method (`zsbench list methods`)")]
DatasetName = Annotated[str, typer.Option("--dataset", help="name of a dataset (`zsbench list datasets`)")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", help="an option of the method, key=value; may be repeated"),
]
ClipName = Annotated[
    str | None,
    typer.Option(
        help="open_clip model, model config (JSON), or a dataset that comes with a CLIP; default: the dataset's"
    ),
]
WeightsName = Annotated[str | None, typer.Option(help="open_clip tag, local file, or `random`; default: the dataset's")]
Templates = Annotated[str | None, typer.Option(help="single, vild15, imagenet80, or a text file of templates")]
DataRoot = Annotated[Path | None, typer.Option(help="where the data lies; else $ZSBENCH_DATA, else ./data")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: CUDA where there is one")]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help=PLUGIN_HELP)]
CheckpointPath = Annotated[
    Path | None, typer.Option(help="learnt weights: of `zsbench train` or `run`, or of the method's own release")
]
Transfer = Annotated[bool, typer.Option("--transfer", help="use a checkpoint with another dataset's classes")]
TextEmbeddings = Annotated[Path | None, typer.Option(help=".npy of ready text embeddings, one row per class")]
RecipeEntries = Annotated[
    list[str] | None,
    typer.Option("--recipe", "-r", help="an entry of the training recipe, key=value; may be repeated"),
]
Iterations = Annotated[int | None, typer.Option(min=1, help="training steps")]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, help="a trial: the first N images of each split, one training step unless --iterations says more"
    ),
]
Variant = Annotated[str | None, typer.Option(help="a named set of options of the method")]


def pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    """`key=value` words as a dictionary."""
    split = [text.partition("=") for text in texts or []]
    for key, equals, _ in split:
        if not equals:
            raise UserError(f"{flag} {key}: expected key=value.")
    return {key.strip(): value.strip() for key, _, value in split}


def seed_numbers(text: str | None) -> list[int]:
    """`0,1,2` as numbers."""
    words = [] if text is None else text.split(",")
    if not all(word.strip().isdigit() for word in words):
        raise UserError(f"--seeds {text!r}: expected numbers separated by commas, such as 0,1,2.")
    return [int(word) for word in words]


def run_verb(verb: Any, summary: str) -> None:
    """Add `zsbench run`, `train` or `eval`: one signature, one body."""

    def command(
        method: Method = "zegclip",
        dataset: DatasetName = "miniworld",
        setting: Annotated[
            str | None, typer.Option(help="inductive, transductive, supervised or training-free")
        ] = None,
        variant: Variant = None,
        option: Assignments = None,
        recipe: RecipeEntries = None,
        iterations: Iterations = None,
        batch_size: Annotated[
            int | None, typer.Option(min=1, help="images per training step, over all devices")
        ] = None,
        clip: ClipName = None,
        weights: WeightsName = None,
        classes: Annotated[
            str | None,
            typer.Option(help="a name set of the dataset, or a text file: one class a line, synonyms after `;`"),
        ] = None,
        background_threshold: Annotated[
            str | None,
            typer.Option(help="pixels of less probability are background: 0..1, or none; default: the dataset's"),
        ] = None,
        templates: Templates = None,
        text_embeddings: TextEmbeddings = None,
        checkpoint: CheckpointPath = None,
        transfer: Transfer = False,
        data_root: DataRoot = None,
        seed: Annotated[int, typer.Option(min=0, help="seed of initialisation, order and augmentation")] = 0,
        seeds: Annotated[
            str | None, typer.Option(help="several seeds, 0,1,2: each is a run, then mean and deviation")
        ] = None,
        device: Device = None,
        dtype: Annotated[str, typer.Option(help="float32, bfloat16 or (evaluation only) float16")] = "float32",
        limit: Limit = None,
        eval_batch: Annotated[int | None, typer.Option(min=1, help="images scored together")] = None,
        workers: Annotated[int, typer.Option(min=0, help="processes that read images for evaluation")] = 0,
        resume: Annotated[bool, typer.Option("--resume", help="go on where this very run was stopped")] = False,
        out: Annotated[Path | None, typer.Option(help="output folder; default runs/<method>-<dataset>-seed<N>")] = None,
        plugin: Plugins = None,
    ) -> None:
        given = dict(locals())
        given.pop("verb")  # of the enclosing function
        from zsbench.console import show_plan, show_result, show_seeds
        from zsbench.plan import Request, make_plan
        from zsbench.run import carry_out

        given["options"] = pairs(given.pop("option"), "-o")
        given["recipe"] = pairs(given.pop("recipe"), "-r")
        given["plugin"] = tuple(given["plugin"] or ())
        chosen = seed_numbers(given.pop("seeds")) or [seed]
        results = []
        for number in chosen:
            folder = out / f"seed{number}" if out and len(chosen) > 1 else out
            plan = make_plan(verb, Request(**{**given, "seed": number, "out": folder}))
            show_plan(console, plan)
            result = carry_out(plan, console)
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
    dataset: DatasetName = "miniworld",
    seeds: Annotated[int, typer.Option(min=1, help="how many seeds, from 0")] = 3,
    option: Assignments = None,
    recipe: RecipeEntries = None,
    iterations: Iterations = None,
    data_root: DataRoot = None,
    device: Device = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option(help="folder; default: runs/ablate-<method>-table<N>-<dataset>")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="cells that run at a time")] = 1,
    plugin: Plugins = None,
) -> None:
    """Measure an ablation table of a method's paper; finished cells are kept, failing ones listed."""
    from zsbench.ablate import ablation_cells, ablation_rows, ablation_table
    from zsbench.backends import Local
    from zsbench.files import write_text
    from zsbench.grid import run_grid
    from zsbench.plan import Request

    for path in plugin or []:
        registry.add_file(path)
    rows = ablation_rows(method, table)
    request = Request(
        method=method,
        dataset=dataset,
        options=pairs(option, "-o"),
        recipe=pairs(recipe, "-r"),
        iterations=iterations,
        data_root=data_root,
        device=device,
        limit=limit,
        plugin=tuple(plugin or ()),
    )
    folder = out or Path("runs") / f"ablate-{method}-table{table}-{dataset}"
    cells = ablation_cells(request, rows, range(seeds), folder)
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
    from zsbench.files import write_text
    from zsbench.grid import run_grid
    from zsbench.profiling.cells import reason
    from zsbench.sweep import read_sweep, sweep_rows, sweep_table

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


def listed(texts: list[str] | None) -> list[str]:
    """Repeated options and comma lists alike, as one list."""
    return [word.strip() for text in texts or [] for word in text.split(",") if word.strip()]


@app.command()
def profile(
    method: Annotated[list[str], typer.Option(help="name of a method; several: a,b or repeated")] = ["zegclip"],  # noqa: B006
    dataset: Annotated[list[str], typer.Option(help="name of a dataset; several: a,b or repeated")] = ["miniworld"],  # noqa: B006
    variant: Variant = None,
    option: Assignments = None,
    clip: ClipName = None,
    weights: WeightsName = None,
    text_embeddings: TextEmbeddings = None,
    checkpoint: CheckpointPath = None,
    transfer: Transfer = False,
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
    plugin: Plugins = None,
) -> None:
    """Count parameters and multiply-adds, and time one image. Needs no images; trained weights where cost depends on them.

    Of several methods, datasets, sizes, types or devices, each combination is measured in a process of its own.
    """
    from zsbench.api import measure
    from zsbench.console import show_efficiency, show_profiles
    from zsbench.files import make_folder
    from zsbench.profiling import ProfileRequest, cells, run_cells

    for path in plugin or []:
        registry.add_file(path)
    base = ProfileRequest(
        variant=variant,
        options=pairs(option, "-o"),
        clip=clip,
        weights=weights,
        text_embeddings=text_embeddings,
        checkpoint=checkpoint,
        transfer=transfer,
        timed=timed,
        compile=compile,
        tf32=tf32,
        seconds=seconds,
        largest_batch=largest_batch,
        plugin=tuple(plugin or ()),
    )
    requests = cells(base, listed(method), listed(dataset), listed(size), listed(dtype), listed(device))
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
    option: Assignments = None,
    clip: ClipName = None,
    weights: WeightsName = None,
    templates: Templates = None,
    checkpoint: CheckpointPath = None,
    device: Device = None,
    out: Annotated[Path | None, typer.Option(help="folder for the pictures; default: the current one")] = None,
    plugin: Plugins = None,
) -> None:
    """Segment one image into classes of your choice: an overlay with a legend, and the label map."""
    from zsbench.predict import predict_image

    for path in plugin or []:
        registry.add_file(path)
    overlay, label_map = predict_image(
        image,
        tuple(name.strip() for name in classes.split(",") if name.strip()),
        method=method,
        dataset=dataset,
        options=pairs(option, "-o"),
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
    from zsbench.efficiency import add_profile, efficiency_pages
    from zsbench.leaderboard import add_result, check_tables, write_tables

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
    plugin: Plugins = None,
) -> None:
    """Show the methods and datasets that are installed, and what each needs."""
    for path in plugin or []:
        registry.add_file(path)
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
