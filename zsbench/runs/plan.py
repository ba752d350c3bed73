"""From what the user asked to what will happen: every default resolved, every option checked, before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from zsbench import registry
from zsbench.checkpoint import CheckpointInfo
from zsbench.class_names import NameSet
from zsbench.clip.pretrained import RANDOM, known_models, known_weights
from zsbench.clip.templates import read_templates
from zsbench.clip.word_vectors import WordVectors, read_word_vectors
from zsbench.dataset import Dataset, Defaults, EvalProtocol, checked_ids, split_ids
from zsbench.errors import UserError
from zsbench.image_metric import ImageMetric
from zsbench.method import Method, ReleasedCheckpoint
from zsbench.options import Options
from zsbench.recipe import Recipe
from zsbench.result import File
from zsbench.runs.compatibility import check_vectors, open_release
from zsbench.runs.finished import unlike
from zsbench.runs.folder import changes, free_folder, is_finished, leftovers, names_after
from zsbench.runs.image_metrics import open_metrics
from zsbench.runs.request import Request, Verb
from zsbench.runs.resolve import (
    Resolved,
    about_training,
    check_entries,
    check_text_source,
    check_verb,
    choose_setting,
    fitting,
    is_dataset,
    no_device,
    resolve,
    resolve_clip,
    useless,
)
from zsbench.runs.stand_ins import hold_out
from zsbench.settings import Setting
from zsbench.utils.validation import from_file

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """A request with everything resolved."""

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
    metrics: Mapping[str, tuple[ImageMetric, File]]
    validation_ids: tuple[str, ...] = ()

    @property
    def trains(self) -> bool:
        return bool(self.train_ids)

    @property
    def validations(self) -> int:
        """How often the method is looked at while it learns, at most."""
        return -(-self.recipe.iterations // self.recipe.validate_every) if self.validation_ids else 0

    @property
    def trained_before(self) -> CheckpointInfo | None:
        """The checkpoint of our own that is evaluated as it is: how it was trained belongs to the result."""
        return None if self.trains or self.released is not None else self.checkpoint

    @property
    def word_to_class(self) -> tuple[int, ...]:
        """The class of each predicted word, and after them background, where there is one: it may be found by threshold."""
        if self.dataset.background is None:
            return self.names.word_to_class
        return (*self.names.word_to_class, self.dataset.classes.index(self.dataset.background))

    @property
    def prompts(self) -> int:
        """How many texts are encoded once: words times templates."""
        return 0 if self.words else len(self.names.words) * len(read_templates(self.templates))

    @property
    def eval_batch(self) -> int:
        """Images scored together: one where they are resized or windows slide, else enough to keep the processor busy."""
        return self.request.eval_batch or (1 if self.protocol.crop or self.protocol.short_side else 16)


def make_plan(verb: Verb, request: Request, dataset: Dataset | None = None) -> Plan:
    """Resolve a request; `dataset` stands for the one that it names.

    Raises `UserError` for anything unknown, contradictory or absent.
    """
    resolved = resolve(request, dataset, verb)
    dataset, method_class = resolved.dataset, registry.load_method_class(request.method)
    check_verb(verb, request, method_class.trainable)
    checkpoint, released = open_checkpoint(resolved, method_class)
    trains = decide_training(verb, method_class, checkpoint)
    check_useful(verb, request, method_class, trains)
    options, protocol = resolved.options(checkpoint), resolved.protocol()
    names, templates = resolved.texts(checkpoint)
    check_words(names, dataset, protocol, trains)
    setting = choose_setting(request, fitting(method_class.trainable, method_class.settings), checkpoint)
    words = choose_vectors(request, method_class, checkpoint, names, dataset)
    clip, weights = (None, None) if words else choose_clip(verb, request, checkpoint, dataset)
    eval_ids = (
        split_ids(dataset, protocol.split, request.limit) if verb in ("run", "eval", "propose", "calibrate") else ()
    )
    if eval_ids:
        options.verify(checked_ids(dataset, protocol.split))
    recipe = resolved.recipe()
    if trains and request.recipe:
        check_entries(request, method_class.phases(setting, recipe, options), setting, method_class.reads)
    train_ids, validation_ids = choose_images(recipe, request, dataset) if trains else ((), ())
    return Plan(
        verb=verb,
        request=request,
        method_class=method_class,
        options=options,
        dataset=dataset,
        setting=setting,
        clip=clip,
        weights=weights,
        names=names,
        templates=templates,
        words=words,
        recipe=recipe,
        protocol=protocol,
        checkpoint=checkpoint,
        released=released,
        train_ids=train_ids,
        validation_ids=validation_ids,
        eval_ids=tuple(eval_ids),
        device=choose_device(request.device),
        dtype=choose_dtype(request.dtype, trains),
        out=request.out or default_out(verb, request, setting, trains),
        metrics=open_metrics(request.metric, dataset),
    )


def open_checkpoint(
    resolved: Resolved, method_class: type[Method]
) -> tuple[CheckpointInfo | None, ReleasedCheckpoint | None]:
    """What the checkpoint of a request says about itself, and its content where it is one of the method's own release."""
    request = resolved.request
    if request.checkpoint is None or resolved.learnt is not None:
        return resolved.learnt, None
    return open_release(request.checkpoint, method_class, resolved.dataset, request.transfer)


def decide_training(verb: Verb, method_class: type[Method], checkpoint: CheckpointInfo | None) -> bool:
    """Whether the method is trained."""
    return method_class.trainable and (verb in ("run", "train") or (verb == "calibrate" and checkpoint is None))


def check_useful(verb: Verb, request: Request, method_class: type[Method], trains: bool) -> None:
    """Raise `UserError` for entries of the recipe that nothing reads, for nothing is trained."""
    training = about_training(request)
    if training and not trains and verb in ("run", "train", "calibrate"):
        raise useless(
            training, f"nothing is trained: {method_class.name} learns nothing, or its checkpoint is used as it is"
        )


def choose_images(recipe: Recipe, request: Request, dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The training images, and those of them that are held out for validation and not learnt from."""
    ids = split_ids(dataset, "train", request.limit)
    if not recipe.validate_every:
        return tuple(ids), ()
    learnt, kept = hold_out(ids, recipe.validate_images, "-r validate_images", dataset.name)
    return tuple(learnt), tuple(kept)


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
    check_text_source(request, method_class.needs_clip)
    if method_class.needs_clip:
        return None
    file = request.words or dataset.defaults.words
    if file is None:
        raise UserError(
            f"{request.method} needs word vectors: --words FILE, of word2vec, GloVe or fastText (.npz, .vec, .txt or .bin)."
        )
    words = read_word_vectors(Path(file)).of(names, dataset.classes)
    if checkpoint is not None and request.checkpoint is not None:
        check_vectors(checkpoint, request.checkpoint, words, request.transfer)
    return words


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


def choose_clip(verb: Verb, request: Request, checkpoint: CheckpointInfo | None, dataset: Dataset) -> tuple[str, str]:
    """Model and weights: the asked ones, else those of the data that a checkpoint learnt from, else the dataset's.

    The weights of a profile are random, for it says nothing about accuracy, unless a checkpoint was learnt on others.
    """
    known = checkpoint is not None and is_dataset(checkpoint.dataset)
    home = registry.load_dataset_class(checkpoint.dataset).defaults if checkpoint and known else dataset.defaults
    if checkpoint is not None and request.clip is None:
        home = learnt_on(checkpoint, request, home)
    usual = RANDOM if verb == "profile" and checkpoint is None else None
    clip, weights = resolve_clip(request.clip, request.weights or usual, home)
    if not Path(clip).exists():
        from zsbench.clip.description import describe  # it takes seconds to import all models of open_clip

        describe(clip)  # refuses a name that it does not know, before a folder is made
    return clip, weights


def learnt_on(checkpoint: CheckpointInfo, request: Request, home: Defaults) -> Defaults:
    """`home` with the CLIP that was asked for when a checkpoint was trained, where that is known by a name.

    Raises `UserError` for one that was a file, or is named like one, where the request does not give it.
    """
    asked, flags = checkpoint.request or {}, "--clip and --weights, as in training"
    if (clip := asked.get("clip")) is not None:
        datasets = [plugin.name for plugin in registry.plugins("dataset")]
        clip = from_file(clip, [*datasets, *known_models()], request.checkpoint, "its CLIP is", flags)
        home = registry.load_dataset_class(clip).defaults if clip in datasets else replace(home, clip=clip)
    if (weights := asked.get("weights")) is not None and request.weights is None:
        tags = (home.weights, *known_weights(home.clip))
        home = replace(home, weights=from_file(weights, tags, request.checkpoint, "the weights of its CLIP are", flags))
    return home


def choose_device(text: str | None) -> torch.device:
    """The asked device, else CUDA where there is one; raises `UserError` where the asked one is absent."""
    if text is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise no_device(text) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"--device {text}: this torch finds no CUDA device. Use --device cpu, or install a CUDA build of torch "
            "and its driver."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {text}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0.")
    return device


def choose_dtype(text: str, trains: bool) -> torch.dtype:
    """float32, bfloat16, or (evaluation only: training in it needs loss scaling) float16."""
    if trains and text == "float16":
        raise UserError("--dtype float16 is for evaluation; train with float32 or bfloat16.")
    return DTYPES[text]


def usual_folder(request: Request, setting: str, changed: bool = True) -> Path:
    """`runs/<method>-<variant>-<dataset>-<setting>-<what was changed>-seed<N>`; without the last but one as it once was."""
    usual = setting in ("inductive", "training-free")
    dataset = Path(request.dataset).name.removesuffix(".toml").removesuffix(".py")
    words = changes(request) if changed else ""
    parts = [request.method, request.variant, dataset, None if usual else setting, words, f"seed{request.seed}"]
    return Path("runs") / "-".join(part for part in parts if part)


def default_out(verb: Verb, request: Request, setting: str, trains: bool) -> Path:
    """The usual folder or the next name: a finished run's is never taken again, but found where this very run is resumed."""
    first = usual_folder(request, setting)
    if request.resume:
        names = (names_after(usual_folder(request, setting, changed)) for changed in (True, False))
        for folder in itertools.chain.from_iterable(itertools.takewhile(Path.exists, each) for each in names):
            if leftovers(folder) or not unlike(folder, verb, request):
                return folder
    return free_folder(first, lambda folder: is_finished(folder, trains))
