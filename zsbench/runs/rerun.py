"""A result's request once more: the same words, the files by their content, and what differs from then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zsbench import __version__
from zsbench.errors import UserError
from zsbench.result import Result
from zsbench.runs.asked import is_file
from zsbench.runs.folder import RESULT
from zsbench.runs.request import UNSAID, CalibrationRequest, Request, ScoreRequest, Verb
from zsbench.runs.software import revision, versions
from zsbench.utils.files import sha256

if TYPE_CHECKING:
    from rich.console import Console

    from zsbench.runs.plan import Plan

MODELS: Mapping[str, type[Request]] = {
    "run": Request,
    "eval": Request,
    "score": ScoreRequest,
    "calibrate": CalibrationRequest,
}


@dataclass(frozen=True)
class Again:
    """What was asked for when a result was made, and what is known to be another now."""

    result: Result
    verb: Verb
    request: Request
    differences: Sequence[str]


@dataclass(frozen=True)
class Rerun:
    """What came of the same request, and what differs from the first time: versions, commit, files, data, numbers."""

    result: Result
    differences: Sequence[str]


@dataclass
class Search:
    """Looks for files by content among `files`, then by name in `folders`; `others`: those that were found with another
    content. `advice`: what to do where one is nowhere."""

    files: Sequence[Path]
    folders: Sequence[Path]
    advice: str
    others: list[str] = field(default_factory=list)

    def restored(self, value: Any) -> Any:
        """A value of a stored request with paths in the place of names and hashes."""
        if is_file(value):
            return self.find(value["name"], value["sha256"])
        if isinstance(value, Mapping):
            return {name: self.restored(each) for name, each in value.items()}
        return [self.restored(each) for each in value] if isinstance(value, list) else value

    def find(self, name: str, digest: str | None) -> str:
        """The file of that content, else one of that name. Raises `UserError` where there is neither."""
        file, colon, inner = name.partition(":")  # a metric is `file.py:Class`
        there = [folder / file for folder in self.folders if (folder / file).exists()]
        same = [path for path in (*self.files, *there) if path.is_file() and sha256(path) == digest]
        if same or (there and digest is None):
            return f"{(same or there)[0]}{colon}{inner}"
        if digest is None:  # a name, or a file that was none even then
            return name
        if there:
            self.others.append(
                f"{name}: {there[0]} has another content (sha256 {sha256(there[0])[:12]}, not {digest[:12]})"
            )
            return f"{there[0]}{colon}{inner}"
        raise UserError(f"the run was given a file {name} (sha256 {digest[:12]}), which is not there: {self.advice}.")


def again(path: Path, files: Sequence[Path] = (), **changes: Any) -> Again:
    """The request of the result `path`, a file or the folder of a run; `changes` say where it runs and what it leaves.

    Files are looked for in `files`, beside the result, and in the current folder. Raises `UserError` for what cannot be
    asked for again: a file that is not there, an option that this version does not have.
    """
    file = path / RESULT if path.is_dir() else path
    result = Result.load(file)
    if result.verb not in MODELS:
        raise UserError(f"{file} is of `zsbench {result.verb}`: only {', '.join(MODELS)} can be run again.")
    folders = [*(each if each.is_dir() else each.parent for each in files), file.parent, Path()]
    search = Search([each for each in files if each.is_file()], folders, "give it, or its folder, by --files")
    model, verb = MODELS[result.verb], cast(Verb, result.verb)
    said = {name: value for name, value in result.request.items() if name not in UNSAID}
    given = {name: search.restored(value) for name, value in said.items() if value not in (None, {}, [])}
    default = model()
    given = {name: value for name, value in given.items() if value != getattr(default, name, None)}
    chosen = {name: value for name, value in changes.items() if value is not None}
    request = model.of(verb, {**given, **chosen})
    return Again(result, verb, request, [*software(result), *search.others])


def carry_out(asked: Again, progress: Console | None, told: Callable[[Plan], None] = lambda plan: None) -> Result:
    """The result of the same request; a run's plan is `told` before it begins."""
    if asked.verb == "score":
        from zsbench.runs.scoring import score

        return score(cast(ScoreRequest, asked.request), progress)
    if asked.verb == "calibrate":
        from zsbench.runs.calibration import calibrate

        return calibrate(cast(CalibrationRequest, asked.request), progress)
    from zsbench.runs.execution import execute
    from zsbench.runs.plan import make_plan

    plan = make_plan(asked.verb, asked.request)
    told(plan)
    result = execute(plan, progress).result
    assert result is not None, "only `train` has none"
    return result


def software(result: Result) -> Iterator[str]:
    """What is another in versions and commit than when a result was made."""
    then, now = result.environment, versions()
    commit, dirty = revision()
    if then.zsbench != __version__:
        yield f"zsbench was {then.zsbench} and is {__version__}"
    if then.commit != commit:
        yield f"its commit was {short(then.commit)} and is {short(commit)}"
    if then.dirty or dirty:
        when = " and ".join(["then"] * bool(then.dirty) + ["now"] * bool(dirty))
        yield f"its checkout has changes that no commit holds: {when}"
    for package in dict.fromkeys([*then.versions, *now]):
        before, after = then.versions.get(package), now.get(package)
        if before != after:
            yield f"{package} was {before or 'absent'} and is {after or 'absent'}"


def short(commit: str | None) -> str:
    return commit[:12] if commit else "not known"


def outcome(before: Result, now: Result) -> Iterator[str]:
    """What is another in what came of it: the code of plugins, the data, where it ran, the numbers."""
    for what, then, new in (("method", before.method, now.method), ("dataset", before.dataset, now.dataset)):
        if then.code is not None and new.code is not None and then.code.sha256 != new.code.sha256:
            yield f"the {what}'s code {new.code.name} is another: {(new.code.sha256 or 'not known')[:12]}"
    if before.environment.device_name != now.environment.device_name:
        yield f"it ran on {before.environment.device_name} and now on {now.environment.device_name}"
    if before.dataset.labels_sha256 != now.dataset.labels_sha256:
        yield (
            f"the data are others: {before.dataset.images} images with labels {before.dataset.labels_sha256[:12]}, now "
            f"{now.dataset.images} with {now.dataset.labels_sha256[:12]}"
        )
    if before.dataset.classes_sha256 != now.dataset.classes_sha256:
        yield "the words of the classes are others"
    if before.records_sha256 == now.records_sha256:
        yield "the same predictions in every pixel that was counted"
        return
    for name, metric in now.metrics.items():
        if name in before.metrics and before.metrics[name].value != metric.value:
            was, change = before.metrics[name], metric.value - before.metrics[name].value
            yield f"{name} was {was.value:.3f} and is {metric.value:.3f} ({change:+.3f}; its error is {was.stderr:.3f})"
