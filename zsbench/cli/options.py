"""Options that several commands share, and how what is given to them is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from zsbench import registry
from zsbench.errors import UserError

if TYPE_CHECKING:
    from zsbench.runs.request import Request

AnyRequest = TypeVar("AnyRequest", bound="Request")


def add_plugins(files: list[Path] | None) -> list[Path] | None:
    """Make plugins known as soon as they are read, so that no command has to."""
    for file in files or []:
        registry.add_file(file)
    return files


MethodName = Annotated[str, typer.Option(help="name of a method (`zsbench list methods`)")]
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
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", callback=add_plugins, help="a Python file that registers methods or datasets; may be repeated"
    ),
]
CheckpointPath = Annotated[
    Path | None, typer.Option(help="learnt weights: of `zsbench train` or `run`, or of the method's own release")
]
Transfer = Annotated[bool, typer.Option("--transfer", help="use a checkpoint with another dataset's classes")]
TextEmbeddings = Annotated[Path | None, typer.Option(help=".npy of ready text embeddings, one row per class")]
Words = Annotated[
    Path | None,
    typer.Option(help="word vectors of a method without CLIP: .npz, .vec, .txt or .bin (`zsbench data words`)"),
]
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


def as_request(kind: type[AnyRequest], given: Mapping[str, Any]) -> AnyRequest:
    """What a command was given, by the names of its parameters; those that a request does not have are left out."""
    lists = {
        "options": pairs(given.get("option"), "-o"),
        "recipe": pairs(given.get("recipe"), "-r"),
        "plugin": given.get("plugin") or (),
    }
    return kind(**{name: value for name, value in {**given, **lists}.items() if name in kind.model_fields})


def seed_numbers(text: str | None) -> list[int]:
    """`0,1,2` as numbers."""
    words = [] if text is None else text.split(",")
    if not all(word.strip().isdigit() for word in words):
        raise UserError(f"--seeds {text!r}: expected numbers separated by commas, such as 0,1,2.")
    return [int(word) for word in words]


def listed(texts: list[str] | None) -> list[str]:
    """Repeated options and comma lists alike, as one list."""
    return [word.strip() for text in texts or [] for word in text.split(",") if word.strip()]
