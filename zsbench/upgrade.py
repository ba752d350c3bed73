"""What schema 1 of results and profiles said, as schema 2 says it: the only place that reads its shell lines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Data = dict[str, Any]

FLAGS = ("transfer", "compile", "tf32")
NUMBERS = dict.fromkeys(("iterations", "batch_size", "seed", "limit", "eval_batch", "largest_batch"), int) | {
    "seconds": float
}
FILES = ("checkpoint", "text_embeddings", "data_root", "out", "plugin")
PERHAPS_FILES = ("dataset", "clip", "weights", "classes", "templates")
SHOWN = {
    "inductive": {"pixels": "seen", "names": "seen"},
    "transductive": {"pixels": "unlabelled", "names": "all"},
    "supervised": {"pixels": "all", "names": "all"},
    "training-free": {"pixels": "none", "names": "none"},
}
"""What the settings of schema 1 showed; it had no others."""


def upgrade(content: Mapping[str, Any]) -> Data:
    """The content of a schema 1 file, result or profile, as one of schema 2.

    The shell line becomes `verb` and `request`, of which only what the user changed is known. A result lacks `groups`, and
    loses the numbers of its method's paper, which are looked up where a table is made. Raises `KeyError`, `TypeError`,
    `ValueError` or `AttributeError` where the content is none of schema 1.
    """
    verb, request = read_command(content["command"])
    if "metrics" not in content:
        request = with_files(request, {"checkpoint": content["checkpoint_sha256"]})
        return {**content, "schema_version": 2, "request": request, "options": without_folders(content["options"])}
    method = content["method"]
    request = with_files(request, {"checkpoint": method["checkpoint_sha256"], "weights": method["weights"]["sha256"]})
    upgraded = {name: value for name, value in content.items() if name != "reported"}
    return {
        **upgraded,
        "schema_version": 2,
        "verb": verb,
        "request": request,
        "shown": SHOWN[content["setting"]],
        "method": upgrade_method(method, request),
        "training": with_request(content["training"]) if content.get("training") else None,
    }


def upgrade_method(method: Mapping[str, Any], request: Data) -> Data:
    """Text embeddings from a file stood in the place of templates."""
    texts = request.get("text_embeddings")
    templates = None if texts else as_file(method["templates"]) if is_path(method["templates"]) else method["templates"]
    return {
        **method,
        "options": without_folders(method["options"]),
        "templates": templates,
        "text_embeddings": texts,
    }


def with_request(training: Mapping[str, Any]) -> Data:
    """What a result, or a checkpoint itself, says of a training, with the request of its command line, if it has one."""
    command = training.get("command")
    return {**training, "request": with_files(read_command(command)[1]) if command else None}


def read_command(line: str) -> tuple[str, Data]:
    """`(verb, request)` of a shell line that zsbench wrote: every option but a flag is followed by its value."""
    program, verb, *words = shlex.split(line)
    request: Data = {}
    rest = iter(words)
    for word in rest:
        name = {"-o": "options", "-r": "recipe"}.get(word, word.removeprefix("--").replace("-", "_"))
        if name in FLAGS:
            request[name] = True
            continue
        value = next(rest, None)
        if program != "zsbench" or not word.startswith("-") or value is None:
            raise ValueError(f"{line!r} is no command line of zsbench")
        if name in ("options", "recipe"):
            key, _, text = value.partition("=")
            request.setdefault(name, {})[key] = text
        elif name == "plugin":
            request.setdefault(name, []).append(value)
        else:
            request[name] = NUMBERS.get(name, str)(value)
    return verb, request


def with_files(request: Data, digests: Mapping[str, str | None] | None = None) -> Data:
    """Paths as names and hashes; of most files schema 1 did not know the hash."""

    def known(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [known(name, each) for each in value]
        if isinstance(value, dict):
            return without_folders(value)
        named = name in FILES or (name in PERHAPS_FILES and is_path(value))
        return as_file(value, (digests or {}).get(name)) if named else value

    return {name: known(name, value) for name, value in request.items()}


def without_folders(options: Mapping[str, Any]) -> Data:
    """Options without the folders of absolute paths."""
    return {
        name: as_file(value) if isinstance(value, str) and value.startswith("/") else value
        for name, value in options.items()
    }


def is_path(text: str) -> bool:
    """Whether one word is a file's rather than a name: a template may hold anything, but holds `{}`."""
    return "{}" not in text and ("/" in text or Path(text).suffix != "")


def as_file(path: str, digest: str | None = None) -> Data:
    return {"name": Path(path).name, "sha256": digest}
