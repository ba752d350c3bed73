"""The result of one run: one JSON file that says what was measured, on what, how, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
)

from zsbench.errors import UserError
from zsbench.upgrade import upgrade
from zsbench.utils.documents import read_json
from zsbench.utils.extras import optional
from zsbench.utils.files import write_text

SCHEMA_VERSION = 2

Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: None if math.isnan(value) else value, return_type=float | None, when_used="json"),
]
"""A float whose NaN (undefined, such as the IoU of an absent class) is `null` in JSON."""


class Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of pixels."""
Timed = Literal["model", "end-to-end"]
"""What a latency is of: the method alone, or all that happens between an image and its counts."""


class File(Schema):
    """A file that a run was given: known by its content, not by where it lay."""

    name: str = Field(description="name without folders")
    sha256: str | None = Field(
        description="hash of the content; null for a folder that was not read whole, and where schema 1 did not know it"
    )


class Metric(Schema):
    value: Number = Field(description="percent, unrounded")
    stderr: Number = Field(description="standard error over images, by bootstrap")
    low: Number = Field(description="lower end of the 95 % interval")
    high: Number = Field(description="upper end of the 95 % interval")


class ClassRow(Schema):
    name: str = Field(description="class name as given to the method")
    seen: bool = Field(description="learnt from in the inductive setting")
    iou: Number = Field(
        description="intersection over union in percent; null if the class is neither present nor predicted"
    )
    accuracy: Number = Field(description="share of its pixels that were found, in percent; null if absent")
    dice: Number = Field(description="2tp/(gt+pred) in percent")
    tp: Count = Field(description="pixels of the class predicted as the class")
    pred: Count = Field(description="labelled pixels predicted as the class")
    gt: Count = Field(description="pixels of the class")


class ClassTable(list[ClassRow]):
    """The classes of a result: a list that a notebook shows as a table, best first as far as IoU goes."""

    def to_frame(self) -> Any:
        """A pandas frame of a row for each class. Raises `UserError` where pandas is not installed."""
        return optional("pandas", "frames").DataFrame([row.model_dump() for row in self])

    def _repr_html_(self) -> str:
        ranked = sorted(self, key=lambda row: -math.inf if math.isnan(row.iou) else row.iou, reverse=True)
        lines = [(row.name, "seen" if row.seen else "unseen", number(row.iou), number(row.accuracy)) for row in ranked]
        return html_table(("class", "", "IoU", "accuracy"), lines)


def number(value: float, digits: int = 1) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def html_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for notebooks; whatever a text holds, it is no markup."""
    lines = ["".join(f"<td>{escape(word)}</td>" for word in row) for row in rows]
    head = "".join(f"<th>{escape(word)}</th>" for word in headers)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


class WeightsInfo(Schema):
    source: str = Field(description="open_clip tag, file name, or `random`")
    sha256: str | None = Field(description="hash of the file")
    trained_on: str | None = Field(default=None, description="the data they have seen; null: not known, so not clean")
    random: bool = Field(description="no trained weights: the numbers mean nothing and no leaderboard takes them")
    missing: list[str] = Field(description="parameters that the file lacked")
    unexpected: list[str] = Field(description="entries of the file that the model does not have")


class WordsInfo(Schema):
    source: str = Field(description="file name of the word vectors")
    sha256: str = Field(description="hash of the class names and their vectors, in whatever file they were")


class Code(Schema):
    """The code of a plugin that is not zsbench's own."""

    name: str = Field(description="name of the file, or of the package")
    version: str | None = Field(default=None, description="of the package, where it was installed")
    sha256: str | None = Field(description="hash of the file, or of all Python files of the package; null: not known")
    commit: str | None = Field(default=None, description="git commit of the checkout that it was in")
    dirty: bool | None = Field(default=None, description="its folder had changes that no commit holds")


class MethodInfo(Schema):
    name: str = Field(description="name in the registry")
    code: Code | None = Field(default=None, description="of a plugin; null for a method of zsbench's own")
    variant: str | None = Field(description="named set of options")
    oracle: bool = Field(default=False, description="predictions use the ground truth: an upper bound, never ranked")
    options: dict[str, Any] = Field(
        description="every option with its value; in the place of a path, a name and a hash"
    )
    clip: str | None = Field(description="CLIP model; null for a method that needs none")
    templates: str | File | None = Field(description="prompt templates; null where no text was encoded")
    text_embeddings: File | None = Field(default=None, description="ready text embeddings, in the place of templates")
    weights: WeightsInfo | None = Field(description="the CLIP weights")
    words: WordsInfo | None = Field(default=None, description="the word vectors of a method that needs no CLIP")
    checkpoint_sha256: str | None = Field(description="hash of the learnt weights; null for a training-free method")
    predictions: File | None = Field(
        default=None,
        description="scored: label maps made elsewhere, in the place of a method; hash of all their names and content",
    )
    learnt_from: str | None = Field(
        default=None, description="the dataset whose classes it learnt, if another one than the evaluated"
    )


class DatasetInfo(Schema):
    name: str = Field(description="name in the registry")
    code: Code | None = Field(
        default=None, description="of a plugin; null for a dataset of zsbench's own, and for a card"
    )
    split: str = Field(description="evaluated split")
    images: int = Field(description="evaluated images")
    complete: bool = Field(description="the whole split was evaluated: no --limit, no image missing")
    classes: int = Field(description="number of classes")
    unseen: list[str] = Field(description="names of the unseen classes")
    groups: dict[str, list[str]] | None = Field(
        None, description="classes of the groups whose mIoU is a metric, by its name; null: schema 1 did not know them"
    )
    names: str = Field(description="name set: the words by which the classes were put into the prompts")
    classes_sha256: str = Field(description="hash of these words: only equal ones are ranked together")
    labels_sha256: str = Field(description="fingerprint of the ground truth: pixels per image and class")


class Shown(Schema):
    """What of the data a method learns from was shown to it."""

    pixels: str = Field(description="labels of which classes: none, seen, unlabelled (unseen ones without label), all")
    names: str = Field(description="names of which classes: none, seen, all")


class ValidationInfo(Schema):
    """What was found while the method learnt, on training images that it did not learn from."""

    images: int = Field(description="the last ones of the training images, of which none was learnt from")
    metric: str = Field(description="mIoU_S, among seen names alone; of `zsbench calibrate` hIoU, with its stand-ins")
    history: dict[int, Number] = Field(description="the metric in percent, by the steps done before")
    best_step: int = Field(description="after which step the last phase was best")
    best: Number = Field(description="the metric there")
    ended_early: list[int] = Field(description="steps at which patience ended a phase")
    weights: Literal["last", "best"] = Field(description="which weights these are, or were evaluated")


class TrainingInfo(Schema):
    dataset: str = Field(description="what the method learnt from")
    recipe: dict[str, Any] = Field(description="the whole recipe")
    request: dict[str, Any] | None = Field(
        default=None,
        description="what was asked for when a checkpoint was trained, if it says so; null where this run did",
    )
    command: str | None = Field(default=None, description="the same as a command line, for people")
    seconds: Number = Field(default=math.nan, description="wall time of the training; null for a checkpoint")
    final_loss: Number = Field(
        default=math.nan, description="mean loss of the last tenth of the steps; null for a checkpoint"
    )
    validation: ValidationInfo | None = Field(
        default=None, description="what was found meanwhile, if that was asked for"
    )


class Efficiency(Schema):
    learnable_params: int = Field(description="parameters with requires_grad, each tensor once")
    learnable_without_gradient: int = Field(description="of these, those that never receive a gradient")
    image_path_params: int = Field(description="all parameters that an image passes through, text encoder apart")
    text_params: int | None = Field(None, description="parameters of CLIP's text encoder")
    total_params: int | None = Field(None, description="parameters of the image path and of the text encoder")
    gmacs: Number = Field(
        description="multiply-adds of one image in 1e9: convolutions, matrix products, attention; all windows"
    )
    gflops: Number = Field(description="2 x gmacs")
    module_gmacs: dict[str, Number] = Field(
        default_factory=dict, description="gmacs by top-level module of the method; `(method)` is what runs in none"
    )
    uncounted: list[str] = Field(
        default_factory=list, description="executed operations of other libraries, which gmacs leaves out"
    )
    text_gmacs: Number = Field(description="multiply-adds of encoding the vocabulary once, in 1e9")
    input_size: list[int] = Field(description="height and width of the profiled image after resizing")
    windows: int = Field(description="windows of one image")
    latency_ms: Number = Field(description="median of one image at batch 1, synchronised, text encoding apart")
    latency_p10_ms: Number = Field(description="10th percentile")
    latency_p90_ms: Number = Field(description="90th percentile")
    latency_runs: int = Field(description="timed runs after warm-up")
    warm_up_runs: int | None = Field(None, description="runs before the timed ones")
    steady: bool | None = Field(
        None, description="the warm-up ended because runs had become equally long, not because its time was over"
    )
    fps: Number = Field(description="1000 / latency_ms")
    throughput: Number = Field(math.nan, description="images per second at throughput_batch; null if not measured")
    throughput_batch: int | None = Field(None, description="the batch with the most images per second")
    batch_throughput: dict[int, Number] = Field(
        default_factory=dict, description="images per second by size of the batch, doubled until it gained nothing"
    )
    exhausted_batch: int | None = Field(
        None, description="the first batch that did not fit into memory, if one was tried"
    )
    peak_memory: int | None = Field(None, description="bytes at batch 1; memory_kind says of what")
    memory_kind: str = Field("", description="what peak_memory is the peak of")
    joules: Number = Field(math.nan, description="energy of the GPU per image at batch 1 (NVML); null if not known")
    compiled: bool = Field(False, description="timed through torch.compile")
    compile_seconds: Number = Field(math.nan, description="first compiled call; null if not compiled")
    statistics: dict[str, Number] = Field(
        default_factory=dict, description="what the method counted while its latency was measured: means over images"
    )
    timed: str = Field(description="what is inside the timed region")


class Timing(Schema):
    """Summed over processes: what the evaluation cost, however many shared it."""

    data: Number = Field(description="seconds waiting for decoded and resized images")
    model: Number = Field(description="seconds in the method")
    post: Number = Field(description="seconds of upsampling, window averaging and argmax")
    refine: Number = Field(
        default=0.0, description="the same with refinement by the image, of a method that declares it"
    )
    metrics: Number = Field(description="seconds of counting and writing records")


class Constant(Schema):
    """A constant of the method that `zsbench calibrate` chose, without unseen classes and test images."""

    value: float = Field(description="what was chosen")
    chosen_on: str = Field(description="on which images")
    stand_ins: list[str] = Field(description="seen classes that took the place of unseen ones")
    source: File | None = Field(default=None, description="the result of the choice; null in that result itself")


class Extra(Schema):
    """A number of a metric of images, which is none of zsbench's own."""

    value: Number = Field(description="as the metric gives it")
    stderr: Number = Field(description="standard error over images, by bootstrap")
    metric: str = Field(description="class of the metric")
    source: File = Field(description="the file that it is in")


class Curve(Schema):
    """Seen against unseen classes at every calibration: gamma is what is subtracted from the scores of seen classes, all
    in all, the method's own calibration included."""

    gamma: list[float] = Field(description="calibrations, ascending; without those next to which no pixel changes")
    seen: list[Number] = Field(description="mIoU of seen classes at each, in percent")
    unseen: list[Number] = Field(description="mIoU of unseen classes at each, in percent")
    area: Number = Field(description="between curve and axes, in percent of the square of 100 % by 100 % (AUSUC)")
    best_hiou: Number = Field(description="highest hIoU of all, in percent: an oracle, as test images choose its gamma")
    best_gamma: Number = Field(description="the least gamma that has it")
    own_gamma: float = Field(
        description="the method's own calibration, by which the metrics are measured; among `gamma`"
    )


class Environment(Schema):
    zsbench: str = Field(description="version of zsbench")
    commit: str | None = Field(description="git commit of zsbench, if run from a checkout")
    dirty: bool | None = Field(description="the checkout had uncommitted changes")
    versions: dict[str, str] = Field(description="versions of Python and of the packages that matter")
    device: str = Field(description="cpu or cuda")
    device_name: str = Field(description="the processor")
    threads: int = Field(description="CPU threads of torch, of each process")
    processes: int = Field(1, description="processes that shared the evaluation, each on a device of its own")
    dtype: str = Field(description="type in which logits were computed")
    driver: str | None = Field(default=None, description="version of the GPU's driver, where NVML says it")
    clocks_mhz: dict[str, int] = Field(default_factory=dict, description="GPU clocks as found and at most, by NVML")
    flags: dict[str, bool] = Field(default_factory=dict, description="TF32 and cuDNN switches of torch, torch.compile")


class Profile(Efficiency):
    """What one method costs on one device: the cost, and everything it depends on."""

    schema_version: Literal[2] = Field(default=2, description="version of this schema")
    date: str = Field(description="UTC time of the measurement, ISO 8601")
    request: dict[str, Any] = Field(description="all that was asked for; in the place of a path, a name and a hash")
    command: str = Field(description="the same as a command line, for people")
    method: str = Field(description="name in the registry")
    variant: str | None = Field(description="named set of options")
    options: dict[str, Any] = Field(description="every option with its value")
    clip: str | None = Field(description="CLIP model; null for a method that needs none")
    weights: str | None = Field(description="where CLIP's weights are from")
    words: str | None = Field(None, description="file name of the word vectors of a method that needs no CLIP")
    checkpoint: str | None = Field(None, description="file name of the learnt weights; null: not trained")
    checkpoint_sha256: str | None = Field(None, description="hash of that file")
    dataset: str = Field(description="name in the registry; nothing of it is read but its classes and its protocol")
    classes: int = Field(description="number of classes")
    size: str | None = Field(description="size of the image as asked for; null: one full window of the protocol")
    image_size: list[int] = Field(description="height and width of the image before resizing")
    protocol: dict[str, Any] = Field(description="resizing and sliding window")
    environment: Environment = Field(description="where it ran")

    @property
    def precision(self) -> str:
        """`float32`, `tf32`, `bfloat16` or `float16`."""
        tf32 = self.environment.dtype == "float32" and self.environment.flags.get("matmul_tf32", False)
        return "tf32" if tf32 and self.environment.device == "cuda" else self.environment.dtype

    def save(self, path: Path) -> None:
        write_text(path, self.model_dump_json(indent=1) + "\n", lasting=True)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile; raises `UserError` for an unknown schema version or anything that is none."""
        return load(cls, path, "profile")


class Result(Schema):
    """One method on one dataset in one setting with one seed."""

    schema_version: Literal[2] = Field(default=2, description="version of this schema")
    date: str = Field(description="UTC time of the end of the run, ISO 8601")
    verb: str = Field(description="run, eval, score or calibrate")
    request: dict[str, Any] = Field(description="all that was asked for; in the place of a path, a name and a hash")
    command: str = Field(description="the same as a command line, for people")
    method: MethodInfo = Field(description="what was measured")
    dataset: DatasetInfo = Field(description="on what")
    setting: str = Field(description="inductive, transductive, supervised, training-free, or not stated")
    shown: Shown = Field(description="what the method saw before the test")
    protocol: dict[str, Any] = Field(description="resizing and sliding window")
    seed: int = Field(description="seed of initialisation, order and augmentation; of a checkpoint, its own")
    metrics: dict[str, Metric] = Field(
        description="pAcc, mAcc, mIoU, mIoU_S, mIoU_U, hIoU, fwIoU, mDice and groups of classes"
    )
    note: str | None = Field(
        default=None, description="what to know before intervals are trusted: how little they rest on"
    )
    curve: Curve | None = Field(default=None, description="the seen-unseen curve, if asked for")
    extra: dict[str, Extra] = Field(
        default_factory=dict, description="numbers of the metrics of images that were asked for, by their name"
    )
    constants: dict[str, Constant] = Field(
        default_factory=dict,
        description="where options of the method were chosen, by `zsbench calibrate`, by their name",
    )
    classes_scored: int = Field(description="classes with a defined IoU, over which mIoU is the mean")
    per_class: Annotated[list[ClassRow], AfterValidator(lambda rows: ClassTable(rows))] = Field(
        description="every class"
    )
    training: TrainingInfo | None = Field(
        None,
        description="of this run, or what the checkpoint says of its own; null where nothing was, or nothing is said",
    )
    efficiency: Efficiency | None = Field(None, description="cost, if profiled")
    timing: Timing = Field(description="where the evaluation spent its time")
    statistics: dict[str, Number] = Field(
        default_factory=dict, description="what the method counted while it was evaluated; means over images"
    )
    environment: Environment = Field(description="where it ran")
    records_sha256: str = Field(description="hash of the per-image counts: equal hashes, equal predictions")

    @property
    def quality(self) -> str:
        """The metric that methods are ranked by: hIoU, or mIoU where no class is unseen."""
        return "hIoU" if self.dataset.unseen else "mIoU"

    _predictions: Mapping[str, Any] | None = PrivateAttr(None)

    @property
    def predictions(self) -> Mapping[str, Any]:
        """The predicted classes of each image, int32 (H, W), by its id, read when they are asked for.

        They are there after a run of the API with `save_predictions=FOLDER`; raises `UserError` otherwise.
        """
        if self._predictions is None:
            raise UserError("this result has no predictions at hand: call the run with save_predictions=FOLDER.")
        return self._predictions

    @property
    def headline(self) -> str:
        """What was measured on what: `zegclip on miniworld (val, 800 images), inductive, seed 0`."""
        data = f"{self.dataset.split}, {self.dataset.images} images{'' if self.dataset.complete else ', a part of it'}"
        method = " ".join(filter(None, (self.method.name, self.method.variant)))
        return f"{method} on {self.dataset.name} ({data}), {self.setting}, seed {self.seed}"

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {number(metric.value)}" for name, metric in self.shown_metrics.items())
        return f"<Result {self.headline}: {values}>"

    __str__ = __repr__

    @property
    def shown_metrics(self) -> dict[str, Metric]:
        """Those that a reader looks for first, where they are defined."""
        names = ("hIoU", "mIoU_S", "mIoU_U", "mIoU", "pAcc")
        return {name: self.metrics[name] for name in names if not math.isnan(self.metrics[name].value)}

    def _repr_html_(self) -> str:
        lines = [
            (name, number(each.value), f"{number(each.low)} to {number(each.high)}")
            for name, each in self.shown_metrics.items()
        ]
        warning = "<p>random weights: the numbers mean nothing</p>" if self.random else ""
        return f"<p><b>{escape(self.headline)}</b></p>{warning}{html_table(('', '%', '95 % interval'), lines)}"

    @property
    def random(self) -> bool:
        """Whether CLIP's weights were random, so that the numbers mean nothing."""
        return self.method.weights is not None and self.method.weights.random

    def save(self, path: Path) -> None:
        write_text(path, self.model_dump_json(indent=1) + "\n", lasting=True)

    def as_row(self) -> dict[str, Any]:
        """The result in one line of a table: what was measured, and every number unrounded; None where one is undefined.

        Metrics have `_stderr`, `_low` and `_high` beside them; costs, and what was asked for besides, are there where the
        result has them.
        """
        row: dict[str, Any] = {
            **{name: getattr(self.method, name) for name in ("variant", "oracle", "clip")},
            **{name: getattr(self.dataset, name) for name in ("split", "images", "complete", "classes", "names")},
            **{name: getattr(self, name) for name in ("setting", "seed", "date", "command", "records_sha256")},
            "commit": self.environment.commit,
        }
        for name, metric in self.metrics.items():
            row |= {f"{name}{'_' * (part != 'value')}{part}".removesuffix("value"): number for part, number in metric}
        for name, extra in self.extra.items():
            row |= {name: extra.value, f"{name}_stderr": extra.stderr}
        if self.curve is not None:
            row |= {f"curve_{name}": number for name, number in self.curve if not isinstance(number, list)}
        if self.efficiency is not None:
            row |= {name: number for name, number in self.efficiency if isinstance(number, int | float)}
        defined = {name: None if isinstance(n, float) and math.isnan(n) else n for name, n in row.items()}
        return {"method": self.method.name, "dataset": self.dataset.name, **defined}

    def to_frame(self, per_class: bool = False) -> Any:
        """A pandas frame of one row, `as_row`; or with `per_class` of one row for each class.

        Raises `UserError` where pandas is not installed.
        """
        rows = [row.model_dump() for row in self.per_class] if per_class else [self.as_row()]
        return optional("pandas", "frames").DataFrame(rows)

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a result, or that in the folder of a run; raises `UserError` for an unknown schema version or anything that
        is no result."""
        return load(cls, Path(path) / "result.json" if Path(path).is_dir() else path, "result")


Document = TypeVar("Document", Result, Profile)


def explain(error: Exception) -> str:
    """What is wrong with a document, in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}{more}"
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def load(schema: type[Document], path: str | Path, what: str) -> Document:
    """Read a file of `schema`, which messages call `what`; one of schema 1 is upgraded."""
    content = read_json(Path(path), what, "a file cut short or edited: take another copy, or run its command again")
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in (1, SCHEMA_VERSION):
        raise UserError(
            f"{path} has {what} schema version {version!r}; this zsbench reads versions 1 to {SCHEMA_VERSION}. "
            "Run the command stored in it again, or use the zsbench version that wrote it."
        )
    try:
        document = schema.model_validate(upgrade(content) if version == 1 else content)
        document.model_dump_json()  # no halves of characters, no endless nesting: what cannot be written was not written
    except (ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no valid {what}: {explain(error)}") from error
    return document
