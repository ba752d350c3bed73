"""What a user can ask for: one model, from which commands, keywords of the API and entries of sweep files are made."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from zsbench import registry
from zsbench.errors import UserError, nearest
from zsbench.recipe import MANY, MAX_SIDE, MAX_WORKERS, Recipe
from zsbench.settings import Setting
from zsbench.utils.validation import validated

DEFAULT_METHOD, DEFAULT_DATASET, DEFAULT_PREDICTOR = "zegclip", "miniworld", "maskclip"
"""What a command without words takes, and a prediction without a checkpoint: the harness names no other plugin."""

Verb = Literal["run", "train", "eval", "profile", "predict", "propose", "load", "score", "calibrate"]
"""What is done with a request; the first three, `propose` and `score` need images of the dataset."""
METHODS: tuple[Verb, ...] = ("run", "train", "eval", "profile", "predict", "propose", "load")
"""What is done with a method."""
RUNS: tuple[Verb, ...] = ("run", "train", "eval")
COMMANDS: tuple[Verb, ...] = (*RUNS, "profile", "predict", "score", "calibrate")
"""Those of the verbs that are commands of `zsbench`."""
Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow"]
"""Where curves and pictures of a run can go; the package of each is an extra of its name."""

AnyRequest = TypeVar("AnyRequest", bound="Request")


@dataclass(frozen=True)
class Place:
    """Where an option is offered: its panel of the help, the verbs that have it, and its flags if not `--<its name>`."""

    panel: str
    verbs: tuple[Verb, ...] = METHODS
    flags: tuple[str, ...] = ()

    def only(self, *verbs: Verb) -> Place:
        return replace(self, verbs=verbs)

    def also(self, *verbs: Verb) -> Place:
        return replace(self, verbs=(*self.verbs, *verbs))

    def under(self, *flags: str) -> Place:
        return replace(self, flags=flags)


PANELS = ("What", "CLIP and words", "Training", "Evaluation", "Profile", "Where it runs", "Output")
"""Groups of options in the help of a command, in this order."""
WHAT = Place("What")
TRAINING = Place("Training", ("run", "train"))
WORDS = Place("CLIP and words")
EVALUATION = Place("Evaluation", ("run", "eval"))
PROFILE = Place("Profile", ("profile",))
PREDICTIONS = Place("What", ("score",))
CALIBRATION = Place("What", ("calibrate",))
NOT_CALIBRATED = ("curve", "calibrated", "transfer", "text_embeddings", "save_predictions", "metric", "outside")
"""What a run can be told, and the choice of a calibration cannot."""
WHERE = Place("Where it runs")
OUTPUT = Place("Output")
MANY_SEEDS = 1000
SEEDS_MEAN = "Expected how many (3 is 0,1,2), or which: 0,1,2. One is --seed N."
SEEDS = "several runs and their mean: how many (3: the seeds 0,1,2), or which, as 0,1,2"
UNSAID = ("out", "data_root", "workers", "resume", "save_predictions", "outside", "track", "yes")
"""Left out of the command that gives the same numbers again."""


def pairs(given: Any) -> Any:
    """`key=value` words, or a mapping, as a dictionary."""
    if isinstance(given, Mapping) or not isinstance(given, list | tuple):
        return given
    split = [str(word).partition("=") for word in given]
    for key, equals, _ in split:
        if not equals:
            raise ValueError(f"{key!r}: expected key=value")
    return {key.strip(): value.strip() for key, _, value in split}


def several(given: Any) -> Any:
    """One path or a list of them."""
    return (given,) if isinstance(given, str | Path) else given


def plugins(given: Any) -> Any:
    """Files that register plugins, or classes: of these the files, where they are in any."""
    given = (given,) if isinstance(given, str | Path | type) else given
    if not isinstance(given, list | tuple):
        return given
    files: dict[str | Path, None] = {}
    for each in given:
        file = class_file(each) if isinstance(each, type) else each
        files |= {} if file is None else {file: None}
    return tuple(files)


def class_file(cls: type) -> Path | None:
    """Make a class known that no file may register, and give its file, if that registers it."""
    kind: registry.Kind = "dataset" if hasattr(cls, "read") and hasattr(cls, "ids") else "method"
    registered, file = "name" in vars(cls), registry.file_of(cls)
    registry.named_class(kind, cls)
    return file if registered and cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__ else None


def threshold(text: str | None) -> str | None:
    """`none`, or a number between 0 and 1."""
    try:
        fits = text is None or text.lower() == "none" or 0 < float(text) < 1
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("expected a number between 0 and 1, or none")
    return text


def size(text: str | None) -> str | None:
    fits = text is None or re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text)
    if not fits or (text and max(map(int, text.split("x"))) > MAX_SIDE):
        raise ValueError(f"expected HEIGHTxWIDTH, such as 480x640, up to {MAX_SIDE} each")
    return text


def option(default: Any, description: str, **bounds: Any) -> Any:
    """A field that has a default and says what it is."""
    return Field(default=default, description=description, **bounds)


def parse_seeds(given: Any) -> list[int]:
    """`3` as the seeds 0, 1, 2, and `0,1,2` or a list as what they say. Raises `UserError` for anything else."""
    words = (
        given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple | range) else [given]
    )
    words = [str(word).strip() for word in words if str(word).strip()]
    if strange := [word for word in words if not word.isdecimal() or not word.isascii()]:
        raise UserError(f"seeds: {strange[0]!r} is no whole number from 0. {SEEDS_MEAN}")
    counted = len(words) == 1 and isinstance(given, int | str) and "," not in str(given)
    seeds = list(range(min(int(words[0]), MANY_SEEDS + 1))) if counted else list(map(int, words))
    if not seeds or len(seeds) > MANY_SEEDS or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {given!r}: at least one, at most {MANY_SEEDS}, each once. {SEEDS_MEAN}")
    return seeds


Pairs = Annotated[dict[str, Any], BeforeValidator(pairs)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(several)]
Plugins = Annotated[tuple[Path, ...], BeforeValidator(plugins)]
Trackers = Annotated[tuple[Tracker, ...], BeforeValidator(several)]
Threshold = Annotated[str | None, AfterValidator(threshold)]
Size = Annotated[str | None, AfterValidator(size)]


class Request(BaseModel):
    """What a user can say about a run; None means the default of the dataset, of the method or of the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    method: Annotated[str, WHAT] = option(DEFAULT_METHOD, "a method (`zsbench list methods`, `zsbench info NAME`)")
    dataset: Annotated[str, WHAT.also("score")] = option(
        DEFAULT_DATASET, "a dataset (`zsbench list datasets`), or a file: a card (.toml), or a class (.py)"
    )
    setting: Annotated[Setting | None, WHAT.only(*RUNS, "propose", "score")] = option(
        None, "what the method may learn from"
    )
    variant: Annotated[str | None, WHAT] = option(None, "a named set of options of the method (`zsbench info METHOD`)")
    protocol: Annotated[str | None, WHAT.only(*RUNS)] = option(
        None, "a named protocol of the method: as-released scores on its release's grid; default: the label's own size"
    )
    calibrated: Annotated[Path | None, EVALUATION] = option(
        None, "result of `zsbench calibrate`: the method's calibration is the one chosen there"
    )
    options: Annotated[Pairs, WHAT.under("--option", "-o")] = option(
        {}, "an option of the method (`zsbench info METHOD`); may be repeated"
    )
    checkpoint: Annotated[Path | None, WHAT] = option(
        None, "learnt weights: of `zsbench train` or `run`, or of the method's own release"
    )
    transfer: Annotated[bool, WHAT.only(*RUNS, "profile", "propose", "load")] = option(
        False, "use a checkpoint with another dataset's classes"
    )
    limit: Annotated[int | None, WHAT.only(*RUNS, "propose", "score")] = option(
        None,
        "a trial: the first N images of each split, one training step unless --iterations says more",
        ge=1,
        le=MANY,
    )
    recipe: Annotated[Pairs, TRAINING.under("--recipe", "-r")] = option(
        {}, "an entry of the training recipe (`zsbench info recipe`); may be repeated"
    )
    iterations: Annotated[int | None, TRAINING] = option(None, "training steps", ge=1, le=MANY)
    batch_size: Annotated[int | None, TRAINING] = option(
        None, "images per training step, over all devices", ge=1, le=MANY
    )
    clip: Annotated[str | None, WORDS] = option(
        None, "open_clip model, model config (JSON), or a dataset that comes with a CLIP; default: the dataset's"
    )
    weights: Annotated[str | None, WORDS] = option(
        None, "open_clip tag, local file, or `random`; default: the dataset's"
    )
    classes: Annotated[str | None, WORDS.also("score")] = option(
        None, "a name set of the dataset, or a text file: one class a line, synonyms after `;`"
    )
    background_threshold: Annotated[Threshold, WORDS.only("run", "eval", "profile")] = option(
        None,
        "pixels of less probability are background: 0..1, or none; default: the dataset's",
        coerce_numbers_to_str=True,
    )
    templates: Annotated[str | None, WORDS] = option(
        None, "single, vild15, imagenet80, or a text file of templates; default: the dataset's"
    )
    text_embeddings: Annotated[Path | None, WORDS] = option(None, ".npy of ready text embeddings, one row per class")
    words: Annotated[Path | None, WORDS] = option(
        None, "word vectors of a method without CLIP: .npz, .vec, .txt or .bin (`zsbench data words`)"
    )
    eval_batch: Annotated[int | None, EVALUATION] = option(None, "images scored together", ge=1, le=MANY)
    workers: Annotated[int, WHERE.only("run", "eval", "score")] = option(
        0, "processes that read images for evaluation", ge=0, le=MAX_WORKERS
    )
    save_predictions: Annotated[Path | None, OUTPUT.only("run", "eval")] = option(
        None, "folder for the predicted label maps, as `zsbench score` reads them"
    )
    curve: Annotated[bool, EVALUATION] = option(False, "measure seen and unseen classes at every calibration, too")
    metric: Annotated[Paths, EVALUATION.also("score")] = option(
        (), "a further metric: boundary-iou, calibration-error, or file.py:Class; may be repeated"
    )
    outside: Annotated[bool, EVALUATION.also("score")] = option(
        False, "the gallery shows what was predicted outside of the labelled area, too"
    )
    data_root: Annotated[Path | None, WHERE.only(*RUNS, "propose", "score")] = option(
        None, "where the data lies; else $ZSBENCH_DATA, else ./data"
    )
    seed: Annotated[int, TRAINING.only(*RUNS, "score")] = option(
        0, "seed of initialisation, order and augmentation", ge=0, lt=2**63
    )
    device: Annotated[str | None, WHERE] = option(None, "cpu, cuda or cuda:N; default: CUDA where there is one")
    dtype: Annotated[Literal["float32", "bfloat16", "float16"], WHERE.only(*RUNS, "profile", "predict")] = option(
        "float32", "type of the arithmetic (float16: not in training)"
    )
    tf32: Annotated[bool, WHERE.only(*RUNS, "profile", "predict")] = option(
        False, "products and convolutions of float32 in TF32 on CUDA; else surely not"
    )
    compile: Annotated[bool, WHERE.only(*RUNS, "profile")] = option(
        False, "run the method through torch.compile (docs/efficiency.md: where that pays)"
    )
    resume: Annotated[bool, OUTPUT.only(*RUNS)] = option(False, "go on where this very run was stopped")
    yes: Annotated[bool, WHERE.only(*RUNS)] = option(False, "run without asking what would take longer than a day")
    track: Annotated[Trackers, OUTPUT.only(*RUNS)] = option(
        (), "send losses, rate, validation, metrics and the gallery there, too; may be repeated"
    )
    out: Annotated[Path | None, OUTPUT.also("score")] = option(
        None, "output folder; default: runs/<what it is, and what was changed>-seed<N>"
    )
    plugin: Annotated[Plugins, WHAT.also("score")] = option(
        (), "a Python file that registers methods or datasets; may be repeated"
    )

    @classmethod
    def of(cls: type[AnyRequest], verb: Verb, given: Mapping[str, Any]) -> AnyRequest:
        """What was given for a verb. Raises `UserError` for a name that the verb does not have, and for a wrong value."""
        offered = cls.offered(verb)
        for name in (each for each in given if each not in offered):
            hint, other = elsewhere(name), name in Request.model_fields
            entry = nearest(name, list(Recipe.model_fields)) if "recipe" in offered and not other else None
            if entry is not None:
                hint = f"Did you mean -r {entry}=..., in Python recipe={{{entry!r}: ...}}?"
            if hint and (other or nearest(name, list(offered)) is None):
                raise UserError(f"unknown option of `zsbench {verb}`: {name!r}. {hint}")
        request = validated(cls, given, f"option of `zsbench {verb}`", offered)
        if verb == "train" and "evaluated" in request.recipe:
            said = f"-r evaluated={as_word(request.recipe['evaluated'])}"
            raise UserError(f"{said}: `zsbench train` evaluates no weights, so that this can do nothing: leave it out.")
        return request

    @classmethod
    def offered(cls, verb: Verb) -> dict[str, FieldInfo]:
        """The options that a verb has."""
        return {name: field for name, field in cls.model_fields.items() if verb in place(field).verbs}

    def command(self, verb: Verb) -> str:
        """The command line that gives the same numbers again; where data and outputs lie is left to the reader."""
        return shlex.join(["zsbench", *self.argv(verb, UNSAID)])

    def argv(self, verb: Verb, unsaid: tuple[str, ...] = ("resume",)) -> list[str]:
        """What was asked for, as words of the command line after `zsbench`; repeated options come last."""
        single, repeated = [str(verb)], []
        for name, field in self.offered(verb).items():
            value = getattr(self, name)
            if name in unsaid or value == field.get_default(call_default_factory=True):
                continue
            flag = flags(name, field)[-1]
            if isinstance(value, Mapping):
                repeated += [word for key, each in value.items() for word in (flag, f"{key}={as_word(each)}")]
            elif isinstance(value, tuple):
                repeated += [word for each in value for word in (flag, str(each))]
            else:
                single += [flag] if value is True else [flag, str(value)]
        return single + repeated


class ScoreRequest(Request):
    """What a user can say about predictions made elsewhere."""

    predictions: Annotated[Path | None, PREDICTIONS] = option(
        None, "folder of label maps (PNG, TIFF, NPY, NPZ) named by image id, or a JSON file of COCO results"
    )
    mapping: Annotated[str, PREDICTIONS] = option(
        "zero-based", "what the values mean: zero-based, one-based, or a TOML file (docs/reports.md)"
    )
    name: Annotated[str | None, PREDICTIONS] = option(
        None, "what made the predictions; default: the name of the folder", min_length=1
    )
    allow_missing: Annotated[bool, PREDICTIONS] = option(
        False, "an image without a prediction is wrong in every pixel, not an error"
    )


class CalibrationRequest(Request):
    """What a user can say about the choice of a calibration; what is not said here is said as in a run."""

    stand_ins: Annotated[str | None, CALIBRATION] = option(
        None,
        "seen classes in the place of unseen ones: names (a,b), or how many; default: as many in proportion",
    )
    held_out: Annotated[int | None, CALIBRATION] = option(
        None, "training images in the place of test ones, the last N; default: a fifth, at most 500", ge=1
    )

    @classmethod
    def offered(cls, verb: Verb) -> dict[str, FieldInfo]:
        verbs = ("run", "calibrate") if verb == "calibrate" else (verb,)
        named = {name: field for name, field in cls.model_fields.items() if {*verbs} & {*place(field).verbs}}
        return {name: field for name, field in named.items() if verb != "calibrate" or name not in NOT_CALIBRATED}


class ProfileRequest(Request):
    """What a user can say about one profile."""

    size: Annotated[Size, PROFILE] = option(
        None, "HEIGHTxWIDTH of the image before resizing; default: one full window of the protocol"
    )
    timed: Annotated[Literal["model", "end-to-end"], PROFILE] = option("end-to-end", "what is timed")
    seconds: Annotated[float, PROFILE] = option(
        10.0, "for warm-up, for latency; a quarter for each batch", ge=0, le=1e6, allow_inf_nan=False
    )
    largest_batch: Annotated[int, PROFILE] = option(
        64, "bound of the search for the best batch; 1: no search", ge=1, le=MANY
    )


def elsewhere(word: str) -> str:
    """Which commands have an option of that name, or train by such an entry of the recipe; empty where none does."""
    field = Request.model_fields.get(word.replace("-", "_"))
    if field is not None:
        commands = [f"`zsbench {verb}`" for verb in place(field).verbs if verb in COMMANDS]
        return f"It is an option of {', '.join(commands)}."
    entry = nearest(word, list(Recipe.model_fields))
    return f"{entry} is of training: -r {entry}=... of `zsbench run` and `zsbench train`." if entry else ""


def place(field: FieldInfo) -> Place:
    """Where the option of a field is offered."""
    return next(found for found in field.metadata if isinstance(found, Place))


def flags(name: str, field: FieldInfo) -> tuple[str, ...]:
    """The flags of an option, a short one last."""
    return place(field).flags or ("--" + name.replace("_", "-"),)


def as_word(value: Any) -> str:
    """A value of an option or of the recipe as the command line gives it."""
    if value is None:
        return "none"
    return ",".join(map(as_word, value)) if isinstance(value, list | tuple) else str(value)
