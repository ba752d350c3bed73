"""The command line as a user meets it: what each command leaves behind, and one clear message for each mistake."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import HALVES_SOURCE
from typer.testing import CliRunner

from zsbench import Result
from zsbench.cli.app import app
from zsbench.cli.runs import own_names
from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.reports.published import COLUMNS

PLUGIN = '''
"""Coloured halves, and a method that learns a colour for each class."""

import os
import time

import numpy as np
import torch
from torch import nn

from zsbench.dataset import IGNORE, Dataset, Defaults, EvalProtocol, Sample
from zsbench.method import Method
from zsbench.options import Ablation, Options
from zsbench.registry import register_dataset, register_method


# HALVES


class ColoursOptions(Options):
    broken: bool = False
    variants = {"whole": {}, "broken": {"broken": True}}
    tables = {7: (Ablation("whole", "All of it"), Ablation("broken", "Less"))}


@register_method("colours")
class Colours(Method):
    """Learns a linear map from pixel to text embedding."""

    Options = ColoursOptions
    trainable = True

    def __init__(self, clip, options):
        super().__init__(clip, options)
        if options.broken and not os.path.exists("mended"):
            raise RuntimeError("broken on purpose")
        self.map = nn.Conv2d(3, clip.dim, 1)

    def predict(self, images):
        time.sleep(float(os.environ.get("SLOW", "0")))
        return torch.einsum("bdhw,cd->bchw", self.map(images), self.vocabulary.embeddings)

    def losses(self, images, labels):
        return {"ce": nn.functional.cross_entropy(self.predict(images), labels, ignore_index=IGNORE)}


@register_method("huge")
class Huge(Method):
    """Asks for more memory than there is."""

    def predict(self, images):
        return torch.empty(1 << 50)


@register_method("far")
class Far(Method):
    """Needs a package that nobody has."""

    def predict(self, images):
        import no_such_package_anywhere
'''.replace("# HALVES", HALVES_SOURCE)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "plugin.py"
    path.write_text(PLUGIN)
    return path


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code and what a user read."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def zsbench(tmp_path, plugin, tiny_clip_config, monkeypatch):
    """Run a command in a folder of its own, in this process."""
    monkeypatch.setenv("TINY_CLIP", tiny_clip_config)
    monkeypatch.chdir(tmp_path)

    def call(*words):
        command = [str(word) for word in words]
        if words[0] not in ("leaderboard", "compare", "sweep") and words[1:2] != ("import",):
            command += ["--plugin", str(plugin)]
        done = CliRunner().invoke(app, command)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Finished(done.exit_code, done.stdout, done.stderr)

    return call


@pytest.fixture
def process(tmp_path, plugin, monkeypatch):
    """Start a command in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def start(*words, **environment):
        command = [sys.executable, "-m", "zsbench", *map(str, words), "--plugin", str(plugin)]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
            # a test run in the background ignores Ctrl-C, and what it starts would inherit that
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return start


HALVES = ("--method", "colours", "--dataset", "halves")


def message(finished, code=2):
    """What a user reads on stderr, as one line; a traceback is never part of it."""
    assert finished.returncode == code, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    return " ".join(finished.stderr.split())


def test_list_names_everything(zsbench):
    found = {entry["name"]: entry for entry in json.loads(zsbench("list", "--json").stdout)}
    assert {"zegclip", "maskclip", "miniworld", "pascal-voc", "halves", "colours"} <= set(found)
    assert found["halves"]["source"].startswith("file")
    assert found["zegclip"] == {**found["zegclip"], "kind": "method", "source": "built-in", "installed": True}


def test_run_leaves_everything_it_promises(zsbench, tmp_path):
    finished = zsbench("run", *HALVES)
    assert finished.returncode == 0, finished.stderr
    out = tmp_path / "runs" / "colours-halves-seed0"
    assert {path.name for path in out.iterdir()} == {
        "result.json",
        "records.npz",
        "checkpoint.safetensors",
        "run.log",
        "train.jsonl",
        "training.png",
        "gallery.png",
    }
    result = Result.load(out / "result.json")
    assert result.metrics["mIoU_S"].value > 30 and result.metrics["hIoU"].stderr >= 0
    assert result.dataset.images == 24 and result.dataset.complete
    assert result.method.weights.random and result.training.dataset == "halves"
    assert Records.load(out / "records.npz").sha256() == result.records_sha256
    assert "hIoU" in finished.stdout and "random weights" in finished.stdout
    with Image.open(out / "gallery.png") as picture:
        assert picture.width > 800


def test_training_then_evaluating_equals_running(zsbench, tmp_path):
    for words in (("run", "--out", "a"), ("train", "--out", "b")):
        assert zsbench(*words, *HALVES, "-r", "learning_rate=0.2", "--seed", "3").returncode == 0
    checkpoint = ("--checkpoint", "b/checkpoint.safetensors", "--out", "c")
    finished = zsbench("eval", *HALVES, *checkpoint)
    assert finished.returncode == 0, finished.stderr
    a, c = (Result.load(tmp_path / name / "result.json") for name in "ac")
    assert a.records_sha256 == c.records_sha256
    assert a.method.checkpoint_sha256 == c.method.checkpoint_sha256
    assert a.training.recipe == c.training.recipe and a.seed == c.seed == 3
    assert c.training.command.startswith("zsbench train") and "-r learning_rate=0.2" in c.training.command


def test_a_stopped_evaluation_resumes_to_the_same_bits(zsbench, process, tmp_path):
    """Killed, gone on with, interrupted, and gone on with to its end."""
    assert zsbench("train", *HALVES, "--out", "t").returncode == 0
    words = ["eval", *HALVES, "--checkpoint", "t/checkpoint.safetensors", "--eval-batch", "1", "--curve"]
    assert zsbench(*words, "--out", "whole").returncode == 0
    journal = tmp_path / "cut" / "records.journal"
    for end, more in ((signal.SIGKILL, ()), (signal.SIGINT, ("--resume",))):
        started, size = process(*words, "--out", "cut", *more, SLOW="0.1"), journal.stat().st_size if more else 300
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not journal.exists() or journal.stat().st_size < size + 300):
            time.sleep(0.02)
        started.send_signal(end)
        stderr = started.communicate(timeout=60)[1]
        assert not (tmp_path / "cut" / "result.json").exists()
    assert started.returncode == 2 and "Traceback" not in stderr
    assert "to go on: zsbench eval" in " ".join(stderr.split())
    assert "Go on with --resume" in message(zsbench(*words, "--out", "cut"))
    assert "curve was True and is False" in message(zsbench(*words[:-1], "--out", "cut", "--resume"))
    finished = zsbench(*words, "--out", "cut", "--resume")
    assert finished.returncode == 0, finished.stderr
    whole, cut = (Result.load(tmp_path / name / "result.json") for name in ("whole", "cut"))
    assert whole.metrics == cut.metrics and whole.records_sha256 == cut.records_sha256
    assert whole.curve == cut.curve and "best_gamma" in whole.model_dump()["curve"]
    assert "seen-unseen curve" in finished.stdout and "an oracle" in finished.stdout


def test_a_finished_result_is_never_overwritten(zsbench, tmp_path):
    for number in range(2):
        assert zsbench("run", *HALVES).returncode == 0, number
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"colours-halves-seed0", "colours-halves-seed0-2"}
    assert "already holds a result" in message(zsbench("run", *HALVES, "--out", "runs/colours-halves-seed0"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "--method", "zegclp"), "Did you mean 'zegclip'"),
        (("run", "--method", "a[two-stage]"), "a[two-stage]"),  # brackets are no markup
        (("run", "--dataset", "miniwrld"), "Did you mean 'miniworld'"),
        (("run", "-o", "prompt=3"), "Did you mean 'prompts'"),
        (("run", "-o", "prompts"), "expected key=value"),
        (("run", *HALVES, "--out", "/proc/none"), "cannot write /proc/none: "),
        (("eval", "--method", "huge", "--dataset", "halves"), "out of memory. Reduce"),
        (("eval", *HALVES, "--checkpoint", "absent"), "absent does not exist"),
        (("run", "--dataset", "pascal-voc", "--data-root", "."), "JPEGImages"),
        (("list", "method"), "expected methods, datasets or suites"),
        (("predict", "absent.jpg", "--classes", "red", "--dataset", "halves"), "absent.jpg does not exist"),
        (("predict", "red.png", "--classes", "red, red", "--dataset", "halves"), "red"),
        (
            ("predict", "red.png", "red.jpg", "--classes", "red", "--dataset", "halves"),
            "red.png and red.jpg would both be",
        ),
        (
            ("run", "--dataset", "pascal-voc", "--clip", "miniworld", "--data-root", "voc"),
            "does not know the words aeroplane",
        ),
        (("profile", "--size", "12"), "expected HEIGHTxWIDTH"),
        (("leaderboard", "--add", "absent.json"), "absent.json: no such result"),
    ],
)
def test_a_mistake_is_one_message(zsbench, tmp_path, words, expected):
    for suffix in ("png", "jpg"):
        Image.fromarray(np.full((16, 16, 3), (250, 0, 0), np.uint8)).save(tmp_path / f"red.{suffix}")
    for folder, name, mode in (("JPEGImages", "a.jpg", "RGB"), ("SegmentationClass", "a.png", "P")):
        (tmp_path / "voc" / folder).mkdir(parents=True)
        Image.new(mode, (16, 16)).save(tmp_path / "voc" / folder / name)
    (tmp_path / "voc/ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        (tmp_path / f"voc/ImageSets/Segmentation/{split}.txt").write_text("a\n")
    assert expected in message(zsbench(*words))


PREDICT = ("predict", "red.png", "--classes", "red", "--method", "maskclip", "--dataset", "halves", "--device", "cpu")
PROFILE = ("profile", *HALVES, "--seconds", "0", "--largest-batch", "1")
MAPS = ("score", "--predictions", "maps", "--dataset", "halves", "--limit", "1")


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--method", "maskclip", "--dataset", "halves", "--limit", "1"),
        ("train", *HALVES, "--limit", "1"),
        ("data", "show", "halves"),
        (*PREDICT, "--out", "out"),
        (*PROFILE, "--out", "out"),
        MAPS,
        ("leaderboard", "--folder", "."),
        ("compare", "a.json", "b.json", "--out", "out/c.md"),
    ],
    ids=lambda words: words[0],
)
def test_a_full_disk_is_one_message(zsbench, tmp_path, monkeypatch, make_result, words):
    Image.fromarray(np.full((16, 16, 3), (250, 0, 0), np.uint8)).save(tmp_path / "red.png")
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "maps" / "val00.png")
    (tmp_path / "published.csv").write_text("\n".join([",".join(COLUMNS), "halves" + "," * (len(COLUMNS) - 1)]))
    monkeypatch.setattr("zsbench.reports.comparison.compare", lambda *runs, replicates: None)
    monkeypatch.setattr("zsbench.reports.comparison_text.FORMATS", {"markdown": lambda found: "text"})

    def full(*paths):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    assert re.search(r"cannot write \S+: the disk is full\. .* is kept", message(zsbench(*words)))


@pytest.mark.parametrize(
    "words",
    [
        ("sweep", "sweep.toml"),
        ("ablate", "colours", "--table", "7", "--dataset", "halves"),
        ("eval", "--method", "maskclip", "--dataset", "halves"),
        ("data", "show", "halves"),
        PREDICT,
        PROFILE,
        MAPS,
    ],
    ids=lambda words: words[0],
)
def test_a_file_in_the_place_of_a_folder_is_one_message(zsbench, tmp_path, words):
    Image.fromarray(np.full((16, 16, 3), (250, 0, 0), np.uint8)).save(tmp_path / "red.png")
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "maps" / "val00.png")
    (tmp_path / "sweep.toml").write_text('[[grid]]\nmethod = "maskclip"\ndataset = "miniworld"\n')
    (tmp_path / "taken").touch()
    told = message(zsbench(*words, "--out", "taken/out"))
    assert re.search("cannot (read or )?write .*taken.*: a (part of its path is a file|file is in the place)", told), (
        told
    )


def test_a_checkpoint_of_another_method_is_refused(zsbench):
    assert zsbench("train", *HALVES, "--out", "t").returncode == 0
    checkpoint = ("--checkpoint", "t/checkpoint.safetensors")
    for verb in ("eval", "profile"):
        wrong_method = zsbench(verb, "--method", "zegclip", "--dataset", "halves", *checkpoint)
        assert "holds weights of colours, not of zegclip" in message(wrong_method)
        wrong_classes = zsbench(verb, "--method", "colours", "--dataset", "miniworld", *checkpoint)
        assert "was trained on halves (3 classes" in message(wrong_classes)
    several = zsbench("profile", "--method", "colours,far", "--dataset", "halves", *checkpoint)
    assert "holds weights of colours, not of far" in message(several)


def test_predict_draws_an_overlay_and_a_label_map(zsbench, tmp_path):
    for name in ("red", "crimson"):
        Image.fromarray(np.full((20, 30, 3), (250, 0, 0), np.uint8)).save(tmp_path / f"{name}.png")
    words = ("--classes", "red, green", "--method", "maskclip", "--dataset", "halves", "--out", "pictures")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=turned)
    finished = zsbench("predict", "red.png", "crimson.png", "turned.jpg", *words)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("note") == 1 and "turned.jpg: EXIF orientation 6: viewers turn it" in finished.stdout
    for name in ("red", "crimson"):
        with Image.open(tmp_path / "pictures" / f"{name}-labels.png") as labels:
            assert labels.size == (30, 20) and set(np.unique(labels)) <= {0, 1}
        with Image.open(tmp_path / "pictures" / f"{name}-overlay.png") as overlay:
            assert overlay.size == (30, 20)
    assert re.search(r"found +(red|green) \d+\.\d %", finished.stdout) and not list(tmp_path.glob("pictures/*.json"))
    assert "expected labels, overlay, json. Did you mean 'json'" in message(zsbench(*PREDICT, "--save", "labels,jsn"))


def test_a_folder_is_imported_and_shown(zsbench, tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        Image.new("L", (20, 10), 1).save(tmp_path / "mine" / folder / "a.png")
    finished = zsbench("data", "import", "mine", "--out", "own.toml", "--classes", "grass, tree", "--unseen", "tree")
    assert finished.returncode == 0, finished.stderr
    assert "images and masks: 1 images (1 val)" in finished.stdout and "unseen      tree" in finished.stdout
    assert "a: 20x10, 0.0 % of the pixels ignored" in zsbench("data", "show", "own.toml").stdout
    with Image.open(tmp_path / "own-val-a.png") as picture:
        assert picture.width > 2 * 20 * 25  # both, enlarged by whole factors
    assert "own.toml is there already" in message(zsbench("data", "import", "mine", "--out", "own.toml"))


def test_own_classes_are_words_or_the_lines_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.txt").write_text("\ufeffcat\r\n\r\n sky, cloud \r\n", encoding="utf-8")
    Path("cat").touch()
    assert own_names("cat, grass,") == ["cat", "grass"] and own_names("cat") == ["cat"]
    assert own_names("own.txt") == own_names("./own.txt") == ["cat", "sky, cloud"]
    with pytest.raises(UserError, match=r"absent\.txt: no such list of class names"):
        own_names("absent.txt")


def test_several_seeds_are_runs_with_a_mean(zsbench, tmp_path):
    finished = zsbench("run", *HALVES, "--seeds", "0,1", "--out", "many")
    assert finished.returncode == 0, finished.stderr
    seeds = [Result.load(tmp_path / "many" / f"seed{n}" / "result.json").seed for n in (0, 1)]
    assert seeds == [0, 1] and "2 seeds: mean" in finished.stdout
    (tmp_path / "many" / "seed1" / "result.json").unlink()
    again = zsbench("run", *HALVES, "--seeds", "0,1,2", "--out", "many", "--resume")
    assert again.returncode == 0, again.stderr
    assert "3 seeds: mean" in again.stdout and again.stdout.count("estimated time") == 2  # the first was finished
    assert "seeds: '0;1' is no whole number from 0" in message(zsbench("run", *HALVES, "--seeds", "0;1"))


@pytest.mark.slow  # three processes; tests/runs/test_grid.py has the same in one
def test_an_ablation_survives_a_failing_cell_and_goes_on_where_it_stopped(zsbench, tmp_path):
    words = ("ablate", "colours", "--table", "7", "--dataset", "halves", "--seeds", "1")
    first = zsbench(*words)
    told = "failed: colours-broken-halves-seed0: error: method 'colours', being made: RuntimeError: broken on purpose"
    assert told in message(first, 1)
    table = (tmp_path / "runs" / "ablate-colours-table7-halves" / "table.md").read_text()
    assert [line.split("|")[1:3] for line in table.splitlines()[2:] if line.startswith("|")] == [
        [" All of it ", " 1       "],
        [" Less      ", " 0       "],
    ]
    (tmp_path / "mended").touch()
    second = zsbench(*words)
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("done before") == 1
    assert "has no ablation table 8; it has: 7" in message(zsbench(*words[:3], "8", *words[4:]))


def test_profile_prints_json(zsbench):
    cost = json.loads(zsbench("profile", *HALVES, "--seconds", "0.1", "--largest-batch", "1", "--json").stdout)
    assert cost["learnable_params"] == 3 * 16 + 16
    # A 1x1 convolution from 3 to 16 channels and 16 to 3 classes, at each of 32 x 32 pixels.
    assert cost["gmacs"] * 1e9 == 32 * 32 * (3 * 16 + 16 * 3)
    assert cost["gflops"] == 2 * cost["gmacs"]


@pytest.mark.slow  # three processes; tests/runs/test_grid.py has a failing cell in one
def test_profiles_of_several_cells_survive_a_failing_one(zsbench, tmp_path):
    words = ("profile", "--method", "colours,far", "--dataset", "halves", "--seconds", "0.1", "--largest-batch", "2")
    finished = zsbench(*words, "--out", "costs", "--json")
    told = message(finished, 1)
    assert (
        "failed: far-halves: ModuleNotFoundError: No module named 'no_such_package_anywhere' (costs/far-halves.log)"
        in told
    )
    (cost,) = json.loads(finished.stdout)
    assert cost["method"] == "colours" and cost["throughput_batch"] in (1, 2) and cost["peak_memory"] > 1e7
    assert json.loads((tmp_path / "costs" / "colours-halves" / "profile.json").read_text()) == cost
