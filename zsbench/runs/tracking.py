"""Curves and pictures of a run for the trackers that were asked for, through accelerate's interface to them.

A tracker that cannot begin is a `UserError` before anything is learnt; one that fails later costs no result.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsbench.errors import UserError
from zsbench.result import Result
from zsbench.utils.files import write_text

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from zsbench.runs.plan import Plan

PROJECT = "zsbench"
IDS = "tracking.json"
"""By which a resumed run finds what its trackers began."""
log = logging.getLogger("zsbench")


class Tracking:
    """What the trackers of a run are told, by its main process alone; `say` hears of one that fails."""

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None], main: bool = True) -> None:
        self.plan, self.folder, self.say = plan, folder, say
        self.names, self.trackers = plan.request.track if main else (), list["GeneralTracker"]()
        self.opened = False

    def open(self, done: int = 0) -> None:
        """Begin, once, or go on after `done` steps. Raises `UserError` naming a tracker that does not begin."""
        if self.opened or not self.names:
            return
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        self.opened, ids = True, self.read_ids()
        for name in self.names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            words = (name, str(self.folder)) if kind.requires_logging_directory else (PROJECT,)
            try:
                tracker = kind(*words, **self.settings(name, ids, done))
                tracker.start()
                if not done:
                    tracker.store_init_configuration(configuration(self.plan))
            except Exception as error:
                raise UserError(
                    f"--track {name}: it does not begin: {in_a_line(error)}. Put that right (log in, or choose its offline "
                    "mode), or leave it out."
                ) from error
            self.trackers.append(tracker)
            if name == "mlflow":
                ids[name] = tracker.tracker.info.run_id
        write_text(self.folder / IDS, json.dumps(ids) + "\n")

    def read_ids(self) -> dict[str, str]:
        path = self.folder / IDS
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def settings(self, name: str, ids: dict[str, str], done: int) -> dict[str, Any]:
        """What a tracker is begun with: in the run's folder and under its name, and the same again when it is resumed."""
        called = self.folder.resolve().name
        if name == "tensorboard":
            return {"purge_step": done}
        if name == "wandb":
            identity = ids.setdefault(name, secrets.token_hex(8))
            return {"name": called, "dir": str(self.folder), "id": identity, "resume": "allow"}
        if name == "mlflow":
            return {"run_name": called, "run_id": ids.get(name)}
        return {"name": called, "resume": "allow" if done else "never"}  # trackio finds a run by its name alone

    def log(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Numbers under `<group>/<name>`; those that are undefined are left out."""
        numbers = {f"{group}/{name}": float(value) for name, value in values.items() if math.isfinite(value)}
        self.each(lambda tracker: tracker.log(numbers, step=step))

    def conclude(self, result: Result, gallery: Path, step: int) -> None:
        """The metrics of a result, and its gallery."""
        self.open(step)
        self.log("test", {name: metric.value for name, metric in result.metrics.items()}, step)
        if gallery.exists():
            self.each(lambda tracker: show(tracker, gallery, step))

    def each(self, tell: Callable[[GeneralTracker], object]) -> None:
        """Tell every tracker; one that fails is told nothing any more."""
        for tracker in list(self.trackers):
            try:
                tell(tracker)
            except Exception as error:
                self.trackers.remove(tracker)
                self.say(f"--track {tracker.name} failed, the run goes on without it: {in_a_line(error)}")

    def close(self) -> None:
        """Whatever has happened: what was told is written, or sent."""
        self.each(lambda tracker: tracker.finish())
        self.trackers.clear()


def show(tracker: GeneralTracker, picture: Path, step: int) -> None:
    """A picture, as each tracker takes it."""
    from PIL import Image

    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    if tracker.name == "tensorboard":
        tracker.log_images({picture.stem: pixels[None]}, step=step, dataformats="NHWC")
    elif hasattr(tracker, "log_images"):
        tracker.log_images({picture.stem: [pixels]}, step=step)
    elif hasattr(tracker, "log_artifact"):
        tracker.log_artifact(str(picture))
    else:
        import trackio

        tracker.log({picture.stem: trackio.Image(str(picture))}, step=step)


def configuration(plan: Plan) -> dict[str, str | int | float | bool]:
    """What a run is, as flat words that every tracker takes."""
    request = plan.request
    flat: dict[str, Any] = {
        "method": plan.method_class.name,
        "variant": request.variant,
        "dataset": plan.dataset.name,
        "setting": plan.setting,
        "seed": request.seed,
        "command": request.command(plan.verb),
        **under("options", plan.options.model_dump(mode="json")),
        **(under("recipe", plan.recipe.model_dump(mode="json")) if plan.trains else {}),
    }
    return {name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in flat.items()}


def under(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{group}/{name}": value for name, value in values.items()}


def in_a_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].removesuffix(".")
