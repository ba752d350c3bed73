"""Any number of processes leaves the records of one, bit by bit, and trains with the gradients of one.

Run by `torchrun`, this file is what one of the processes does.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import PartialState
from torch import nn
from toys import Squares

import zsbench
from zsbench.checkpoint import read_checkpoint, trainable_state_dict
from zsbench.cli import errors as cli_errors
from zsbench.dataset import IGNORE
from zsbench.errors import UserError
from zsbench.method import Losses, Method
from zsbench.recipe import Recipe
from zsbench.runs.folder import BEST, CHECKPOINT
from zsbench.settings import Phase, TrainingView
from zsbench.training import state as training
from zsbench.training.loop import Session, train
from zsbench.training.state import TrainingState
from zsbench.utils.distributed import join, leave, on_main_then_broadcast, process_index

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"limit": 7, "eval_batch": 2, "device": "cpu"}


def torchrun(processes, *words, **environment):
    """`torchrun` on the CPU; the number of threads may change the last bits of a logit, so it is the one of this process."""
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "CUDA_VISIBLE_DEVICES": ""}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*launcher, *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), **threads, **environment},
        capture_output=True,
        text=True,
    )


class Classifier(Method):
    """A 1x1 convolution, dropout, and a layer that nothing passes through; images differ in how many pixels count."""

    trainable = True

    def __init__(self, dropout=0.0):
        super().__init__(None, None)
        self.head = nn.Conv2d(3, 3, 1)
        self.idle = nn.Linear(2, 2)
        self.dropout = nn.Dropout(dropout)

    def predict(self, images):
        return self.head(images)

    def losses(self, images, labels):
        labels = labels.masked_fill(labels == 1, IGNORE)
        loss = nn.functional.cross_entropy(self.head(self.dropout(images)), labels, ignore_index=IGNORE)
        return Losses({"ce": loss}, (labels != IGNORE).sum())


class Uneven(Classifier):
    """Process 0 makes one update a step, process 1 two; their gradients are 1, and 2 and 3."""

    def optimisers(self, phase):
        return {"main": torch.optim.SGD([{"params": self.head.parameters(), "scheduled": False}], lr=0.5)}

    def train_step(self, step):
        for gradient in ((1,), (2, 3))[process_index()]:
            step.update(main=gradient * (self.head.weight.sum() + self.head.bias.sum()))
        return {}


def fit(squares, dropout=0.0, micro_batch=None, state=None, stop=None, method_class=Classifier):
    """Two phases of three steps; returns what was learnt, and of each step the gradients and the loss."""
    recipe = Recipe(**{**squares.defaults.recipe, "batch_size": 4, "micro_batch": micro_batch, "warmup_iterations": 0})
    recipe = recipe.model_copy(update={"iterations": 3})
    phases = [
        (phase, TrainingView(squares, phase)) for phase in (Phase(name, "inductive", "seen", recipe) for name in "ab")
    ]
    torch.manual_seed(0)
    method = method_class(dropout)
    steps = []

    def look(step, losses):
        assert method.idle.weight.grad is None
        steps.append([method.head.weight.grad.clone(), method.head.bias.grad.clone(), torch.tensor(losses["loss"])])
        if step == stop:
            raise InterruptedError

    accelerator = join(torch.device("cpu"))
    state = state or TrainingState()
    try:
        train(method, phases, lambda phase, view: None, Session(accelerator, 0, state=state, on_step=look))
    except InterruptedError:
        accelerator.free_memory()
    return trainable_state_dict(method), steps


def resume(squares, folder):
    """A training with dropout that is cut short after its fourth step, and its continuation."""
    training.SAVE_EVERY_SECONDS = 0.0
    fit(squares, 0.3, state=TrainingState(folder / "state.pt", ""), stop=5)
    return fit(squares, 0.3, state=TrainingState(folder / "state.pt", ""))


def refuse():
    raise UserError("said by the main process")


def one_of_many(folder):
    """What each process of the test does; the main one keeps what the test looks at."""
    squares = Squares()
    result = zsbench.evaluate("maskclip", "miniworld", out=folder / "eval", **SMALL)
    found = {f"micro {size}": fit(squares, micro_batch=size) for size in (None, 1)}
    found |= {"whole": fit(squares, 0.3), "resumed": resume(squares, folder)}
    found["uneven"] = fit(squares, method_class=Uneven)
    accelerator = join(torch.device("cpu"))
    learnt = torch.cat([tensor.flatten() for tensor in found["whole"][0].values()])
    assert accelerator.gather(learnt[None]).unique(dim=0).shape[0] == 1
    assert result.model_dump_json(indent=1) + "\n" == (folder / "eval" / "result.json").read_text()
    if accelerator.is_main_process:
        torch.save(found, folder / "found.pt")
    try:
        on_main_then_broadcast(accelerator, refuse)
    except (UserError, SystemExit) as error:
        (folder / f"refused-{accelerator.process_index}").write_text(repr(error))
    accelerator.wait_for_everyone()  # one that goes while another still talks to it aborts it
    leave()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    finished = torchrun(2, __file__, folder)
    assert finished.returncode == 0, finished.stderr
    return folder


def same_result(first, second):
    one, other = (zsbench.Result.load(folder / "result.json") for folder in (first, second))
    assert one.records_sha256 == other.records_sha256
    assert one.metrics == other.metrics and one.per_class == other.per_class
    assert (first / "records.npz").read_bytes() == (second / "records.npz").read_bytes()
    assert {path.name for path in first.iterdir()} == {path.name for path in second.iterdir()}


def test_two_processes_leave_the_result_of_one(two, tmp_path):
    zsbench.evaluate("maskclip", "miniworld", out=tmp_path / "one", **SMALL)
    same_result(tmp_path / "one", two / "eval")
    assert zsbench.Result.load(two / "eval" / "result.json").environment.processes == 2


@pytest.mark.parametrize("micro_batch", [None, 1])
def test_two_processes_train_with_the_gradients_of_one(two, squares, micro_batch):
    learnt, steps = torch.load(two / "found.pt", weights_only=True)[f"micro {micro_batch}"]
    expected, expected_steps = fit(squares)
    assert len(steps) == len(expected_steps) == 6
    for step, expected_step in zip(steps, expected_steps, strict=True):
        torch.testing.assert_close(step, expected_step, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learnt, expected, rtol=1e-4, atol=1e-5)


def test_two_processes_resume_to_the_same_weights(two):
    found = torch.load(two / "found.pt", weights_only=True)
    torch.testing.assert_close(found["resumed"][0], found["whole"][0], rtol=0, atol=0)
    assert len(found["resumed"][1]) == 2  # of six steps


def test_an_update_is_averaged_over_the_processes_that_make_it(two):
    torch.manual_seed(0)
    before = Classifier().head.weight
    learnt = torch.load(two / "found.pt", weights_only=True)["uneven"][0]["head.weight"]
    torch.testing.assert_close(learnt, before - 6 * 0.5 * ((1 + 2) / 2 + 3))


def test_a_mistake_is_told_by_the_main_process_alone(two):
    assert "said by the main process" in (two / "refused-0").read_text()
    assert (two / "refused-1").read_text() == "SystemExit(2)"


def test_a_notebook_may_ask_for_another_device():
    join(torch.device("cpu"))
    PartialState().device = torch.device("cuda")  # as after a run there
    assert join(torch.device("cpu")).device.type == "cpu"


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"])
def test_a_variable_that_is_no_number_disturbs_a_run_alone_and_is_named(monkeypatch, name):
    monkeypatch.setenv(name, "abc")
    assert process_index() == 0
    with pytest.raises(UserError, match=f"{name}='abc' in the environment: expected a number"):
        join(torch.device("cpu"))


COMMAND = """
import os
from pathlib import Path

from zsbench.cli import main

try:
    main()
except SystemExit as error:
    Path(__file__).with_name(f"exit-{os.environ['RANK']}").write_text(str(error.code))
    raise
"""


@pytest.mark.parametrize("words", [("-o", "prompt=3"), ("--limit", "few")])
def test_a_mistake_in_planning_is_told_once(tmp_path, words):
    (tmp_path / "command.py").write_text(COMMAND)
    finished = torchrun(2, tmp_path / "command.py", "run", *words)
    assert {path.read_text() for path in tmp_path.glob("exit-*")} == {"2"}, finished.stderr
    assert len(re.findall("Did you mean 'prompts'|Invalid value for '--limit'", finished.stderr)) == 1
    assert "in process 1" not in finished.stderr and "Terminated" not in finished.stderr


@pytest.mark.parametrize(
    ("name", "value", "device"),
    [
        ("MIXED_PRECISION", "bf16", "cpu"),
        ("GRADIENT_ACCUMULATION_STEPS", "4", "cpu"),
        ("DYNAMO_BACKEND", "INDUCTOR", "cpu"),
        ("USE_FSDP", "true", "cpu"),
        ("TORCH_DEVICE", "meta", "cpu"),
        ("USE_CPU", "True", "cuda"),
    ],
)
def test_what_accelerate_is_configured_for_is_refused_where_no_result_would_say_it(monkeypatch, name, value, device):
    monkeypatch.setenv(f"ACCELERATE_{name}", value)
    with pytest.raises(UserError, match=f"ACCELERATE_{name}={value}"):
        join(torch.device(device))


def test_what_accelerate_launch_always_says_is_no_mistake(monkeypatch):
    for name, value in {"MIXED_PRECISION": "no", "DYNAMO_BACKEND": "NO", "USE_CPU": "False"}.items():
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    assert join(torch.device("cpu")).num_processes == 1


def test_a_mistake_that_the_main_process_does_not_meet_is_told_by_another(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli_errors, "GRACE", 0.0)
    with pytest.raises(SystemExit) as ended, cli_errors.plain_errors():
        refuse()
    assert ended.value.code == 2 and "error in process 1: said by" in capsys.readouterr().err


MORTAL = '''
import os
import signal

from zsbench.methods.training_free.maskclip import MaskClip
from zsbench.registry import register_method


@register_method("mortal")
class Mortal(MaskClip):
    """MaskCLIP that the system kills: in process DIE, at the fifth image that it sees."""

    seen = frozenset()

    def predict_batch(self, batch):
        self.seen |= set(batch.ids)
        if len(self.seen) == 5 and os.environ.get("DIE") == os.environ["RANK"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_batch(batch)
'''


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "then"), [(0, 1), (1, 3), (2, 2)])
def test_a_killed_process_stops_the_others_and_any_number_completes_the_run(tmp_path, killed, then):
    plugin = tmp_path / "mortal.py"
    plugin.write_text(MORTAL)
    words = ("-m", "zsbench", "eval", "--method", "mortal", "--plugin", plugin, "--limit", "30", "--eval-batch", "1")
    zsbench.evaluate("maskclip", "miniworld", limit=30, eval_batch=1, device="cpu", out=tmp_path / "whole")
    cut = torchrun(3, *words, "--out", tmp_path / "cut", DIE=str(killed))
    assert cut.returncode != 0 and re.search("another process of this run has ended|told to end by SIGTERM", cut.stderr)
    journals = sorted(path.name for path in (tmp_path / "cut").glob("records.journal*"))
    assert journals == ["records.journal", "records.journal.1", "records.journal.2"]
    again = torchrun(then, *words, "--out", tmp_path / "cut")
    assert again.returncode != 0 and again.stderr.count("holds an unfinished run") == 1
    resumed = torchrun(then, *words, "--out", tmp_path / "cut", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    same_result(tmp_path / "whole", tmp_path / "cut")
    assert resumed.stdout.count("written to") == 1


@pytest.mark.slow
def test_two_processes_validate_as_one_keep_the_same_best_weights_and_lose_patience_at_the_same_step(tmp_path):
    """25 images, which two processes cannot share out evenly; the last validation is worse than the one before."""
    recipe = {"iterations": 60, "batch_size": 4, "warmup_iterations": 0, "learning_rate": 0.3}
    recipe |= {"validate_every": 5, "validate_images": 25, "patience": 1}
    zsbench.train("linear-head", recipe=recipe, device="cpu", out=tmp_path / "1")
    words = ["-m", "zsbench", "train", "--method", "linear-head", "--device", "cpu", "--out", tmp_path / "2"]
    finished = torchrun(2, *words, *(word for entry in recipe.items() for word in ("-r", "{}={}".format(*entry))))
    assert finished.returncode == 0, finished.stderr
    for name in (CHECKPOINT, BEST):
        (one, weights), (other, learnt) = (read_checkpoint(tmp_path / run / name) for run in "12")
        found, expected = other.validation, one.validation
        torch.testing.assert_close(learnt, weights, rtol=1e-3, atol=1e-4)
        assert list(found.history) == list(expected.history) and found.images == 25
        assert list(found.history.values()) == pytest.approx(list(expected.history.values()), abs=0.01)
        assert (found.best_step, found.ended_early) == (expected.best_step, expected.ended_early)
    assert expected.best_step < max(expected.history) < 60
    assert (tmp_path / "2/run.log").read_text().count("this phase ends at step") == 1


@pytest.mark.slow
def test_real_images_give_the_same_bits_in_any_number_of_processes(shared, tiny_clip_config, tmp_path):
    """150 images of PASCAL VOC 2012, in windows, with a small random model and random words."""
    words = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    np.save(tmp_path / "words.npy", words / np.linalg.norm(words, axis=1, keepdims=True))
    words = ["-m", "zsbench", "eval", "--method", "maskclip", "--dataset", "pascal-voc", "--weights", "random"]
    words += ["--clip", tiny_clip_config, "--text-embeddings", tmp_path / "words.npy"]
    words += ["--data-root", shared / "data" / "voc2012"]
    for processes in (1, 2, 3):
        finished = torchrun(processes, *words, "--out", tmp_path / str(processes))
        assert finished.returncode == 0, finished.stderr
    same_result(tmp_path / "1", tmp_path / "2")
    same_result(tmp_path / "1", tmp_path / "3")
    assert zsbench.Result.load(tmp_path / "1" / "result.json").dataset.images == 150


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="accelerate starts processes on a CPU through mpirun")
def test_accelerate_launch(tmp_path):
    zsbench.evaluate("maskclip", "miniworld", out=tmp_path / "one", **SMALL)
    (tmp_path / "hosts").write_text("localhost slots=2\n")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launcher += ["--mpirun_hostfile", tmp_path / "hosts"]
    words = ["-m", "zsbench", "eval", "--method", "maskclip", "--limit", "7", "--eval-batch", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}  # as containers do
    subprocess.run([*launcher, *words, "--out", tmp_path / "two"], env=environment, check=True)
    same_result(tmp_path / "one", tmp_path / "two")
    assert zsbench.Result.load(tmp_path / "two" / "result.json").environment.processes == 2


if __name__ == "__main__":
    one_of_many(Path(sys.argv[1]))
