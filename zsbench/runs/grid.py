"""Many runs or profiles: each cell of a grid in a process of its own, so that one that fails harms no other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol

from zsbench.errors import UserError
from zsbench.result import Document, Profile, Result
from zsbench.runs.asked import differences
from zsbench.runs.folder import PROFILE, RESULT
from zsbench.runs.request import ProfileRequest, Request, Verb
from zsbench.runs.resolve import resolve

Entry = tuple[str, ...]
"""What a cell is told: `("method",)`, or `("options", "rd")`."""
NAMED = ("method", "variant", "dataset", "setting")
"""What stands in the name of every cell; other entries do where they vary in its grid."""


def silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Kind(Generic[Document]):
    """What is done in a cell: the verb, what can be asked for, and the file that it leaves."""

    verb: Verb
    request: type[Request]
    file: str
    document: type[Document]


RUNS = Kind("run", Request, RESULT, Result)
EVALUATIONS = Kind("eval", Request, RESULT, Result)
PROFILES = Kind("profile", ProfileRequest, PROFILE, Profile)


@dataclass(frozen=True)
class Cell(Generic[Document]):
    """One run or profile: what is asked for. Its folder holds what it leaves; beside it is a log of what it printed.

    `row`: its name without the seed; cells of one row differ in nothing else.
    """

    kind: Kind[Document]
    row: str
    request: Request

    @property
    def out(self) -> Path:
        assert self.request.out is not None, "every cell has a folder of its own"
        return self.request.out

    @property
    def outcome(self) -> Path:
        """The file that a finished cell has left."""
        return self.out / self.kind.file

    @property
    def log(self) -> Path:
        return self.out.with_name(f"{self.out.name}.log")

    @property
    def words(self) -> list[str]:
        """The words of the command line after `zsbench`: what an earlier try left of a run is resumed."""
        return self.request.argv(self.kind.verb) + ["--resume"] * (self.kind.file == RESULT)

    def load(self) -> Document | None:
        """What the cell left, if it is finished; raises `UserError` where its folder holds that of another command."""
        if not self.outcome.exists():
            return None
        found = self.kind.document.load(self.outcome)
        if other := differences(found.request, self.request):
            raise UserError(
                f"{self.outcome} is what `{found.command}` left, not `{self.request.command(self.kind.verb)}`, which has "
                f"another {', '.join(other)}. Choose another output folder, or delete it."
            )
        return found

    @property
    def failure(self) -> str:
        """Why the cell failed: the first error of its log, else the last line."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines = text.strip().split("\n")
        reason = next((line for line in lines if line.startswith("error:")), lines[-1])
        return f"{self.out.name}: {reason} ({self.log})"


def make_cells(
    kind: Kind[Document], given: Mapping[str, Any], axes: Mapping[Entry, Sequence[Any]], out: Path
) -> Iterator[Cell[Document]]:
    """A cell in the folder `out` for every combination of the values of `axes`, the last varying first; all are told what is
    `given`. Raises `UserError` for an option that the cells do not have, or for a wrong value."""
    varied = [entry for entry, values in axes.items() if len(values) > 1 and entry[0] not in (*NAMED, "seed")]
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        request = kind.request.of(kind.verb, told(given, point))
        words = [getattr(request, name) for name in NAMED] + [f"{entry[-1]}={point[entry]}" for entry in varied]
        row = "-".join(Path(str(word)).name.removesuffix(".toml").removesuffix(".py") for word in words if word)
        seed = f"-seed{request.seed}" if kind.file == RESULT else ""
        yield Cell(kind, row, request.model_copy(update={"out": out / f"{row}{seed}"}))


def told(given: Mapping[str, Any], point: Mapping[Entry, Any]) -> dict[str, Any]:
    """What one cell is told; `""` is no variant, the default setting."""
    content = dict(given)
    for (name, *inner), value in point.items():
        if inner:
            content[name] = {**content.get(name, {}), inner[0]: value}
        elif value != "":
            content[name] = value
    return content


def arranged(cells: Iterable[Cell[Document]]) -> list[Cell[Document]]:
    """The cells, each once, a first seed of all of them before the second.

    Raises `UserError` for two different ones of one name, and for whatever word of a cell is unknown.
    """
    known: dict[Path, Cell[Document]] = {}
    for cell in cells:
        if known.setdefault(cell.out, cell) != cell:
            raise UserError(f"two different cells would be called {cell.out.name}; make two grids of them.")
    for first in {cell.row: cell for cell in known.values()}.values():
        resolve(first.request)
    return sorted(known.values(), key=lambda cell: cell.request.seed)


@dataclass(frozen=True)
class Finished(Generic[Document]):
    """A grid that was run: its cells, and those that failed, in order."""

    cells: Sequence[Cell[Document]]
    failed: Sequence[Cell[Document]]

    @property
    def rows(self) -> dict[str, list[Cell[Document]]]:
        """The cells by row."""
        rows: dict[str, list[Cell[Document]]] = {}
        for cell in self.cells:
            rows.setdefault(cell.row, []).append(cell)
        return rows

    @property
    def results(self) -> dict[str, list[Document]]:
        """By row, what those cells left that did not fail."""
        return {row: [found for cell in cells if (found := cell.load())] for row, cells in self.rows.items()}


class Backend(Protocol):
    """Where cells run (`zsbench.runs.backends`): each in a process of its own."""

    def run(self, cell: Cell[Any]) -> bool:
        """Run a cell and wait for its end, in as many threads as there are jobs; whether it ended well."""

    def stop(self) -> None:
        """End the cells that are running."""


def run_grid(
    cells: Sequence[Cell[Document]], backend: Backend, jobs: int = 1, say: Callable[[str], None] = silent
) -> Finished[Document]:
    """Run the cells that are not finished yet, `jobs` at a time; `say` is told of each."""
    done = [cell.load() is not None for cell in cells]  # before anything is run: a folder may hold another's outcome
    ended = threading.Event()

    def attempt(number: int, cell: Cell[Document]) -> bool:
        if ended.is_set():
            return False
        say(f"[{number}/{len(cells)}] {cell.out.name}" + (": done before" if done[number - 1] else " ..."))
        return done[number - 1] or (backend.run(cell) and cell.outcome.exists())

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        futures: dict[Future[bool], Cell[Document]] = {
            pool.submit(attempt, number, cell): cell for number, cell in enumerate(cells, 1)
        }
        try:
            for future in as_completed(futures):
                if not future.result():
                    say(f"    {futures[future].out.name} failed")
        except BaseException:
            ended.set()
            backend.stop()
            raise
    return Finished(cells, [cell for future, cell in futures.items() if not future.result()])
