"""Whether the plugins of a file keep to their contracts: a whole run on a few images, in a folder that is removed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsbench import registry
from zsbench.data.card import dataset_class
from zsbench.data.predictions import read_map
from zsbench.dataset import checked_ids, read_sample
from zsbench.errors import UserError
from zsbench.runs.request import Request, Verb
from zsbench.runs.resolve import data_root, merge, resolve

if TYPE_CHECKING:
    from zsbench.method import Method

IMAGES = 2
STEPS = 4
"""Steps of training, over all phases."""
ROUNDING = 0.01
"""Share of the pixels that may be another class for the order of a sum alone."""


@dataclass(frozen=True)
class Finding:
    """What was tried of a plugin, and what is wrong with it; empty where nothing is."""

    plugin: str
    tried: str
    wrong: str = ""


def check_plugin(file: Path, dataset: str, given: dict[str, Any], root: Path | None = None) -> Iterator[Finding]:
    """Try the methods of a file on a dataset, and read its datasets. `given`: what a run is told besides (`words`, ...).

    Raises `UserError` where the file registers nothing, or is no Python.
    """
    registry.add_file(file)
    found = [each for each in registry.plugins() if each.location == file.resolve()]
    for plugin in found:
        tries = (
            dataset_tries(plugin.name, root) if plugin.kind == "dataset" else method_tries(plugin.name, dataset, given)
        )
        for tried, attempt in tries:
            wrong = mistake(attempt)
            yield Finding(f"{plugin.kind} {plugin.name}", tried, wrong)
            if wrong:
                break


def mistake(attempt: Callable[[], object]) -> str:
    """What is wrong with an attempt, in a sentence."""
    try:
        attempt()
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


Tries = Iterator[tuple[str, Callable[[], object]]]


def dataset_tries(name: str, root: Path | None) -> Tries:
    """Its description, and the first images of the split that is evaluated and of the one for training."""
    cls = registry.load_dataset_class
    yield "it is imported", lambda: cls(name)
    dataset = cls(name)(data_root(root))
    yield "its description", dataset.validate
    for split in dict.fromkeys((dataset.defaults.protocol.split, "train")):
        yield (
            f"images of {split}",
            lambda split=split: [  # type: ignore[misc]
                read_sample(dataset, split, image_id) for image_id in checked_ids(dataset, split)[:IMAGES]
            ],
        )


def method_tries(name: str, dataset: str, given: dict[str, Any]) -> Tries:
    """Its options, variants and presets; then, in each setting, all phases of training and an evaluation, twice."""
    yield "it is imported", lambda: registry.load_method_class(name)
    cls = registry.load_method_class(name)
    yield "its options, variants and presets", lambda: check_options(cls)
    with tempfile.TemporaryDirectory() as folder:
        settings = cls.settings if cls.trainable else (None,)
        for setting in settings:
            where = Path(folder) / str(setting)
            asked = {**given, "method": name, "dataset": dataset, "limit": IMAGES, "setting": setting, "out": where}
            if cls.trainable:
                asked |= {"iterations": STEPS, "batch_size": IMAGES}
                yield f"training in the {setting} setting, all phases", lambda asked=asked: carry_out("train", asked)  # type: ignore[misc]
                kept = {key: value for key, value in asked.items() if key not in ("iterations", "batch_size", "recipe")}
                asked = {**kept, "checkpoint": where / "checkpoint.safetensors"}
            first, again = (
                {**asked, "out": where / name, "save_predictions": where / name / "maps", "eval_batch": n}
                for name, n in (("first", IMAGES), ("again", 1))
            )
            yield "evaluation", lambda first=first: carry_out("eval", first)  # type: ignore[misc]
            yield (
                "the same again, image by image and with another seed",
                lambda first=first, again=again: compare_with(first["out"], {**again, "seed": 1}),  # type: ignore[misc]
            )


def compare_with(first: Path, again: dict[str, Any]) -> None:
    """Raise `UserError` where an evaluation gives other labels than the one in the folder `first`."""
    carry_out("eval", again)
    maps = [sorted((folder / "maps").rglob("*.png")) for folder in (first, again["out"])]
    changed = np.concatenate([np.ravel(read_map(one) != read_map(other)) for one, other in zip(*maps, strict=True)])
    share = float(changed.mean())
    if share > ROUNDING:
        raise UserError(
            f"{100 * share:.1f} % of the pixels get another class. What decides them must be a parameter or a buffer (then "
            "it is in the checkpoint, and eval() reaches it), and may depend neither on chance nor on the images beside."
        )


def check_options(cls: type[Method]) -> None:
    """Raise `UserError` for a variant or a preset that the options do not take."""
    options, dataset = cls.Options, ""
    try:
        for dataset in options.presets:
            merge(options, options.preset(dataset).options, what="option")
        dataset = ""
        for variant, values in options.variants.items():
            merge(options, values, what=f"variant {variant}: option")
        for variant, presets in options.variant_presets.items():
            for name, preset in presets.items():
                merge(options, preset.options, what=f"preset of {name}, variant {variant}: option")
    except UserError as error:
        raise UserError(f"{f'preset of {dataset}: ' if dataset else ''}{error}") from error


def carry_out(verb: Verb, asked: dict[str, Any]) -> None:
    """A run like any other; what the method raises in it is told with its line."""
    request = Request.of(verb, {name: value for name, value in asked.items() if value is not None})
    resolve(request)
    from zsbench.runs.confirmation import warn
    from zsbench.runs.execution import Run, carry_out
    from zsbench.runs.plan import make_plan
    from zsbench.training.rehearsal import explained

    run = Run(make_plan(verb, request))
    try:
        with explained(run.method, f"zsbench {verb} on images of {dataset_class(request.dataset).name}"):
            carry_out(run, profile=False, confirm=warn)
    finally:
        run.close()
