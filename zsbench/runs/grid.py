"""Many runs: each cell of a grid in a process of its own, so that one that fails harms no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from zsbench.errors import UserError
from zsbench.result import Result
from zsbench.runs.folder import RESULT
from zsbench.runs.request import Request


@dataclass(frozen=True)
class Cell:
    """One run: what is asked for. Its folder holds the result, and beside it a log of what the process printed."""

    request: Request

    @property
    def out(self) -> Path:
        assert self.request.out is not None, "every cell has a folder of its own"
        return self.request.out

    @property
    def result_path(self) -> Path:
        return self.out / RESULT

    @property
    def log_path(self) -> Path:
        return self.out.with_name(f"{self.out.name}.log")

    @property
    def words(self) -> list[str]:
        """The words of the command line after `zsbench`: what an earlier try left is resumed."""
        return [*self.request.argv("run"), "--resume"]

    def load(self) -> Result | None:
        """The result, if the cell is finished; raises `UserError` where its folder holds that of another command."""
        if not self.result_path.exists():
            return None
        result = Result.load(self.result_path)
        command = self.request.command("run")
        if result.command != command:
            raise UserError(
                f"{self.result_path} is the result of `{result.command}`, not of `{command}`. Choose another output "
                "folder, or delete it."
            )
        return result


def run_grid(
    cells: Sequence[Cell],
    console: Console,
    run: Callable[[Cell], bool],
    jobs: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> list[Cell]:
    """Run the cells that have no result yet, `jobs` at a time; returns those that failed, in order.

    `run` (see `zsbench.runs.backends`) says whether a cell ended well. `stop` ends those that are running, where this
    process is told to end.
    """
    done = [cell.load() is not None for cell in cells]  # before anything is run: a folder may hold another run's result
    ended = threading.Event()

    def attempt(number: int, cell: Cell) -> bool:
        if ended.is_set():
            return False
        title = f"[{number}/{len(cells)}] {cell.out.name}"
        console.print(f"{title}: done before" if done[number - 1] else f"{title} ...", markup=False)
        return done[number - 1] or (run(cell) and cell.result_path.exists())

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        futures: dict[Future[bool], Cell] = {
            pool.submit(attempt, number, cell): cell for number, cell in enumerate(cells, 1)
        }
        try:
            for future in as_completed(futures):
                if not future.result():
                    console.print(f"    {futures[future].out.name} failed, see {futures[future].log_path}", style="red")
        except BaseException:
            ended.set()
            stop()
            raise
    return [cell for future, cell in futures.items() if not future.result()]
