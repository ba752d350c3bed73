"""What the words of a request mean, found without torch: a misspelt one is answered before anything heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any, TypeVar

from pydantic import BaseModel

from zsbench import registry
from zsbench.checkpoint import CheckpointInfo, read_info
from zsbench.class_names import NameSet
from zsbench.clip.files import check_model_name, says_its_model
from zsbench.clip.templates import TEMPLATES, read_templates
from zsbench.data.card import dataset_class
from zsbench.dataset import Dataset, Defaults, EvalProtocol
from zsbench.errors import UserError, did_you_mean
from zsbench.options import Options, Preset
from zsbench.recipe import SELF_TRAINING, Recipe, idle
from zsbench.result import Constant, File, Result
from zsbench.runs.asked import portable
from zsbench.runs.class_source import Attributes, attributes
from zsbench.runs.compatibility import check_classes, check_texts
from zsbench.runs.request import Request, Verb, as_word
from zsbench.settings import Phase, Setting, default_phases, parse_setting
from zsbench.utils.files import locate, sha256
from zsbench.utils.validation import from_file, holds_text, named_path, validated

CALIBRATION = "calibration"
"""The option of methods that subtract a constant from the scores of seen classes."""
DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "npu", "mtia")
"""The kinds of devices of torch and its extensions; whether one is there is asked of torch, later."""
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Resolved:
    """A request and what it names: the dataset, and the class of the method's options."""

    request: Request
    dataset: Dataset
    options_class: type[Options]
    learnt: CheckpointInfo | None
    """What a checkpoint of our own says; one of a method's release is read by the method (`zsbench.runs.plan`)."""

    @property
    def preset(self) -> Preset:
        """What the method, or the asked variant, changes for the dataset."""
        return self.options_class.preset(self.dataset.name, self.dataset.like, self.request.variant)

    def options(self, checkpoint: CheckpointInfo | None) -> Options:
        """Defaults, then the method's preset for the dataset, the variant, the checkpoint's, and the user's own."""
        request, variants = self.request, self.options_class.variants
        if request.variant is not None and request.variant not in variants:
            near = did_you_mean(request.variant, variants)
            known = ", ".join(variants) or "none"
            raise UserError(f"{request.method} has no variant {request.variant!r}; it has: {known}.{near}")
        variant = {} if request.variant is None else variants[request.variant]
        stored = self.stored_options(checkpoint) if checkpoint else {}
        chosen = {}
        if request.calibrated is not None:
            result, constant = read_calibration(request, self.dataset.name)
            chosen = {CALIBRATION: constant.value}
        layers = (self.preset.options, variant, stored, chosen, request.options)
        elsewhere = {name: f"-r {name}=" for name in Recipe.model_fields}
        merged = merge(self.options_class, *layers, what=f"option of {request.method}", elsewhere=elsewhere)
        if request.calibrated is not None:
            check_chosen_with(request.calibrated, result.method.options, merged.model_dump(mode="json"))
        return merged

    def stored_options(self, checkpoint: CheckpointInfo) -> Mapping[str, Any]:
        """Those of a checkpoint in whose place nobody asks for others; `UserError` for a path among them."""
        own = {name: value for name, value in checkpoint.options.items() if name not in self.request.options}
        fields = self.options_class.model_fields
        texts = [name for name in own if name in fields and holds_text(fields[name].annotation)]
        for name in texts:
            if own[name] != fields[name].default and (path := named_path(own[name])):
                raise UserError(
                    f"{self.request.checkpoint} was trained with -o {name}={PurePath(path).name}, a file. What a checkpoint "
                    f"names is not looked for: give it by -o {name}=PATH."
                )
        return own

    def check_useful(self) -> None:
        """Raise `UserError` for what can do nothing: said twice, or about a training of a method that learns nothing."""
        request = self.request
        for name in ("iterations", "batch_size"):
            if getattr(request, name) is not None and name in request.recipe:
                raise UserError(f"--{name.replace('_', '-')} and -r {name} say it twice: leave one out.")
        if request.templates is not None and request.text_embeddings is not None:
            raise UserError("--templates can do nothing beside --text-embeddings, which are ready: leave one out.")
        if request.transfer and request.checkpoint is None:
            raise UserError(
                "--transfer uses a checkpoint with other classes, and there is none: add --checkpoint FILE."
            )
        declared = self.declared
        trainable, settings = declared.get("trainable"), declared.get("settings")
        if (training := about_training(request)) and trainable is False:
            raise useless(training, f"{request.method} is training-free")
        check_text_source(request, declared.get("needs_clip"))
        if trainable is None or settings is None:
            return
        setting = choose_setting(request, fitting(trainable, settings), self.learnt)
        released = request.checkpoint is not None and self.learnt is None  # what it says of its setting is read later
        reads = declared.get("reads")
        if trainable and reads is not None and not released and "phases" not in declared.values:
            check_entries(request, default_phases(setting, self.recipe()), setting, reads)

    @property
    def declared(self) -> Attributes:
        """What the source of the method's class says; whatever it does not say is asked of the class, later."""
        found = [each for each in registry.plugins("method") if each.name == self.request.method]
        return attributes(found[0]) if len(found) == 1 else Attributes(whole=False)

    def recipe(self) -> Recipe:
        """Defaults, then the dataset's, the method's for the dataset, those of a trial, and the user's own."""
        request = self.request
        trial = {} if request.limit is None else {"iterations": 1, "batch_size": min(request.limit, 16)}
        own = {"iterations": request.iterations, "batch_size": request.batch_size}
        own = {key: value for key, value in own.items() if value is not None}
        layers = (self.dataset.defaults.recipe, self.preset.recipe, trial, request.recipe, own)
        elsewhere = {name: f"-o {name}=" for name in self.options_class.model_fields}
        return merge(Recipe, *layers, what="recipe entry", elsewhere=elsewhere)

    def protocol(self) -> EvalProtocol:
        """The dataset's, with what the method changes (its release may test whole images where others slide), and with the
        asked background threshold, `none` for none of them."""
        protocol = replace(self.dataset.defaults.protocol, **{**self.preset.protocol, **self.named_protocol()})
        if protocol.grid is not None and self.request.save_predictions is not None:
            raise UserError(
                f"--save-predictions keeps label maps of the images' size, and --protocol {self.request.protocol} scores on "
                "another grid: leave one out."
            )
        asked = self.request.background_threshold
        if asked is None:
            return protocol
        if asked.lower() == "none":
            return replace(protocol, background_threshold=None)
        if self.dataset.background is None:
            raise UserError(f"--background-threshold: {self.dataset.name} has no class that stands for background.")
        return replace(protocol, background_threshold=float(asked))

    def named_protocol(self) -> Mapping[str, Any]:
        """What the asked protocol of the method changes. Raises `UserError` for one that it does not have."""
        known, asked = self.options_class.protocols, self.request.protocol
        if asked is not None and asked not in known:
            raise UserError(
                f"{self.request.method} has no protocol {asked!r}; it has: {', '.join(known) or 'none'}."
                f"{did_you_mean(asked, known)}"
            )
        return known[asked] if asked is not None else {}

    def texts(self, checkpoint: CheckpointInfo | None) -> tuple[NameSet, str]:
        """The words of the classes and the templates: the asked ones, else what a checkpoint was trained with, else the
        method's for the dataset (its names where the dataset has them), else the dataset's.

        Raises `UserError` where a checkpoint was trained with other texts and nobody says that this is meant.
        """
        request, learnt = self.request, None if self.request.transfer else checkpoint
        known, source = self.dataset.known_names, request.checkpoint
        own = self.preset.names if self.preset.names in known else None
        if learnt is not None and learnt.names is not None and request.classes is None:
            own = from_file(learnt.names, known, source, "class names", "--classes")
        names = self.dataset.names(request.classes or own)
        if learnt is not None and request.checkpoint is not None:
            check_texts(learnt, request.checkpoint, names, request.text_embeddings)
        templates = request.templates or (learnt_templates(learnt, source) if learnt else None)
        templates = templates or self.preset.templates or self.dataset.defaults.templates
        if templates not in TEMPLATES:
            read_templates(templates)
        return names, templates


def about_training(request: Request) -> list[str]:
    """What was said about training, in words of the command line."""
    words = [f"-r {name}={as_word(value)}" for name, value in request.recipe.items()]
    numbers = {name: getattr(request, name) for name in ("iterations", "batch_size")}
    return words + [f"--{name.replace('_', '-')} {number}" for name, number in numbers.items() if number is not None]


def check_text_source(request: Request, needs_clip: bool | None) -> None:
    """Raise `UserError` for an option of CLIP, or of word vectors, where the method reads class names by the other."""
    if needs_clip and request.words is not None:
        raise UserError(f"--words: {request.method} reads class names by the text encoder of its CLIP.")
    for name in ("clip", "weights", "templates", "text_embeddings") if needs_clip is False else ():
        if getattr(request, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')}: {request.method} needs no CLIP; give it word vectors by --words."
            )


def fitting(trainable: bool, settings: Sequence[Setting]) -> Sequence[Setting]:
    """The settings that a method has."""
    return settings if trainable else ("training-free",)


def choose_setting(request: Request, settings: Sequence[Setting], checkpoint: CheckpointInfo | None) -> Setting:
    """The asked setting, else the checkpoint's, else the first of those that the method has."""
    setting = parse_setting(request.setting or (checkpoint.setting if checkpoint else None) or settings[0])
    if setting not in settings:
        raise UserError(f"{request.method} cannot run in the {setting} setting; it has {', '.join(settings)}.")
    return setting


def check_entries(request: Request, phases: Sequence[Phase], setting: Setting, reads: Sequence[str]) -> None:
    """Raise `UserError` for an entry of the recipe that nothing reads beside the others, such as momentum with AdamW, and
    that is not among what the method's own optimisers and rates read."""
    for entry in request.recipe:
        reason = None if entry in reads else idle(entry, [phase.recipe for phase in phases])
        if entry in SELF_TRAINING and setting != "transductive":
            reason = f"{entry} is of the transductive setting, and this training is {setting}"
        if reason:
            raise useless([f"-r {entry}={as_word(request.recipe[entry])}"], reason)


def useless(training: list[str], why: str) -> UserError:
    return UserError(f"{', '.join(training)}: {why}, so that this can do nothing: leave it out.")


def learnt_templates(learnt: CheckpointInfo, source: object) -> str | None:
    """The templates that a checkpoint was trained with: a set, or a template; None where no text was encoded."""
    if not learnt.templates or "{}" in learnt.templates:
        return learnt.templates or None
    return from_file(learnt.templates, TEMPLATES, source, "templates", "--templates")


def read_calibration(request: Request, dataset: str) -> tuple[Result, Constant]:
    """A result of `zsbench calibrate` and what it chose.

    Raises `UserError` where it did not choose for this method and dataset, or where the user says otherwise by an option.
    """
    assert request.calibrated is not None
    path = request.calibrated / "result.json" if request.calibrated.is_dir() else request.calibrated
    result = Result.load(path)
    if CALIBRATION not in result.constants:
        raise UserError(f"--calibrated {path}: no result of `zsbench calibrate`, which chooses a calibration.")
    if (result.method.name, result.dataset.name) != (request.method, dataset):
        raise UserError(f"--calibrated {path}: chosen for {result.method.name} on {result.dataset.name}.")
    if CALIBRATION in request.options:
        raise UserError(f"-o {CALIBRATION} and --calibrated say it twice: leave one out.")
    source = File(name=path.name, sha256=sha256(path))
    return result, result.constants[CALIBRATION].model_copy(update={"source": source})


def check_chosen_with(path: Path, chosen: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `UserError` where a method has other options than those with which its calibration was chosen."""
    common = [name for name in here if name in chosen and name != CALIBRATION]
    name = next((name for name in common if portable(here[name]) != chosen[name]), None)
    if name is not None:
        raise UserError(
            f"--calibrated {path}: chosen with {name}={as_word(chosen[name])}, and here it is {as_word(here[name])}. A "
            "constant fits the scores that it was chosen on: give the options that `zsbench calibrate` had, or choose again."
        )


def resolve(request: Request, dataset: Dataset | None = None, verb: Verb | None = None) -> Resolved:
    """Look up every word of a request, and whether the `verb` fits its method; `dataset` stands for the one that it names.

    Raises `UserError` for a plugin, method, dataset, variant, option, recipe entry, name set or template that is not there,
    for a value out of bounds, an absent file, and a checkpoint of something else.
    """
    for path in request.plugin:
        registry.add_file(path)
    dataset = open_dataset(request.dataset, request.data_root) if dataset is None else dataset
    options_class = registry.load_options(request.method)
    if request.words is not None:
        locate(request.words)
    if request.clip is not None and not is_dataset(request.clip):
        check_model_name(request.clip)
    for name in ("checkpoint", "text_embeddings"):
        file: Path | None = getattr(request, name)
        if file is not None and not file.is_file():
            raise UserError(f"{name.replace('_', ' ')} {file} does not exist.")
    check_trackers(request.track)
    if request.device is not None and request.device.partition(":")[0] not in DEVICES:
        raise no_device(request.device)
    learnt = None
    if request.checkpoint is not None and request.checkpoint.suffix == ".safetensors":
        learnt = read_info(request.checkpoint)
        check_classes(learnt, request.checkpoint, request.method, dataset, request.transfer)
    resolved = Resolved(request, dataset, options_class, learnt)
    resolved.options(learnt)
    resolved.recipe()
    if verb is not None:
        check_verb(verb, request, resolved.declared.get("trainable"))
    resolved.check_useful()
    resolved.protocol()
    resolved.texts(learnt)
    return resolved


def no_device(text: str) -> UserError:
    return UserError(f"--device {text!r} is no device; give cpu, cuda or cuda:N.")


def check_verb(verb: Verb, request: Request, trainable: bool | None) -> None:
    """Raise `UserError` where what is asked needs learnt weights, or has none to learn; None: it is not known yet."""
    if verb == "train" and trainable is False:
        raise UserError(f"{request.method} is training-free: use `zsbench eval`.")
    if trainable and request.checkpoint is None and verb in ("eval", "predict", "propose"):
        raise UserError(
            f"{request.method} is a trained method: give its weights with --checkpoint, or use `zsbench run`."
        )


def check_trackers(names: Sequence[str]) -> None:
    """Raise `UserError` for a tracker whose package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"--track {name}: {name} is not installed: pip install 'zsbench[{name}]'.")


def open_dataset(name: str, root: Path | None) -> Dataset:
    """The dataset of that name on `data_root(root)`, once its description is found sound."""
    dataset = dataset_class(name)(data_root(root))
    dataset.validate()
    return dataset


def data_root(root: Path | None) -> Path:
    """Where data are looked for: `root`, else `$ZSBENCH_DATA`, else `./data`."""
    return root or Path(os.environ.get("ZSBENCH_DATA", "data"))


def merge(
    model: type[Model], *layers: Mapping[str, Any], what: str, elsewhere: Mapping[str, str] | None = None
) -> Model:
    """A validated `model` from overrides, later ones winning. Raises `UserError` that names the entry at fault, and how what
    is no entry is said `elsewhere`."""
    values = {key: value for layer in layers for key, value in layer.items()}
    texts = {key for key, field in model.model_fields.items() if field.annotation in (str, str | None)}
    parsed = {key: parse_text(value, key not in texts) for key, value in values.items()}
    return validated(model, parsed, what, elsewhere=elsewhere)


def parse_text(value: Any, lists: bool = True) -> Any:
    """A command line's `none` and, where there are `lists`, `a,b` become None and a list; all else is left to the model."""
    if not isinstance(value, str):
        return value
    if value.lower() == "none":
        return None
    return value.split(",") if lists and "," in value else value


def resolve_clip(clip: str | None, weights: str | None, defaults: Defaults) -> tuple[str, str]:
    """`(model, weights)`: what was asked for, else the defaults; the name of a dataset stands for the CLIP it comes with.

    Weights belong to their model, so another model needs its own, unless `--clip` is a folder or file that has them: raises
    `UserError` where they are not given.
    """
    if clip is not None and is_dataset(clip):
        defaults, clip = registry.load_dataset_class(clip).defaults, None
    if clip is not None and weights is None and says_its_model(clip):
        weights = clip
    if clip is not None and clip != defaults.clip and weights is None:
        raise UserError(f"--clip {clip} needs --weights: an open_clip tag, a file, or `random`.")
    return clip or defaults.clip, weights or defaults.weights


def is_dataset(name: str) -> bool:
    """Whether a dataset of that name is installed."""
    return any(plugin.name == name for plugin in registry.plugins("dataset"))
