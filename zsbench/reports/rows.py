"""Which results make one row of a table: those whose fields are equal, whatever the words that asked for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from zsbench.errors import UserError
from zsbench.recipe import Recipe
from zsbench.result import File, Result
from zsbench.runs.asked import identity as identity_of
from zsbench.runs.asked import is_file
from zsbench.runs.request import UNSAID, ScoreRequest, as_word
from zsbench.utils.files import slug

NO_CHOICE = (
    *("method", "dataset", "setting", "variant", "seed", "classes", "transfer"),  # have places of their own in a page
    *(
        "checkpoint",
        "device",
        "compile",
        "tf32",
        "eval_batch",
        "plugin",
        "curve",
        "metric",
    ),  # say where and from what it was computed
    *("predictions", "mapping", "name"),  # say what was scored: `(scored)` in the label
    *UNSAID,  # say where things lay, and how they were read
)
RECIPE = {name: field.default for name, field in Recipe.model_fields.items()}
DEFAULTS = {name: field.default for name, field in ScoreRequest.model_fields.items()}
VALIDATION = ("validate_every", "validate_images", "patience", "evaluated")
"""Entries of the recipe that decide nothing where there is no validation."""
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class StoredResult:
    """A result and the file it is in."""

    result: Result
    path: Path

    @cached_property
    def fields(self) -> Fields:
        return identity(self.result)

    @cached_property
    def row(self) -> str:
        """Hash of what the results of several seeds have in common."""
        return hashlib.sha256(canonical(self.fields).encode()).hexdigest()

    @property
    def seed(self) -> int:
        return self.result.seed

    @property
    def name(self) -> str:
        """The file name, without suffix, that says what it is the result of."""
        result = self.result
        names = f"names {result.dataset.names}" if result.request.get("classes") else ""
        words = (result.method.variant or "", *choices(result), names, result.setting, f"seed{result.seed}")
        return slug(result.dataset.name, result.method.name, *words)


def records_beside(path: Path) -> Path:
    """Where the records of a result lie: `records.npz` in the folder of a run, `NAME.records.npz` in a leaderboard."""
    return path.with_name("records.npz" if path.name == "result.json" else f"{path.stem}.records.npz")


def canonical(fields: Fields) -> str:
    return json.dumps(fields, sort_keys=True)


def identity(result: Result) -> dict[str, Any]:
    """All that decides the numbers of a result but the seed, flat, by name: results of one row have it in common.

    What is None is left out, so that an entry which came later changes nothing where it is not used.
    """
    method, dataset = result.method, result.dataset
    fields = {
        "dataset": dataset.name,
        "split": dataset.split,
        "names": dataset.classes_sha256,
        "labels": dataset.labels_sha256,
        "unseen": sorted(dataset.unseen),
        "setting": result.setting,
        "shown": [result.shown.pixels, result.shown.names],
        "method": method.name,
        "code": method.code and method.code.sha256,
        "variant": method.variant,
        "oracle": method.oracle,
        "scored": method.predictions and True,
        "clip": method.clip,
        "weights": method.weights and (method.weights.sha256 or method.weights.source),
        "templates": content(method.templates),
        "text embeddings": content(method.text_embeddings),
        "words": method.words and method.words.sha256,
        "learnt from": method.learnt_from,
        "dtype": result.environment.dtype,
        **under("option", method.options),
        **under("protocol", result.protocol),
        **training(result),
    }
    return {name: value for name, value in fields.items() if value is not None}


def training(result: Result) -> dict[str, Any]:
    """What decides how the method was trained, in this run or before it; where that is not known, the checkpoint's hash."""
    if result.training is None:
        return {"checkpoint": result.method.checkpoint_sha256}
    asked = {**DEFAULTS, **trained_request(result)}
    recipe = {**RECIPE, **result.training.recipe}
    recipe.pop("workers")
    if not recipe["validate_every"]:
        recipe = {name: value for name, value in recipe.items() if name not in VALIDATION}
    return {
        "learnt from": result.training.dataset,
        **under("trained with", {name: asked[name] for name in ("variant", "limit", "dtype")}),
        **under("trained with", overridden(result)),
        **under("recipe", recipe),
    }


def trained_request(result: Result) -> Fields:
    """What was asked for when the method was trained: by this run, or by that of its checkpoint, if it says so."""
    if result.training is None:
        return {}
    return result.request if result.verb == "run" else result.training.request or {}


def overridden(result: Result) -> dict[str, Any]:
    """Options with which a checkpoint was trained, and in whose place the evaluation asked for others."""
    now = result.request.get("options", {})
    before = trained_request(result).get("options", {})
    return {name: value for name, value in before.items() if name in now and content(now[name]) != content(value)}


def under(group: str, values: Fields) -> dict[str, Any]:
    return {f"{group} {name}": content(value) for name, value in values.items()}


def content(value: Any) -> Any:
    """A value as it is compared: a file by its hash, or by its name where no hash is known."""
    return identity_of(value.model_dump() if isinstance(value, File) else value)


def choices(result: Result) -> list[str]:
    """What the user changed beyond method, dataset, variant and setting, in words of the command line: in training, also
    that of a checkpoint, and in evaluation; `from D` where the method learnt from another dataset D."""
    before, now = trained_request(result), result.request
    words = list({**changes(before), **changes(now)}.values())
    variant = before.get("variant")
    words += [f"trained with --variant {variant}"] if variant and variant != result.method.variant else []
    words += [f"trained with -o {name}={shown(value)}" for name, value in overridden(result).items()]
    return words + ([f"from {result.method.learnt_from}"] if result.method.learnt_from else [])


def changes(request: Fields) -> dict[str, str]:
    """What a request changes, in words of the command line, by field, those of options and recipe by entry."""
    words = {}
    for name, value in request.items():
        nested = name in ("options", "recipe")
        if nested or name in NO_CHOICE or value is None or value == DEFAULTS.get(name):
            continue
        flag = "--" + name.replace("_", "-")
        words[flag] = flag if value is True else f"{flag} {shown(value)}"
    for flag, name in (("-o", "options"), ("-r", "recipe")):
        words |= {f"{flag} {key}": f"{flag} {key}={shown(value)}" for key, value in request.get(name, {}).items()}
    return words


def shown(value: Any) -> str:
    return value["name"] if is_file(value) else as_word(value)


def row_labels(rows: Mapping[str, Sequence[StoredResult]]) -> dict[str, str]:
    """For each row of a table its variant and further choices; where these are those of another row of the method, also
    the fields that tell them apart."""
    labels = {row: min(map(label, members), key=lambda text: (len(text), text)) for row, members in rows.items()}
    alike: dict[tuple[str, str], list[str]] = {}
    for row, text in labels.items():
        alike.setdefault((rows[row][0].result.method.name, text), []).append(row)
    for same in alike.values():
        for row, difference in zip(same, telling([rows[row][0].fields for row in same]), strict=True):
            labels[row] = " ".join(filter(None, (labels[row], difference)))
    return labels


def label(entry: StoredResult) -> str:
    method = entry.result.method
    marks = ("(oracle)" if method.oracle else None, "(scored)" if method.predictions else None)
    return " ".join(filter(None, (method.variant, *marks, *choices(entry.result))))


def telling(alternatives: Sequence[Fields]) -> list[str]:
    """For each of several sets of fields, the values of those that are not the same in all; hashes by their beginning."""
    names = sorted(set().union(*alternatives))
    different = [name for name in names if len({canonical({"": each.get(name)}) for each in alternatives}) > 1]
    return [", ".join(f"{name} {brief(each.get(name))}" for name in different) for each in alternatives]


def brief(value: Any) -> str:
    text = str(value)
    return text[:8] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def by_row(entries: Iterable[StoredResult]) -> dict[str, list[StoredResult]]:
    rows: dict[str, list[StoredResult]] = {}
    for entry in entries:
        rows.setdefault(entry.row, []).append(entry)
    return rows


def check_apart(entries: Sequence[StoredResult]) -> None:
    """Raise `UserError` for two results of one row and seed, and for two seeds that are one training."""
    runs: dict[tuple[str, int], Path] = {}
    trainings: dict[tuple[str, str], Path] = {}
    for entry in entries:
        other = runs.setdefault((entry.row, entry.seed), entry.path)
        if other != entry.path:
            raise UserError(f"{other} and {entry.path} are the same run with the same seed: keep one of them.")
        learnt = entry.result.method.checkpoint_sha256
        other = trainings.setdefault((entry.row, learnt), entry.path) if learnt else entry.path
        if other != entry.path:
            raise UserError(
                f"{other} and {entry.path} are of the same learnt weights, under two seeds: keep one of them."
            )
