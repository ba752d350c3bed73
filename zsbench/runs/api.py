"""The Python API: what the commands do, as functions. Nothing heavy is imported before all words of a call are known.

Wherever a function takes `**request`, its keywords are the long options of the command: `limit=8`, `options={"rd": "off"}`,
`device="cuda:1"` (`zsbench.runs.request.Request` has them all). A wrong one is a `UserError` that names the nearest. Methods
and datasets are names, or classes and objects of one's own, which need no registration. `progress`: whether bars are shown;
by default in a terminal and in a notebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsbench import registry
from zsbench.data.suite import read_suite
from zsbench.errors import UserError, told_by_name
from zsbench.result import Profile, Result
from zsbench.runs.backends import Local
from zsbench.runs.folder import CHECKPOINT, free_folder
from zsbench.runs.grid import EVALUATIONS, PROFILES, RUNS, Entry, Finished, arranged, make_cells, run_grid, silent
from zsbench.runs.missing import check_data
from zsbench.runs.own_classes import own_request
from zsbench.runs.request import (
    DEFAULT_DATASET,
    DEFAULT_METHOD,
    CalibrationRequest,
    ProfileRequest,
    Request,
    ScoreRequest,
    Verb,
    parse_seeds,
)
from zsbench.runs.rerun import Rerun, again, carry_out, outcome
from zsbench.runs.resolve import open_dataset, resolve
from zsbench.runs.sweep_file import read_sweep, sweep_cells
from zsbench.utils.progress import shown_progress

if TYPE_CHECKING:
    from zsbench.dataset import Dataset
    from zsbench.method import Method
    from zsbench.options import Ablation
    from zsbench.runs.images import Segmentation
    from zsbench.runs.plan import Plan
    from zsbench.runs.segmenter import Segmenter

Say = Callable[[str], None]
"""Is told of each cell of a grid."""
OF_A_SUITE = ("dataset", "seed")
"""Options of a run that a suite decides itself."""
OF_THE_TABLE = ("variant", "seed", "resume")
"""Options of a run that an ablation decides itself."""


@told_by_name
def load_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """The dataset `name` (or a card, `.toml`); `root` as in `--data-root`.

    >>> dataset = zsbench.load_dataset("miniworld")
    >>> dataset.read("val", dataset.ids("val")[0]).image.shape
    (96, 96, 3)
    """
    return open_dataset(name, None if root is None else Path(root))


def load_method(
    name: str | type[Method] = DEFAULT_METHOD,
    dataset: str | type[Dataset] | Dataset = DEFAULT_DATASET,
    *,
    checkpoint: str | Path | None = None,
    **request: Any,
) -> Segmenter:
    """The method `name` as a function of images, with the weights of `checkpoint` if given, told the classes of `dataset`.

    >>> segmenter = zsbench.load_method("maskclip")
    >>> segmenter("scene.png").shape  # int32, index into segmenter.classes
    (96, 96)
    >>> labels, scores, words = segmenter(image, classes=["boat", "water", "sky"], scores=True)
    >>> segmenter.predict(images).shape  # the method itself: float32 (B, 3, H, W) in 0..1
    torch.Size([1, 3, 12, 12])
    """
    made = planned("load", {"method": name, "dataset": dataset, "checkpoint": checkpoint, **request})
    from zsbench.runs.build import build_told
    from zsbench.runs.segmenter import Segmenter

    return Segmenter(*build_told(made), made)


def train(
    method: str | type[Method] = DEFAULT_METHOD,
    dataset: str | type[Dataset] | Dataset = DEFAULT_DATASET,
    *,
    progress: bool | None = None,
    **request: Any,
) -> Path:
    """Train and return the path of the checkpoint: `zsbench train`.

    >>> checkpoint = zsbench.train("zegclip", "miniworld", seed=1)
    """
    made = planned("train", {"method": method, "dataset": dataset, **request})
    from zsbench.runs.execution import execute

    return execute(made, shown_progress(progress)).out / CHECKPOINT


def evaluate(
    method: str | type[Method] | Method | Segmenter = DEFAULT_METHOD,
    dataset: str | type[Dataset] | Dataset = DEFAULT_DATASET,
    *,
    progress: bool | None = None,
    **request: Any,
) -> Result:
    """Evaluate a training-free method, or a trained one from `checkpoint=`: `zsbench eval`. An object is evaluated as it is.

    >>> zsbench.evaluate("maskclip", "miniworld").metrics["hIoU"].value
    >>> zsbench.evaluate(MyMethod(clip, MyOptions()), MyDataset())
    """
    given = {"dataset": dataset, **request}
    if isinstance(method, str | type):
        return measured("eval", {"method": method, **given}, progress)
    from zsbench.runs.objects import check_free, plan_of
    from zsbench.runs.segmenter import Segmenter

    check_free(request)
    if not isinstance(method, Segmenter):
        return carried_out(plan_of(method, given), progress, method)
    result = carried_out(planned("eval", {**method.asked, **given}), progress, method.method)
    method.tell()  # the evaluation told it others
    return result


def run(
    method: str | type[Method] = DEFAULT_METHOD,
    dataset: str | type[Dataset] | Dataset = DEFAULT_DATASET,
    *,
    progress: bool | None = None,
    **request: Any,
) -> Result:
    """Train where the method learns, evaluate and profile: `zsbench run`.

    >>> zsbench.run("zegclip", "miniworld", recipe={"iterations": 100}).efficiency.gmacs
    """
    return measured("run", {"method": method, "dataset": dataset, **request}, progress)


def profile(method: str = DEFAULT_METHOD, dataset: str = DEFAULT_DATASET, **request: Any) -> Profile:
    """What one image costs: `zsbench profile`. It needs no dataset files and, weights being `random`, no trained weights.

    Where the cost depends on what was learnt (how many proposals are left to classify), give `checkpoint`, as to `evaluate`.
    With `out`, a folder, the profile is also written there.

    >>> zsbench.profile("zegclip", "pascal-voc", size="480x640", device="cuda").latency_ms
    """
    asked = ProfileRequest.of("profile", {"method": method, "dataset": dataset, **request})
    resolve(asked)
    from zsbench.runs.measure import measure

    return measure(asked)


def calibrate(method: str = DEFAULT_METHOD, dataset: str = DEFAULT_DATASET, **request: Any) -> Result:
    """Choose a method's calibration on training images, with seen classes for unseen ones: `zsbench calibrate`.

    >>> found = zsbench.calibrate("zegclip", "miniworld", out="chosen")
    >>> found.constants["calibration"].value
    >>> zsbench.run("zegclip", "miniworld", calibrated="chosen/result.json")
    """
    progress = request.pop("progress", None)
    asked = CalibrationRequest.of("calibrate", {"method": method, "dataset": dataset, **request})
    from zsbench.runs import calibration

    return calibration.calibrate(asked, shown_progress(progress))


def score(predictions: str | Path, dataset: str = DEFAULT_DATASET, **request: Any) -> Result:
    """Score predictions made elsewhere, label maps in a folder or a file of COCO results: `zsbench score`.

    >>> zsbench.score("predictions", "pascal-voc", mapping="one-based", name="my-method").metrics["mIoU"].value
    """
    progress = request.pop("progress", None)
    asked = ScoreRequest.of("score", {"predictions": predictions, "dataset": dataset, **request})
    from zsbench.runs import scoring

    return scoring.score(asked, shown_progress(progress))


def rerun(
    result: str | Path, *, files: Sequence[str | Path] = (), progress: bool | None = None, **changes: Any
) -> Rerun:
    """What a result, or the run in a folder, was asked for, once more: `zsbench rerun`. `files`: where its plugins and
    checkpoints are; `changes`: `out`, `device`, `workers`, `data_root`.

    >>> again = zsbench.rerun("runs/zegclip-miniworld-seed0", device="cpu")
    >>> again.result.metrics["hIoU"].value, again.differences
    """
    asked = again(Path(result), [Path(file) for file in files], **changes)
    found = carry_out(asked, shown_progress(progress))
    return Rerun(found, [*asked.differences, *outcome(asked.result, found)])


def predict(
    image: str | Path,
    classes: Sequence[str] | str,
    method: str | None = None,
    dataset: str | None = None,
    **request: Any,
) -> Segmentation:
    """Segment one image file into classes of your choice: `zsbench predict`.

    Method, CLIP, protocol and templates are those of `checkpoint` (and of the data it learnt from), or of `dataset`.

    >>> found = zsbench.predict("photo.jpg", ["cat", "grass", "sky"])
    >>> found.labels.shape, found.save("pictures")
    """
    return next(predict_all([image], classes, method, dataset, **request))


def predict_all(
    images: Iterable[str | Path],
    classes: Sequence[str] | str,
    method: str | None = None,
    dataset: str | None = None,
    **request: Any,
) -> Iterator[Segmentation]:
    """`predict` for many images, one after the other, with one method."""
    for path in images:
        if not Path(path).is_file():
            raise UserError(f"image {path} does not exist.")
    asked, own = own_request(classes, method, dataset, request)
    from zsbench.runs.images import predictions

    return predictions(asked, own, images)


def profile_all(axes: Mapping[str, Sequence[Any]], given: Mapping[str, Any], say: Say = silent) -> Finished[Profile]:
    """A profile for every combination of the values of `axes`, each in a process of its own; those that are finished in the
    folder `out`, if one is given, are kept."""
    out = given.get("out") or free_folder(Path("runs") / "profile", Path.exists)
    entries: dict[Entry, Sequence[Any]] = {(name,): values for name, values in axes.items()}
    return run_grid(arranged(make_cells(PROFILES, given, entries, Path(out))), Local(), say=say)


def ablate(
    method: str, table: int, *, seeds: int | str | Sequence[int] = 3, jobs: int = 1, say: Say = silent, **request: Any
) -> Finished[Result]:
    """Measure an ablation table of a method's paper: `zsbench ablate`. Each cell is a process; finished ones are kept.

    `seeds`: how many, from 0, or which.

    >>> zsbench.ablate("zegclip", 5, seeds=1).results["zegclip-baseline-fix-miniworld"]
    """
    for name in OF_THE_TABLE:
        if name in request:
            raise UserError(f"{name!r} is decided by the table of an ablation.")
    asked = Request.of("run", {"method": method, **request})
    rows = ablation_rows(asked, table)
    axes: dict[Entry, Sequence[Any]] = {("variant",): [row.variant for row in rows], ("seed",): parse_seeds(seeds)}
    out = asked.out or Path("runs") / f"ablate-{method}-table{table}-{Path(asked.dataset).stem}"
    cells = arranged(make_cells(RUNS, {"method": method, **request}, axes, out))
    check_data(cells)
    return run_grid(cells, Local(), jobs, say)


def ablation_rows(request: Request, table: int) -> Sequence[Ablation]:
    """The rows of a table of the method's paper; raises `UserError` naming the tables there are."""
    tables = resolve(request).options_class.tables
    if table not in tables:
        known = ", ".join(map(str, tables)) or "none"
        raise UserError(f"{request.method} has no ablation table {table}; it has: {known}.")
    return tables[table]


@told_by_name
def sweep(
    file: str | Path, *, jobs: int | None = None, out: str | Path | None = None, say: Say = silent
) -> Finished[Result]:
    """Run the grid that a sweep file describes: `zsbench sweep`. Each cell is a process; finished ones are kept.

    >>> for row, results in zsbench.sweep("sweep.toml").results.items():
    ...     print(row, [result.metrics["hIoU"].value for result in results])
    """
    asked = read_sweep(Path(file), jobs=jobs, out=out)
    cells = sweep_cells(asked, Path(file))
    if asked.backend == "local":  # elsewhere machines may have data that this one lacks
        check_data(cells)
    return run_grid(cells, asked.open_backend(), asked.jobs_at_once(len(cells)), say)


def run_suite(
    suite: str,
    method: str = DEFAULT_METHOD,
    *,
    verb: Verb = "run",
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
    say: Say = silent,
    **request: Any,
) -> Finished[Result]:
    """Run or evaluate a method on every data set of a suite, by name or file: `zsbench run --suite`, `zsbench eval --suite`.

    Each cell is a process; finished ones are kept. Raises `UserError` naming all data that are missing, before any runs.

    >>> zsbench.run_suite("gzlss", "maskclip", verb="eval").results["maskclip-pascal-voc"]
    """
    for name in OF_A_SUITE:
        if name in request:
            raise UserError(f"{name!r} is decided by the suite.")
    saved = request.pop("save_predictions", None)
    for path in Request.of(verb, {"method": method, **request}).plugin:
        registry.add_file(path)
    found = read_suite(suite)
    given = {"method": method, **found.run, **request}
    asked = Request.of(verb, given)
    named = "-".join(filter(None, (found.name, Path(method).name, asked.variant, asked.setting)))
    axes: dict[Entry, Sequence[Any]] = {("dataset",): found.datasets, ("seed",): seeds}
    kind = RUNS if verb == "run" else EVALUATIONS
    cells = arranged(make_cells(kind, given, axes, asked.out or Path("runs") / named))
    if saved is not None:  # a folder for each, as ids of two data sets may be the same
        apart = [{"save_predictions": Path(saved) / cell.out.name} for cell in cells]
        cells = [
            replace(cell, request=cell.request.model_copy(update=its)) for cell, its in zip(cells, apart, strict=True)
        ]
    check_data(cells)
    return run_grid(cells, Local(), jobs, say)


def planned(verb: Verb, given: Mapping[str, Any]) -> Plan:
    """What will happen; raises `UserError` for any unknown word before torch is imported."""
    from zsbench.runs.objects import named

    words, dataset = named(given)
    request = Request.of(verb, words)
    resolve(request, dataset, verb)
    from zsbench.runs.plan import make_plan

    return make_plan(verb, request, dataset)


def measured(verb: Verb, given: Mapping[str, Any], progress: bool | None = None) -> Result:
    return carried_out(planned(verb, given), progress)


def carried_out(made: Plan, progress: bool | None, method: Method | None = None) -> Result:
    """What comes of a plan that evaluates; the maps that it saved are within reach of the result."""
    from zsbench.runs.execution import execute

    result = execute(made, shown_progress(progress), method=method).result
    assert result is not None, "only `train` has none"
    if made.request.save_predictions is not None:
        from zsbench.data.predictions import SavedMaps

        result._predictions = SavedMaps(made.request.save_predictions, made.eval_ids)
    return result
