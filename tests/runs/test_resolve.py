"""What words mean, and that none of them is looked up with torch: a misspelt one is answered at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zsbench.clip.templates import TEMPLATES
from zsbench.dataset import Defaults
from zsbench.errors import UserError
from zsbench.options import Options
from zsbench.recipe import Recipe
from zsbench.runs.request import Request
from zsbench.runs.resolve import Resolved, merge, resolve_clip

ROOT = Path(__file__).resolve().parents[2]

PACKAGE = {
    "toy_pack/__init__.py": "",
    "toy_pack/options.py": """
from typing import Literal
from pydantic import Field
from zsbench.options import Ablation, Options, Preset

class ToyOptions(Options):
    kind: Literal["plain", "fancy"] = "plain"
    depth: int = Field(1, ge=1)
    variants = {"deep": {"depth": 5}}
    presets = {"*": Preset(recipe={"iterations": 7})}
    tables = {2: (Ablation("deep", "Deep"),)}
""",
    "toy_pack/method.py": """
import torch
from zsbench.method import Method
from zsbench.registry import register_method
from .options import ToyOptions

@register_method("toy")
class Toy(Method):
    Options = ToyOptions

@register_method("apt")
class Apt(Method):
    Options = ToyOptions
    trainable = True
    settings = ("inductive", "supervised")

@register_method("mover")
class Mover(Apt):
    Options = ToyOptions
    reads = ("momentum",)
    def optimisers(self, phase):
        return {"main": torch.optim.SGD(self.parameters(), 1.0, momentum=phase.recipe.momentum)}

@register_method("wordy")
class Wordy(Method):
    Options = ToyOptions
    needs_clip = False
""",
    "toy_pack-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy-pack\nVersion: 1.0\n",
    "toy_pack-1.0.dist-info/entry_points.txt": "[zsbench.methods]\n"
    "toy = toy_pack.method:Toy\napt = toy_pack.method:Apt\nwordy = toy_pack.method:Wordy\n"
    "mover = toy_pack.method:Mover\n",
}
MISSPELT = {
    "run --method toi": "Did you mean 'toy'",
    "run --method toy --dataset miniwrld": "Did you mean 'miniworld'",
    "run --method toy --variant dep": "Did you mean 'deep'",
    "run --method toy --setting inductve": "Did you mean 'inductive'",
    "run --method toy -o dept=1": "Did you mean 'depth'",
    "run --method toy -o depth=0": "option of toy: depth='0'",
    "run --method toy -o kind=fancier": "Did you mean 'fancy'",
    "train --method toy -r iteration=1": "Did you mean 'iterations'",
    "train --method toy -r iterations=x": "recipe entry: iterations='x'",
    "run --method toy -o crop=9": "Did you mean -r crop=?",
    "run --method toy -o lr=9": "Did you mean -r learning_rate=?",
    "train --method apt -r depth=2": "Did you mean -o depth=?",
    "run --method toy -r crop=9": "toy is training-free, so that this can do nothing",
    "run --method toy --iterations 4 -r iterations=3": "--iterations and -r iterations say it twice",
    "run --method apt -r momentum=0.5": "momentum is of optimiser sgd, and this training has adamw",
    "run --method apt -r schedule=constant -r poly_power=1": "poly_power is of schedule poly, and this training",
    "run --method mover -r momentum=0.5 -r decay_from=3": "-r decay_from=3: decay_from is of schedule step",
    "train --method apt -r warmup_iterations=0 -r warmup_ratio=0.1": "warmup_ratio is of the warm-up",
    "train --method apt -r self_training_from=0.1": "is of the transductive setting, and this training is inductive",
    "train --method apt -r evaluated=last": "`zsbench train` evaluates no weights",
    "run --method apt --setting transductive": "apt cannot run in the transductive setting; it has inductive, supervised",
    "run --method toy --setting inductive": "toy cannot run in the inductive setting; it has training-free",
    "train --method toy": "toy is training-free: use `zsbench eval`",
    "eval --method apt": "apt is a trained method: give its weights with --checkpoint",
    "run --method toy --transfer": "--transfer uses a checkpoint with other classes, and there is none",
    "run --method apt --words toy.toml": "--words: apt reads class names by the text encoder of its CLIP",
    "eval --method wordy --templates single": "--templates: wordy needs no CLIP; give it word vectors by --words",
    "run --method toy --batchsize 3": "Did you mean --batch-size?",
    "profile --method toy --recipe crop=3": "It is an option of `zsbench run`, `zsbench train`.",
    "profile --method toy --batchsize 3": "Did you mean --largest-batch?",
    "profile --method toy --lr 3": "learning_rate is of training: -r learning_rate=...",
    "eval --method toy --epochs 3": "iterations is of training: -r iterations=...",
    "run --method toy --lr 3": "Did you mean -r learning_rate=...?",
    "eval --method toy --clip vit-b-16 --weights openai": "Did you mean 'ViT-B-16'",
    "evl": "Did you mean 'eval'?",
    "info toi": "Did you mean 'toy'",
    "eval --method toy --classes plane": "Did you mean 'plain'",
    "eval --method toy --templates singel": "Did you mean 'single'",
    "eval --method toy --checkpoint absent": "checkpoint absent does not exist",
    "eval --method toy --limit -3": "--limit",
    "eval --method toy --dtype float61": "Did you mean 'float16'",
    "eval --method toy --device gpu": "give cpu, cuda or cuda:N",
    "profile --method toy --size 12": "expected HEIGHTxWIDTH",
    "profile --method toy,toi": "Did you mean 'toy'",
    "ablate toy --table 3": "no ablation table 3; it has: 2",
    "predict absent.jpg --classes a --method toy": "image absent.jpg does not exist",
    "predict image.jpg --classes a --method toi": "Did you mean 'toy'",
    "predict image.jpg --classes a --method toy --save labels --alpha 0.9": "--alpha is of overlays",
    "predict image.jpg --classes a,a --method toy": "each of them once",
    "sweep toy.toml": "toy.toml: unknown option of toy: 'dept'. Did you mean 'depth'",
    "list method": "expected methods, datasets or suites",
    "data info miniwrld": "Did you mean 'miniworld'",
}
PROBE = """
import json, sys
from typer.testing import CliRunner
import zsbench
from zsbench.cli.app import app
assert not {"torch", "numpy"} <= set(sys.modules)
for words, expected in json.loads(sys.stdin.read()).items():
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 2 and expected in " ".join(done.output.split()), (words, done.output, done.exception)
for call in (zsbench.run, zsbench.train, zsbench.evaluate, zsbench.profile, zsbench.load_method):
    try:
        call("toy", option={"depth": 2})
    except zsbench.UserError as error:
        assert "Did you mean 'options'" in str(error)
for name, meant in (("lr", "learning_rate is of training"), ("recipe", "It is an option of `zsbench run`")):
    try:
        zsbench.profile("toy", **{name: 2})
    except zsbench.UserError as error:
        assert meant in str(error)
for words in ("list", "data info miniworld", "--version", "run --help"):
    assert CliRunner().invoke(app, words.split()).exit_code == 0
assert "torch" not in sys.modules and "open_clip" not in sys.modules
"""


def test_no_mistake_imports_torch(tmp_path):
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "image.jpg").touch()
    (tmp_path / "toy.toml").write_text("[[grid]]\nmethod = 'toy'\noptions.dept = [1, 2]\n")
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps(MISSPELT),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_another_clip_needs_its_own_weights():
    with pytest.raises(UserError, match="needs --weights"):
        resolve_clip("ViT-L-14", None, Defaults())
    assert resolve_clip(None, "random", Defaults()) == ("ViT-B-16-quickgelu", "random")


def test_merge_reads_none_and_lists_and_takes_values_as_they_are():
    merged = merge(Recipe, {"gradient_clip": "none", "betas": "0.5,0.6"}, {"crop": 9, "scale": (1, 2)}, what="x")
    assert (merged.gradient_clip, merged.betas, merged.crop, merged.scale) == (None, (0.5, 0.6), 9, (1.0, 2.0))
    assert merge(Texts, {"plain": "a {}, seen", "perhaps": "none"}, what="x") == Texts(plain="a {}, seen")


class Texts(Options):
    plain: str
    perhaps: str | None = None


@pytest.mark.parametrize("templates", [*TEMPLATES, "a {}"])
def test_templates_are_a_set_or_a_template(squares, templates):
    resolved = Resolved(Request(templates=templates), squares, Options, None)
    assert resolved.texts(None)[1] == templates
