"""The picture of a training: losses, rate and validation, by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zsbench.runs.folder import CURVES, STEPS
from zsbench.training.course import Course
from zsbench.training.log import logged
from zsbench.utils.figures import save_curves


def draw_curves(folder: Path, course: Course, title: str) -> None:
    """`training.png`, from the log beside it and from what validations found."""
    steps = logged(folder / STEPS)
    at = steps.pop("step")
    rate, loss = steps.pop("lr"), steps.pop("loss")
    parts = {name: steps[name] for name in steps if name != "seconds"}
    losses = {"loss": loss, **(parts if len(parts) > 1 else {})}  # one part alone is the sum
    found = {
        name: [(step, scores[name]) for step, scores in course.history if name in scores] for name in names(course)
    }
    save_curves(folder / CURVES, at, losses, rate, found, title)


def names(course: Course) -> list[str]:
    return list(dict.fromkeys(name for _, scores in course.history for name in scores))


@contextmanager
def drawn(folder: Path, course: Callable[[], Course], title: str, say: Callable[[str], None]) -> Iterator[None]:
    """Within, a training goes on; whether it ends or is interrupted, its picture is drawn. One that fails costs nothing."""
    try:
        yield
    finally:
        try:
            if (folder / STEPS).exists() and (folder / STEPS).stat().st_size:
                draw_curves(folder, course(), title)
        except Exception as error:
            say(f"{CURVES} could not be drawn ({type(error).__name__}: {error}); all else is there.")
