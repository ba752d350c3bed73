"""Runs that are cut short anywhere: what is resumed is the same run, goes on, and says true things."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toys import Squares

from zsbench import registry
from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.method import Method, Options, Prediction
from zsbench.result import Result
from zsbench.runs import execution
from zsbench.runs.claim import claim
from zsbench.runs.execution import execute
from zsbench.runs.folder import CHECKPOINT, CURVES, GALLERY, IDENTITY, RECORDS, RESULT, leftovers
from zsbench.runs.plan import make_plan
from zsbench.runs.request import Request
from zsbench.training import feed
from zsbench.utils.files import unwritable
from zsbench.utils.interruption import Interrupted


class Killed(BaseException):
    pass


class Colours(Method):
    """Learns a linear map from pixel to text embedding; counts the images of a name with an even number."""

    name, trainable, Options = "colours", True, Options
    events: dict[str, object] = {}
    """What happens when an image of that id is predicted, or a step of that number learnt."""

    def __init__(self, clip, options):
        super().__init__(clip, options)
        self.map = nn.Conv2d(3, clip.dim, 1)
        self.steps = 0

    def predict(self, images):
        return torch.einsum("bdhw,cd->bchw", self.map(images), self.vocabulary.embeddings)

    def predict_batch(self, batch):
        for image_id in batch.ids:
            self.events.get(image_id, lambda: None)()
        evens = [float(int(image_id[-1]) % 2 == 0) for image_id in batch.ids]
        return Prediction(self.predict(batch.images), lambda: {"even": evens})

    def losses(self, images, labels):
        if self.training:
            self.steps += 1
            self.events.get(self.steps, lambda: None)()
        return {"ce": F.cross_entropy(self.predict(images), labels, ignore_index=IGNORE)}


class Free(Colours):
    name, trainable = "free", False


@pytest.fixture
def run(tmp_path, tiny_clip_config, monkeypatch):
    """Carry out a request in a folder of its own; `events`: see `Colours`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load_method_class", {"colours": Colours, "free": Free}.__getitem__)
    monkeypatch.setattr(registry, "load_options", lambda name: Options)
    monkeypatch.setattr(registry, "load_dataset_class", lambda name: Squares)
    monkeypatch.setattr(execution, "evaluation_seconds", lambda *_: 0.0)
    monkeypatch.setattr(execution, "training_seconds", lambda *_: 0.0)

    def carry_out(verb="run", events=None, **given):
        Colours.events = events or {}
        common = {"method": "colours", "dataset": "squares", "clip": tiny_clip_config, "weights": "random"}
        common |= {"eval_batch": 1} if verb != "train" else {}
        return execute(make_plan(verb, Request.of(verb, {**common, **given})), profile=False)

    return carry_out


def kill():
    raise Killed


def whole(folder):
    """Whether a run has left all, and nothing too much."""
    left = {path.name for path in folder.iterdir()}
    return left == {CHECKPOINT, GALLERY, RECORDS, RESULT, CURVES, "run.log", "train.jsonl"}


def test_a_folder_in_use_is_left_alone(run, tmp_path):
    out = run().out
    shutil.rmtree(out)
    out.mkdir()
    other = claim(out)
    assert run().out.name == f"{out.name}-2" and [path.name for path in out.iterdir()] == ["run.lock"]
    with pytest.raises(UserError, match=f"{out.name} is in use: process {os.getpid()} "):
        run(out=out)
    other.release()
    assert run(out=out).out == out and whole(out)


@pytest.mark.parametrize("asked", [False, True])
def test_float32_is_float32_where_tf32_is_not_asked_for(run, asked):
    """In training and in evaluation; torch by itself convolves in TF32 on CUDA."""
    matmul, cudnn, found = torch.backends.cuda.matmul, torch.backends.cudnn, []
    before = matmul.allow_tf32, cudnn.allow_tf32

    def look():
        found.append((matmul.allow_tf32, cudnn.allow_tf32))

    flags = run(events={1: look, "val0": look}, tf32=asked).result.environment.flags
    assert {*found} == {(asked, asked)} and len(found) > 1 and flags["matmul_tf32"] == flags["cudnn_tf32"] == asked
    assert (matmul.allow_tf32, cudnn.allow_tf32) == before


def test_a_run_that_fails_lets_go_of_its_folder(run, tmp_path):
    with pytest.raises(Killed):
        run(out=tmp_path / "a", events={"val3": kill})
    claim(tmp_path / "a").release()


@pytest.mark.parametrize("moment", [2, "val3", "tidy"])
def test_a_run_cut_short_goes_on_wherever_it_was(run, tmp_path, monkeypatch, moment):
    reference = run(out=tmp_path / "whole").result
    with pytest.raises(Killed), monkeypatch.context() as patch:
        patch.setattr(execution, "tidy", lambda folder: kill()) if moment == "tidy" else None
        run(out=tmp_path / "cut", events={moment: kill})
    done = run(out=tmp_path / "cut", resume=True)
    assert done.result.records_sha256 == reference.records_sha256 and whole(tmp_path / "cut")
    assert done.result.method.checkpoint_sha256 == reference.method.checkpoint_sha256
    assert done.result.statistics == reference.statistics == {"even": 0.5}
    assert Result.load(tmp_path / "cut" / RESULT) == done.result


def test_seconds_are_those_of_all_sittings(run, tmp_path, monkeypatch):
    clock = iter(range(0, 10**6, 5))
    monkeypatch.setattr("zsbench.evaluation.watch.time.perf_counter", lambda: float(next(clock)))
    out = tmp_path / "cut"
    with pytest.raises(Killed):
        run(out=out, events={"val5": kill})
    first = execution.read_journals(out, fingerprint_in(out))[1]
    assert len(first) == 5
    done = run(out=out, resume=True).result
    assert done.timing.model >= 8 * 5  # eight images, each of five seconds by this clock
    assert done.training.seconds > 0


def fingerprint_in(out):
    return execution.fingerprint(json.loads((out / IDENTITY).read_text())["identity"])


@pytest.mark.parametrize("full", [True, False])
def test_a_gallery_that_fails_costs_no_result_and_is_drawn_later(run, tmp_path, monkeypatch, full):
    """A full disk is told, and ends the run all the same."""

    def fail(path, *_):
        if full:
            raise unwritable(path, "the disk is full")
        raise ValueError("no such colour")

    out = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(execution, "draw_gallery", fail)
        told = pytest.raises(UserError, match=r"the disk is full.* The result is there; only gallery\.png is not")
        with told if full else nullcontext():
            run(out=out)
    first = Result.load(out / "result.json")
    assert not (out / GALLERY).exists() and full == bool(leftovers(out))
    assert run(out=out, resume=True).result == first and whole(out)


def test_what_is_finished_is_there_at_once(run, tmp_path, monkeypatch):
    first, trained = run(), run("train", out=tmp_path / "t")
    monkeypatch.setattr(execution, "Run", lambda *_: pytest.fail("nothing is left to do"))
    assert run(resume=True) == first
    assert run("train", out=tmp_path / "t", resume=True) == trained
    for verb, out in (("run", first.out), ("train", trained.out)):
        with pytest.raises(UserError, match="holds what another command left, with another seed"):
            run(verb, out=out, seed=1, resume=True)


def test_a_finished_training_is_evaluated_by_any_number_of_processes(run, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        run(out=tmp_path / "cut", events={"val3": kill})
    refusal = lambda *_: pytest.fail("three processes cannot share a batch of two")  # noqa: E731
    monkeypatch.setattr(feed.Feed, "__init__", refusal)
    assert run(out=tmp_path / "cut", resume=True).result.records_sha256 == run_whole(run, tmp_path, monkeypatch)


def run_whole(run, tmp_path, monkeypatch):
    monkeypatch.undo()
    return Result.load(tmp_path / "cut" / RESULT).records_sha256


def test_a_moved_file_resumes_and_a_changed_one_is_named(run, tmp_path):
    checkpoints = [run("train", out=tmp_path / f"t{seed}", seed=seed).out / CHECKPOINT for seed in (0, 1)]
    rng = np.random.default_rng(0)
    for name in "ab":
        words = rng.normal(size=(4, 16))
        np.save(tmp_path / f"{name}.npy", words / np.linalg.norm(words, axis=1, keepdims=True))
    given = {"checkpoint": checkpoints[0], "out": tmp_path / "cut", "text_embeddings": tmp_path / "a.npy"}
    given["transfer"] = True
    with pytest.raises(Killed):
        run("eval", events={"val3": kill}, **given)
    given["resume"] = True
    with pytest.raises(UserError, match=r"checkpoint was checkpoint\.safetensors \(sha256 .*\) and is check.*\(sha256"):
        run("eval", **{**given, "checkpoint": checkpoints[1]})
    with pytest.raises(UserError, match=r"text embeddings was a\.npy \(sha256 .*\) and is b\.npy"):
        run("eval", **{**given, "text_embeddings": tmp_path / "b.npy"})
    with pytest.raises(UserError, match="seed was 0 and is 3"):
        run("eval", seed=3, **given)
    moved = checkpoints[0].rename(tmp_path / "moved.safetensors")
    assert run("eval", **{**given, "checkpoint": moved}).result.dataset.images == 8


def test_other_software_is_said_and_goes_on(run, tmp_path):
    out = tmp_path / "cut"
    with pytest.raises(Killed):
        run(out=out, events={"val3": kill})
    stored = json.loads((out / IDENTITY).read_text())
    stored["surroundings"] |= {"torch": "1.0", "threads": "99"}
    (out / IDENTITY).write_text(json.dumps(stored))
    run(out=out, resume=True)
    assert f"torch was 1.0 and is {torch.__version__}; threads was 99 and is" in (out / "run.log").read_text()


@pytest.fixture
def heeded():
    """A function: a signal does what it usually does. `nohup`, and a script's `&`, leave some ignored."""
    before = {}

    def heed(number):
        before[number] = signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )

    yield heed
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_training_that_is_told_to_end_has_kept_its_last_step(run, tmp_path, number, heeded):
    heeded(number)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, number)]
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Interrupted):
        run("train", out=tmp_path / "cut", events={3: lambda: os.kill(os.getpid(), number)})
    assert [signal.getsignal(each) for each in (signal.SIGINT, number)] == handlers
    lines = (tmp_path / "cut" / "train.jsonl").read_text().splitlines()
    assert len(lines) == 3
    run("train", out=tmp_path / "cut", resume=True, events={1: lambda: None, 2: kill})  # one step was left
    run("train", out=tmp_path / "whole")
    assert (tmp_path / "cut" / CHECKPOINT).read_bytes() == (tmp_path / "whole" / CHECKPOINT).read_bytes()


def test_no_unseen_name_is_told_before_an_inductive_method_has_learnt(run, tmp_path, monkeypatch):
    """Not even to find out how long its evaluation will take: it may keep what it is told."""
    told = []
    monkeypatch.setattr(
        Colours, "set_vocabulary", lambda self, words: told.append(words) or Method.set_vocabulary(self, words)
    )
    run("run", out=tmp_path / "out", events={1: lambda: told.append(None)})
    before = told[: told.index(None)]
    assert before and not any("blue" in words.words for words in before)
    assert "blue" in told[-1].words


@pytest.mark.parametrize("given", [{"recipe": {"workers": 1}}, {"workers": 1}])
def test_a_killed_reader_is_one_message(run, tmp_path, monkeypatch, given):
    main = os.getpid()

    def read(self, split, image_id, original=Squares.read):
        if os.getpid() != main and image_id in ("train5", "val5"):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, split, image_id)

    monkeypatch.setattr(Squares, "read", read)
    with pytest.raises(UserError, match=r"a process that reads images was killed.*--resume goes on"):
        run(out=tmp_path / "b", **given, iterations=9)
