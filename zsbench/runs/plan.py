"""From what the user asked to what will happen: every default resolved, every option checked, before anything runs."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from zsbench import registry
from zsbench.checkpoint import CheckpointInfo
from zsbench.class_names import NameSet
from zsbench.clip.pretrained import RANDOM
from zsbench.clip.templates import read_templates
from zsbench.clip.word_vectors import WordVectors, read_word_vectors
from zsbench.data.card import dataset_class
from zsbench.dataset import Dataset, Defaults, EvalProtocol, split_ids
from zsbench.errors import UserError, did_you_mean
from zsbench.method import Method, Options, ReleasedCheckpoint
from zsbench.recipe import Recipe
from zsbench.runs.compatibility import check_classes, check_texts, check_vectors, open_checkpoint
from zsbench.runs.folder import is_finished
from zsbench.runs.request import Request, Verb
from zsbench.settings import SETTINGS, Setting, parse_setting

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Plan:
    """A request with everything resolved. `words`: in the place of `clip` and `weights`, for a method that needs no CLIP."""

    verb: Verb
    request: Request
    method_class: type[Method]
    options: Options
    dataset: Dataset
    setting: Setting
    clip: str | None
    weights: str | None
    names: NameSet
    templates: str
    words: WordVectors | None
    recipe: Recipe
    protocol: EvalProtocol
    checkpoint: CheckpointInfo | None
    released: ReleasedCheckpoint | None
    train_ids: tuple[str, ...]
    eval_ids: tuple[str, ...]
    device: torch.device
    dtype: torch.dtype
    out: Path

    @property
    def trains(self) -> bool:
        return bool(self.train_ids)

    @property
    def trained_before(self) -> CheckpointInfo | None:
        """The checkpoint of our own that is evaluated as it is: how it was trained belongs to the result."""
        return None if self.trains or self.released is not None else self.checkpoint

    @property
    def word_to_class(self) -> tuple[int, ...]:
        """The class of each predicted word, and after them that of a pixel that is background by threshold."""
        if self.protocol.background_threshold is None or self.dataset.background is None:
            return self.names.word_to_class
        return (*self.names.word_to_class, self.dataset.classes.index(self.dataset.background))

    @property
    def prompts(self) -> int:
        """How many texts are encoded once: words times templates."""
        return 0 if self.words else len(self.names.words) * len(read_templates(self.templates))

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the numbers: what may be resumed with what."""
        content = {
            "method": self.method_class.name,
            "options": self.options.model_dump(mode="json"),
            "dataset": self.dataset.name,
            "classes": self.names.sha256,
            "setting": self.setting,
            "clip": [self.clip, self.weights, self.templates, str(self.request.text_embeddings)],
            "words": self.words and self.words.sha256,
            "recipe": self.recipe.model_dump(mode="json", exclude={"workers"}),
            "protocol": asdict(self.protocol),
            "checkpoint": None if self.request.checkpoint is None else str(self.request.checkpoint.resolve()),
            "ids": [self.train_ids, self.eval_ids],
            "seed": self.request.seed,
            "dtype": str(self.dtype),
            "eval_batch": self.eval_batch,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def eval_batch(self) -> int:
        """Images scored together: one where they are resized or windows slide, else enough to keep the processor busy."""
        return self.request.eval_batch or (1 if self.protocol.crop or self.protocol.short_side else 16)


def make_plan(verb: Verb, request: Request) -> Plan:
    """Resolve a request. Raises `UserError` for anything unknown, contradictory or absent."""
    for path in request.plugin:
        registry.add_file(path)
    dataset = open_dataset(request.dataset, request.data_root)
    method_class = registry.load_method_class(request.method)
    checkpoint, released = open_checkpoint(request.checkpoint, method_class, dataset, request.transfer)
    if checkpoint is not None and request.checkpoint is not None:
        check_classes(checkpoint, request.checkpoint, request.method, dataset, request.transfer)
    setting = choose_setting(request, method_class, checkpoint)
    options = resolve_options(method_class, dataset.name, request, checkpoint)
    preset = method_class.Options.preset(dataset.name)
    given = {"iterations": request.iterations, "batch_size": request.batch_size}
    recipe = merge(
        Recipe,
        dataset.defaults.recipe,
        preset.recipe,
        {} if request.limit is None else {"iterations": 1, "batch_size": min(request.limit, 16)},
        request.recipe,
        {key: value for key, value in given.items() if value is not None},
        what="recipe entry",
    )
    trains = method_class.trainable and verb in ("run", "train")
    if method_class.trainable and verb == "eval" and checkpoint is None:
        raise UserError(
            f"{request.method} is a trained method: give its weights with --checkpoint, or use `zsbench run`."
        )
    if verb == "train" and not trains:
        raise UserError(f"{request.method} is training-free: use `zsbench eval`.")
    protocol = resolve_protocol(method_class, dataset.name, dataset.defaults)
    protocol = with_threshold(protocol, request.background_threshold, dataset)
    home = dataset.defaults if checkpoint is None else source_defaults(checkpoint, dataset)
    names, templates = choose_texts(request, checkpoint, dataset)
    check_words(names, dataset, protocol, trains)
    words = choose_vectors(request, method_class, checkpoint, names, dataset)
    # a profile says nothing about accuracy; what a checkpoint holds was learnt on the weights that it names
    weights = RANDOM if verb == "profile" and checkpoint is None and request.weights is None else request.weights
    encoder = (None, None) if words else resolve_clip(request.clip, weights, home)
    if verb in ("run", "eval"):
        options.verify(dataset.ids(protocol.split))
    return Plan(
        verb=verb,
        request=request,
        method_class=method_class,
        options=options,
        dataset=dataset,
        setting=setting,
        clip=encoder[0],
        weights=encoder[1],
        names=names,
        templates=templates,
        words=words,
        recipe=recipe,
        protocol=protocol,
        checkpoint=checkpoint,
        released=released,
        train_ids=tuple(split_ids(dataset, "train", request.limit)) if trains else (),
        eval_ids=tuple(split_ids(dataset, protocol.split, request.limit)) if verb in ("run", "eval") else (),
        device=choose_device(request.device),
        dtype=choose_dtype(request.dtype, trains),
        out=request.out or default_out(request, setting, trains),
    )


def open_dataset(name: str, root: Path | None) -> Dataset:
    """The dataset of that name; its root is `root`, else `$ZSBENCH_DATA`, else `./data`."""
    dataset = dataset_class(name)(root or Path(os.environ.get("ZSBENCH_DATA", "data")))
    dataset.validate()
    return dataset


def choose_setting(request: Request, method_class: type[Method], checkpoint: CheckpointInfo | None) -> Setting:
    """The asked setting, else the checkpoint's, else inductive for a method that learns."""
    default = "inductive" if method_class.trainable else "training-free"
    setting = parse_setting(request.setting or (checkpoint.setting if checkpoint else None) or default)
    if (setting == "training-free") == method_class.trainable:
        fitting = [s for s in SETTINGS if (s == "training-free") != method_class.trainable]
        raise UserError(f"{request.method} cannot run in the {setting} setting; it has {', '.join(fitting)}.")
    return setting


def choose_texts(request: Request, checkpoint: CheckpointInfo | None, dataset: Dataset) -> tuple[NameSet, str]:
    """The words of the classes and the templates: the asked ones, else what a checkpoint was trained with, else the default.

    Raises `UserError` where a checkpoint was trained with other texts and nobody says that this is meant.
    """
    learnt = None if request.transfer else checkpoint
    names = dataset.names(request.classes or (learnt.names if learnt else None))
    if learnt is not None and request.checkpoint is not None:
        check_texts(learnt, request.checkpoint, names, request.text_embeddings)
    return names, request.templates or (learnt.templates if learnt else None) or dataset.defaults.templates


def choose_vectors(
    request: Request,
    method_class: type[Method],
    checkpoint: CheckpointInfo | None,
    names: NameSet,
    dataset: Dataset,
) -> WordVectors | None:
    """The word vectors of the class names for a method that needs no CLIP, None for one that does.

    Raises `UserError` for an option of the other kind, for words that the table lacks, and for a checkpoint that was trained
    with other vectors.
    """
    if method_class.needs_clip:
        if request.words is not None:
            raise UserError(f"--words: {request.method} reads class names by the text encoder of its CLIP.")
        return None
    for name in ("clip", "weights", "templates", "text_embeddings"):
        if getattr(request, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')}: {request.method} needs no CLIP; give it word vectors by --words."
            )
    if request.words is None:
        raise UserError(
            f"{request.method} needs word vectors: --words FILE, of word2vec, GloVe or fastText (.npz, .vec, .txt or .bin)."
        )
    words = read_word_vectors(request.words).of(names, dataset.classes)
    if checkpoint is not None and request.checkpoint is not None and not request.transfer:
        check_vectors(checkpoint, request.checkpoint, words)
    return words


def resolve_options(
    method_class: type[Method], dataset: str, request: Request, checkpoint: CheckpointInfo | None
) -> Options:
    """Defaults, then the method's preset for the dataset, the variant, the checkpoint's, and the user's own."""
    variant: Mapping[str, Any] = {}
    if request.variant is not None:
        if request.variant not in method_class.Options.variants:
            near = did_you_mean(request.variant, method_class.Options.variants)
            known = ", ".join(method_class.Options.variants) or "none"
            raise UserError(f"{request.method} has no variant {request.variant!r}; it has: {known}.{near}")
        variant = method_class.Options.variants[request.variant]
    preset = method_class.Options.preset(dataset)
    stored = checkpoint.options if checkpoint else {}
    layers = (preset.options, variant, stored, request.options)
    return merge(method_class.Options, *layers, what=f"option of {request.method}")


def resolve_protocol(method_class: type[Method], dataset: str, defaults: Defaults) -> EvalProtocol:
    """The dataset's protocol with what the method changes: its release may test whole images where others slide."""
    return replace(defaults.protocol, **method_class.Options.preset(dataset).protocol)


def with_threshold(protocol: EvalProtocol, asked: str | None, dataset: Dataset) -> EvalProtocol:
    """The protocol with the asked background threshold, `none` for none of them; by default its own."""
    if asked is None:
        return protocol
    if asked.lower() == "none":
        return replace(protocol, background_threshold=None)
    if dataset.background is None:
        raise UserError(f"--background-threshold: {dataset.name} has no class that stands for background.")
    try:
        return replace(protocol, background_threshold=float(asked))
    except ValueError:
        raise UserError(f"--background-threshold {asked!r}: expected a number between 0 and 1, or none.") from None


def check_words(names: NameSet, dataset: Dataset, protocol: EvalProtocol, trains: bool) -> None:
    """Every class needs a word, but for a background that a threshold finds in a method that does not learn it."""
    for name, words in zip(dataset.classes, names.synonyms, strict=True):
        if words:
            continue
        if name != dataset.background:
            raise UserError(
                f"name set {names.name}: {name!r} has no word; only a class that is background may have none."
            )
        if protocol.background_threshold is None:
            raise UserError(
                f"name set {names.name} has no word for {name!r}: give --background-threshold, such as 0.5."
            )
        if trains:
            raise UserError(f"name set {names.name} has no word for {name!r}, which a method that trains needs.")


def merge(model: type[Model], *layers: Mapping[str, Any], what: str) -> Model:
    """A validated `model` from overrides, later ones winning. Raises `UserError` that names the entry at fault."""
    values: dict[str, Any] = {}
    for layer in layers:
        values.update(layer)
    for key in values:
        if key not in model.model_fields:
            known = ", ".join(model.model_fields) or "none"
            raise UserError(f"unknown {what}: {key!r}.{did_you_mean(key, model.model_fields)} Known: {known}.")
    try:
        return model.model_validate({key: parse_text(value) for key, value in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{what} {name}={first['input']!r}: {first['msg']}.") from error


def parse_text(value: Any) -> Any:
    """A command line's `none` and `a,b` become None and a list; everything else is left to the model."""
    if not isinstance(value, str):
        return value
    if value.lower() == "none":
        return None
    return value.split(",") if "," in value else value


def resolve_clip(clip: str | None, weights: str | None, defaults: Defaults) -> tuple[str, str]:
    """`(model, weights)`: what was asked for, else the defaults; the name of a dataset stands for the CLIP it comes with.

    Weights belong to their model, so another model needs its own: raises `UserError` where they are not given.
    """
    if clip is not None and any(entry.name == clip for entry in registry.plugins("dataset")):
        defaults, clip = registry.load_dataset_class(clip).defaults, None
    if clip is not None and clip != defaults.clip and weights is None:
        raise UserError(f"--clip {clip} needs --weights: an open_clip tag, a file, or `random`.")
    return clip or defaults.clip, weights or defaults.weights


def source_defaults(checkpoint: CheckpointInfo, dataset: Dataset) -> Defaults:
    """The defaults of the data that a checkpoint learnt from, whose CLIP it needs; those of `dataset` if unknown."""
    installed = any(plugin.name == checkpoint.dataset for plugin in registry.plugins("dataset"))
    return registry.load_dataset_class(checkpoint.dataset).defaults if installed else dataset.defaults


def choose_device(text: str | None) -> torch.device:
    """The asked device, else CUDA where there is one; raises `UserError` where the asked one is absent."""
    if text is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise UserError(f"--device {text!r} is no device; give cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: this torch finds no CUDA device. Use --device cpu, or install a CUDA build of torch "
            "and its driver."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {text}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0.")
    return device


def choose_dtype(text: str, trains: bool) -> torch.dtype:
    """float32, bfloat16, or (evaluation only: training in it needs loss scaling) float16."""
    if text not in DTYPES:
        raise UserError(f"--dtype {text!r}: expected {', '.join(DTYPES)}.{did_you_mean(text, DTYPES)}")
    if trains and text == "float16":
        raise UserError("--dtype float16 is for evaluation; train with float32 or bfloat16.")
    return DTYPES[text]


def default_out(request: Request, setting: Setting, trains: bool) -> Path:
    """`runs/<method>-<variant>-<dataset>-<setting>-seed<N>`; a finished run's folder is never taken again."""
    usual = setting in ("inductive", "training-free")
    dataset = Path(request.dataset).name.removesuffix(".toml").removesuffix(".py")
    parts = [request.method, request.variant, dataset, None if usual else setting, f"seed{request.seed}"]
    first = Path("runs") / "-".join(part for part in parts if part)
    folders = itertools.chain([first], (first.with_name(f"{first.name}-{number}") for number in itertools.count(2)))
    return next(folder for folder in folders if not is_finished(folder, trains))
