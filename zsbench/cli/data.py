"""`zsbench data`: what a dataset is, import it, prepare it, check it, look at it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from zsbench.cli.errors import console, errors
from zsbench.cli.options import split_commas, with_plugins
from zsbench.data.card import dataset_class
from zsbench.errors import UserError
from zsbench.runs.resolve import data_root

if TYPE_CHECKING:
    from zsbench.data import FolderDataset
    from zsbench.data.check import SplitReport

app = typer.Typer(help="Datasets: what they are, import, prepare, check, show.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="a dataset's name, a card (.toml), or a Python file with one dataset")]
Root = Annotated[Path | None, typer.Option("--root", "--data-root", help="data root; default $ZSBENCH_DATA or ./data")]
Workers = Annotated[int | None, typer.Option(min=0, help="processes; default: one for each processor")]
Norm = Literal["none", "unit", "largest"]
AsJson = Annotated[bool, typer.Option("--json", help="print as JSON")]


@app.command()
@with_plugins
def info(dataset: Name, as_json: AsJson = False) -> None:
    """What a dataset is, where to get it, its licence, the folders expected, its size."""
    from zsbench.data.describe import describe, describe_in_words

    cls = dataset_class(dataset)
    print(json.dumps(describe(cls), indent=1) if as_json else describe_in_words(cls))


@app.command()
@with_plugins
def prepare(
    dataset: Name,
    root: Root = None,
    source: Annotated[Path | None, typer.Option(help="where the originals are, if not in the root")] = None,
    workers: Workers = None,
) -> None:
    """Unpack the downloads in the root and convert what needs converting; originals are never touched."""
    from zsbench.data.prepare import prepare as execute

    steps = execute(find_folder(dataset), data_root(root), source, processes(workers), progress)
    if not steps:
        console.print(f"{dataset} is read as it is: nothing to prepare, no archive found in {data_root(root)}.")
    for step in steps:
        verified = f", {step.verified:,} verified" if step.verified else ""
        console.print(f"{step.title}: {step.written:,} written, {step.kept:,} there already{verified}", soft_wrap=True)
        for note in step.notes:
            console.print(f"  {note}", soft_wrap=True)


@app.command()
@with_plugins
def check(
    dataset: Name,
    root: Root = None,
    split: Annotated[
        list[str] | None, typer.Option(help="a split; may be repeated; default: all that are there")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="images decoded in each split")] = 200,
    everything: Annotated[bool, typer.Option("--all", help="decode all images")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="accept that images are missing from the full split")
    ] = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Check counts, pairs, sizes, label values and statistics. Exit code 1 where something is wrong."""
    from zsbench.data.check import check as execute

    opened = find_folder(dataset)(data_root(root))
    bar = quiet if as_json else progress
    reports = execute(opened, split or (), None if everything else sample, partial, processes(workers), bar)
    if as_json:
        print(json.dumps([asdict(report) | {"ok": report.ok} for report in reports], indent=1))
    else:
        console.print(f"{opened.name} in {opened.home}", soft_wrap=True)
        for report in reports:
            show_report(report)
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


@app.command()
@with_plugins
def show(
    dataset: Name,
    root: Root = None,
    index: Annotated[
        list[str] | None, typer.Option(help="number of an image, from 0, or its id; may be repeated; default: some")
    ] = None,
    split: Annotated[str | None, typer.Option(help="default: the one that is evaluated")] = None,
    out: Annotated[Path | None, typer.Option(help="the picture; default: a name in the current folder")] = None,
) -> None:
    """Draw images beside their masks, with the names of classes in the regions and a legend."""
    from zsbench.data.describe import show as execute

    opened = dataset_class(dataset)(data_root(root))
    path, lines = execute(opened, split or opened.defaults.protocol.split, index or (), out)
    console.print("\n".join([*lines, f"written to {path}"]), soft_wrap=True)


@app.command("import")
def import_command(
    source: Annotated[str, typer.Argument(help="a folder, an archive (zip, tar), or hf:OWNER/NAME", metavar="SOURCE")],
    out: Annotated[Path, typer.Option(help="the card, .toml; the data go into a folder of its name beside it")],
    classes: Annotated[
        str | None, typer.Option(help="names in the order of the mask values, where no file says them", metavar="NAMES")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="the class of pixels without annotation, or none; default: by name", metavar="NAME"),
    ] = None,
    ignored: Annotated[
        str | None, typer.Option(help="classes that nobody scores, or none; default: by name", metavar="NAMES")
    ] = None,
    unseen: Annotated[
        str | None, typer.Option(help="classes that the inductive setting hides", metavar="NAMES")
    ] = None,
) -> None:
    """Make a card of what an annotation tool or a hub gives, and say what it took for what (docs/own-data.md)."""
    from zsbench.data.importing import Wishes, import_data

    several = [tuple(split_commas([names or ""])) for names in (classes, ignored, unseen)]
    wishes = Wishes(several[0], background, *several[1:])
    console.print(Text("\n".join(import_data(source, out, wishes, progress))), soft_wrap=True)


@app.command()
@with_plugins
def words(
    dataset: Name,
    tables: Annotated[
        list[Path],
        typer.Option("--from", help="word2vec, GloVe or fastText (.bin, .vec, .txt), or .npz; several: side by side"),
    ],
    out: Annotated[Path, typer.Option(help="the file, .npz")],
    classes: Annotated[
        str | None, typer.Option(help="a name set of the dataset, or a file; default: the usual")
    ] = None,
    norm: Annotated[
        Norm,
        typer.Option(help="divide each table by nothing, by its rows' own norms (unit), or by the largest of them"),
    ] = "none",
) -> None:
    """Write the word vectors of a dataset's class names to a small file, for --words of a method without CLIP."""
    from zsbench.clip.word_vectors import read_word_vectors, scaled, side_by_side, write_word_vectors
    from zsbench.utils.files import locate, sha256

    opened = dataset_class(dataset)()
    names = opened.names(classes)
    found = side_by_side([scaled(read_word_vectors(path).of(names, opened.classes), norm) for path in tables])
    origins = [{"table": path.name, "sha256": sha256(locate(path)[0])} for path in tables]
    write_word_vectors(out, found, {"dataset": opened.name, "names": names.name, "norm": norm, "from": origins})
    count, width = found.vectors.shape
    console.print(f"{count} words, {width} numbers each, in {out}", soft_wrap=True)


def show_report(report: SplitReport) -> None:
    """One split in a few lines."""
    verdict = ("ok", "green") if report.ok else ("wrong", "red")
    sizes = "x".join(map(str, report.smallest)) + " to " + "x".join(map(str, report.largest))
    seen = sum(count > 0 for count in report.images_per_class.values())
    found = (
        f" ({sizes}), {seen} of {len(report.images_per_class)} classes occur, {100 * report.ignored:.1f} % ignored, "
        f"labels {report.labels_sha256[:12]}"
    )
    decoded = f"{report.checked:,} decoded{found if report.labels_sha256 else ''}"
    rest = f", {report.images:,} images, {decoded}"
    console.print(Text.assemble(f"{report.split}: ", verdict, rest), soft_wrap=True)
    for line in report.problems:
        console.print(Text.assemble("  ", ("problem", "red"), f" {line}"), soft_wrap=True)
    for line in (*report.warnings, *filter(None, [report.note, report.statistics])):
        console.print(Text.assemble("  ", ("note", "yellow"), f" {line}"), soft_wrap=True)


def find_folder(name: str) -> type[FolderDataset]:
    from zsbench.data import FolderDataset

    cls = dataset_class(name)
    if not issubclass(cls, FolderDataset):
        raise UserError(f"dataset {cls.name} is not read from folders: there is nothing to prepare or check.")
    return cls


def processes(workers: int | None) -> int:
    return (os.cpu_count() or 1) if workers is None else workers


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a terminal, nothing elsewhere."""
    from zsbench.utils.progress import progress_bar

    with progress_bar(errors, title, total) as bar:
        yield bar.reach


@contextmanager
def quiet(title: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda done: None
