"""Trackers get the curves, the metrics and the gallery of a run; none of them may cost a result."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from accelerate import tracking as accelerate_tracking
from PIL import Image

import zsbench
from zsbench.errors import UserError
from zsbench.options import Options
from zsbench.recipe import Recipe
from zsbench.runs import resolve as resolving
from zsbench.runs.request import Request
from zsbench.runs.tracking import Tracking
from zsbench.utils.distributed import join


@pytest.fixture
def tracking_of(tmp_path):
    """Opens trackers in a folder as a run does; `said` is what was told of failures."""
    join(torch.device("cpu"))
    said = []

    def make(*names, folder="run", done=0, **request):
        plan = SimpleNamespace(
            request=Request.of("run", {"track": names, **request}),
            verb="run",
            method_class=SimpleNamespace(name="m"),
            dataset=SimpleNamespace(name="d"),
            setting="inductive",
            options=Options(),
            recipe=Recipe(),
            trains=True,
        )
        (tmp_path / folder).mkdir(exist_ok=True)
        made = Tracking(plan, tmp_path / folder, said.append)
        made.open(done)
        made.said = said
        return made

    return make


@pytest.fixture
def gallery(tmp_path):
    Image.new("RGB", (6, 4), (200, 100, 0)).save(tmp_path / "gallery.png")
    return tmp_path / "gallery.png"


class Standing(accelerate_tracking.GeneralTracker):
    """A tracker that keeps what accelerate's interface passes on."""

    name, requires_logging_directory = "wandb", False
    began = []

    def __init__(self, project, **settings):
        self.told, self.project, self.settings = [], project, settings
        self.began.append(self)

    @property
    def tracker(self):
        return self

    def start(self):
        self.told.append("start")

    def store_init_configuration(self, values):
        self.told.append(values)

    def log(self, values, step=None, **kwargs):
        self.told.append((values, step))

    def log_images(self, values, step=None, **kwargs):
        self.told.append(({name: [each.shape for each in images] for name, images in values.items()}, step))

    def finish(self):
        self.told.append("finish")


@pytest.fixture
def standing(monkeypatch):
    Standing.began = []
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "wandb", Standing)


def test_what_a_tracker_is_told_and_in_which_order(tracking_of, standing, gallery, make_result):
    tracking = tracking_of("wandb", seed=3)
    tracking.log("train", {"loss": 2.0, "ce": float("nan")}, 1)
    tracking.log("validation", {"mIoU_S": 40.0}, 2)
    tracking.conclude(make_result(), gallery, 2)
    tracking.close()
    (tracker,) = Standing.began
    started, configured, train, validation, metrics, pictures, finished = tracker.told
    assert (started, finished) == ("start", "finish") and tracker.project == "zsbench"
    assert configured["seed"] == 3 and configured["recipe/learning_rate"] == 2e-4 and configured["method"] == "m"
    assert all(isinstance(value, str | int | float | bool) for value in configured.values())
    assert train == ({"train/loss": 2.0}, 1) and validation == ({"validation/mIoU_S": 40.0}, 2)
    assert metrics[0]["test/hIoU"] == make_result().metrics["hIoU"].value and metrics[1] == 2
    assert pictures == ({"gallery": [(4, 6, 3)]}, 2)


def test_a_tracker_that_takes_no_images_of_accelerate_gets_its_own_kind(
    tracking_of, standing, gallery, make_result, monkeypatch
):
    class Trackio(Standing):
        name = "trackio"
        log_images = property()  # accelerate's has none

    pictures = SimpleNamespace(Image=lambda path: f"picture {path}")
    monkeypatch.setitem(sys.modules, "trackio", pictures)
    monkeypatch.setitem(accelerate_tracking.LOGGER_TYPE_TO_CLASS, "trackio", Trackio)
    tracking = tracking_of("trackio")
    tracking.conclude(make_result(), gallery, 7)
    (tracker,) = Standing.began
    assert tracker.settings == {"name": "run", "resume": "never"} and not tracking.said
    assert tracker.told[-1] == ({"gallery": f"picture {gallery}"}, 7)


def test_a_resumed_run_is_the_same_run_to_its_tracker(tracking_of, standing):
    for done in (0, 5):
        tracking_of("wandb", done=done).close()
    first, second = Standing.began
    assert first.settings == second.settings and first.settings["resume"] == "allow"
    assert first.settings["name"] == "run" and len(first.told) == 3 and len(second.told) == 2
    tracking_of("wandb", folder="other").close()
    assert Standing.began[2].settings["id"] != first.settings["id"]


def test_a_tracker_that_fails_costs_nothing_and_hears_no_more(tracking_of, standing, monkeypatch):
    def fail(self, values, step=None):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(Standing, "log", fail)
    tracking = tracking_of("wandb")
    for step in range(2):
        tracking.log("train", {"loss": 1.0}, step)
    tracking.close()
    assert tracking.said == ["--track wandb failed, the run goes on without it: no route to host"]


def test_one_that_does_not_begin_is_told_before_anything_runs(tracking_of, standing, monkeypatch):
    def fail(self):
        raise PermissionError("api_key not configured")

    monkeypatch.setattr(Standing, "start", fail)
    with pytest.raises(UserError, match=r"--track wandb: it does not begin: api_key not configured\. Put that right"):
        tracking_of("wandb")


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio", "mlflow"])
def test_a_missing_one_is_named_with_its_extra(name, monkeypatch):
    monkeypatch.setattr(resolving, "find_spec", lambda module: None)
    with pytest.raises(UserError, match=rf"--track {name}: {name} is not installed: pip install 'zsbench\[{name}\]'"):
        zsbench.run("zegclip", "miniworld", track=name)


def test_an_unknown_one_is_named():
    with pytest.raises(UserError, match=r"wandbb.*Did you mean 'wandb'"):
        zsbench.run("zegclip", "miniworld", track="wandbb")


def events(folder):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return module.EventAccumulator(str(folder), {module.IMAGES: 0, module.SCALARS: 0}).Reload()


def test_tensorboard_has_all_of_a_run(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    recipe = {"validate_every": 2, "patience": 3}
    result = zsbench.run(limit=5, iterations=3, recipe=recipe, track="tensorboard", out="a", device="cpu")
    found = events(tmp_path / "a" / "tensorboard")
    logged = [json.loads(line) for line in (tmp_path / "a" / "train.jsonl").read_text().splitlines()]
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2, 3]
    assert [event.value for event in found.Scalars("train/lr")] == pytest.approx([line["lr"] for line in logged])
    history = result.training.validation.history
    assert {event.step: event.value for event in found.Scalars("validation/mIoU_S")} == pytest.approx(history)
    assert found.Scalars("test/mIoU")[0].value == pytest.approx(result.metrics["mIoU"].value)
    with Image.open(tmp_path / "a" / "gallery.png") as picture:
        assert (found.Images("gallery")[0].width, found.Images("gallery")[0].height) == picture.size


def test_tensorboard_forgets_the_steps_that_are_done_again(tracking_of, tmp_path):
    for done, loss in ((0, 5.0), (2, 1.0)):
        tracking = tracking_of("tensorboard", done=done)
        for step in range(done + 1, 5):
            tracking.log("train", {"loss": loss}, step)
        tracking.close()
    curve = events(tmp_path / "run" / "tensorboard").Scalars("train/loss")
    assert [(event.step, event.value) for event in curve if event.step > 2] == [(3, 1.0), (4, 1.0)]


def test_mlflow_has_them_in_a_store_of_files_and_a_resumed_run_is_one(
    tracking_of, gallery, make_result, tmp_path, monkeypatch
):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    for done in (0, 1):
        tracking = tracking_of("mlflow", done=done)
        tracking.log("train", {"loss": 2.0 - done}, done + 1)
        if done:
            tracking.conclude(make_result(), gallery, 2)
        tracking.close()
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    client = mlflow.MlflowClient()
    assert [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "train/loss")] == [
        (1, 2.0),
        (2, 1.0),
    ]
    assert run.data.params["method"] == "m" and run.data.metrics["test/hIoU"] == make_result().metrics["hIoU"].value
    assert [each.path for each in client.list_artifacts(run.info.run_id)] == ["gallery.png"]
    assert not tracking.said


def test_trackio_has_them_in_its_store_and_only_a_resumed_run_is_the_same(
    tracking_of, gallery, make_result, tmp_path, monkeypatch
):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))  # read when trackio is imported
    trackio = pytest.importorskip("trackio")
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    for done in (0, 1, 0):
        tracking = tracking_of("trackio", done=done)
        tracking.log("train", {"loss": 2.0 - done}, done + 1)
        if done:
            tracking.conclude(make_result(), gallery, 2)
        tracking.close()
        assert not tracking.said
    logs = {run.id: storage.get_logs("zsbench", run.name, run_id=run.id) for run in trackio.Api().runs("zsbench")}
    first, second = sorted(logs.values(), key=len, reverse=True)
    losses = [[(each["step"], each["train/loss"]) for each in log if "train/loss" in each] for log in (first, second)]
    assert losses == [[(1, 2.0), (2, 1.0)], [(1, 2.0)]]
    assert [each["test/hIoU"] for each in first if "test/hIoU" in each] == [make_result().metrics["hIoU"].value]
    (picture,) = (each["gallery"] for each in first if "gallery" in each)
    with Image.open(storage.get_project_db_path("zsbench").parent / "media" / picture["file_path"]) as kept:
        assert kept.size == (6, 4)


@pytest.mark.slow
def test_wandb_has_them_offline(tracking_of, gallery, make_result, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking = tracking_of("wandb")
    tracking.log("train", {"loss": 2.0}, 1)
    tracking.conclude(make_result(), gallery, 2)
    assert dict(tracking.trackers[0].run.summary)["train/loss"] == 2.0
    tracking.close()
    assert not tracking.said
    assert list((tmp_path / "run" / "wandb").rglob("*.wandb")) and list(
        (tmp_path / "run" / "wandb").rglob("gallery_*.png")
    )
