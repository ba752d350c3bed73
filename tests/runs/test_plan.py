"""Plans: defaults resolved in a known order, and every mistake explained before anything runs."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from pydantic import Field

from zsbench import registry
from zsbench.checkpoint import CheckpointInfo, save_checkpoint
from zsbench.dataset import Defaults, EvalProtocol
from zsbench.errors import UserError
from zsbench.method import Method, Options, Preset
from zsbench.recipe import Recipe
from zsbench.runs.own_classes import own_request
from zsbench.runs.plan import choose_device, choose_dtype, learnt_on, make_plan
from zsbench.runs.request import Request
from zsbench.runs.resolve import Resolved, merge, resolve_clip


class ToyOptions(Options):
    depth: int = Field(1, ge=1)
    kind: str = "plain"
    limit: float | None = 0.5
    variants = {"deep": {"depth": 5, "kind": "variant"}}
    presets = {"squares": Preset({"depth": 2, "limit": 0.1}, {"iterations": 3, "learning_rate": 0.5})}

    def verify(self, ids):
        if self.kind == "unfit":
            raise UserError(f"unfit for {len(ids)} images")


class Toy(Method):
    name = "toy"
    Options = ToyOptions
    trainable = True


class Free(Method):
    name = "free"


@pytest.fixture(autouse=True)
def plugins(monkeypatch, squares):
    monkeypatch.setattr(registry, "load_method_class", {"toy": Toy, "free": Free}.__getitem__)
    monkeypatch.setattr(
        registry, "load_dataset_class", {"squares": type(squares), "miniworld": type(squares)}.__getitem__
    )


def request(verb="run", **changes):
    return Request.of(verb, {"method": "toy", "dataset": "squares", **changes})


def test_later_layers_win_defaults_preset_variant_own():
    assert make_plan("run", request()).options == ToyOptions(depth=2, limit=0.1)
    assert make_plan("run", request(variant="deep")).options == ToyOptions(depth=5, kind="variant", limit=0.1)
    own = make_plan("run", request(variant="deep", options={"depth": "7", "limit": "none"}))
    assert own.options == ToyOptions(depth=7, kind="variant", limit=None)


def test_recipe_layers_defaults_dataset_preset_own():
    recipe = make_plan("run", request(recipe={"scale": "0.5,1"}, batch_size=8)).recipe
    assert (recipe.crop, recipe.iterations, recipe.learning_rate) == (32, 3, 0.5)
    assert (recipe.scale, recipe.batch_size) == ((0.5, 1.0), 8)


def test_limit_takes_the_first_images_of_each_split():
    plan = make_plan("run", request(limit=3))
    assert plan.train_ids == ("train0", "train1", "train2") and plan.eval_ids == ("val0", "val1", "val2")


@pytest.mark.parametrize(
    ("verb", "changes", "message"),
    [
        ("run", {"options": {"dept": "3"}}, "unknown option of toy: 'dept'. Did you mean 'depth'"),
        ("run", {"options": {"depth": "0"}}, "option of toy: depth='0': Input should be greater"),
        ("run", {"recipe": {"iteration": "3"}}, "unknown recipe entry: 'iteration'. Did you mean 'iterations'"),
        (
            "run",
            {"recipe": {"momentum": "0.5"}},
            "-r momentum=0.5: momentum is of optimiser sgd, and this training has adamw",
        ),
        (
            "run",
            {"recipe": {"warmup_ratio": 0.5, "warmup_iterations": 0}},
            "warmup_ratio=0.5: warmup_ratio is of the warm-up",
        ),
        (
            "run",
            {"recipe": {"self_training_from": 0.2}},
            "is of the transductive setting, and this training is inductive",
        ),
        (
            "train",
            {"recipe": {"evaluated": "best", "validate_every": 2}},
            "-r evaluated=best: `zsbench train` evaluates no",
        ),
        ("run", {"variant": "dep"}, "no variant 'dep'; it has: deep. Did you mean 'deep'"),
        ("run", {"setting": "training-free"}, "toy cannot run in the training-free setting"),
        ("run", {"method": "free", "setting": "inductive"}, "free cannot run in the inductive setting"),
        ("eval", {}, "trained method: give its weights with --checkpoint"),
        ("train", {"method": "free"}, "training-free: use `zsbench eval`"),
        ("run", {"dtype": "float61"}, "Did you mean 'float16'"),
        ("run", {"options": {"kind": "unfit"}}, "unfit for 8 images"),
        ("run", {"dtype": "float16"}, "float16 is for evaluation"),
        ("run", {"checkpoint": Path("absent")}, "absent does not exist"),
        (
            "run",
            {"clip": "ViT-B-61", "weights": "random"},
            "open_clip has no model 'ViT-B-61'. Did you mean 'ViT-B-16'",
        ),
    ],
)
def test_mistakes_are_explained(verb, changes, message):
    with pytest.raises(UserError, match=message.replace("(", "\\(")):
        make_plan(verb, request(verb, **changes))


def test_what_optimisers_of_a_methods_own_read_is_theirs_to_say(monkeypatch):
    class Mover(Toy):
        reads = ("momentum",)

        def optimisers(self, phase):
            return {"main": torch.optim.SGD(self.parameters(), 1.0, momentum=phase.recipe.momentum)}

    monkeypatch.setattr(registry, "load_method_class", {"toy": Mover}.__getitem__)
    assert make_plan("run", request(recipe={"momentum": 0.5})).recipe.momentum == 0.5
    with pytest.raises(UserError, match="decay_from is of schedule step"):
        make_plan("run", request(recipe={"momentum": 0.5, "decay_from": 3}))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"method": "zoy"}, "holds weights of zoy, not of toy: give --method zoy"),
        ({"classes": ["cat"]}, "was trained on other .1 classes: cat, ...., not with the 4 classes of squares"),
        ({"names_sha256": "0"}, "with other class names .the default. than plain"),
        ({"names": "nicknames"}, "says class names 'nicknames', which is no name .* give it by --classes"),
        ({"text_embeddings_sha256": "0"}, "trained with a file of text embeddings .sha256 0.: give it"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, stored, message, squares):
    info = CheckpointInfo(
        zsbench_version="0",
        method="toy",
        options={},
        clip="",
        clip_sha256=None,
        dataset="other",
        classes=list(squares.classes),
        unseen=["blue"],
        names_sha256=squares.names().sha256,
        templates="single",
        setting="inductive",
        seed=0,
        recipe={},
    )
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, torch.nn.Linear(1, 1), info.model_copy(update=stored))
    with pytest.raises(UserError, match=message):
        make_plan("eval", request("eval", checkpoint=path))
    if "method" not in stored:
        assert make_plan("eval", request("eval", checkpoint=path, transfer=True)).checkpoint is not None


ASKED = {"clip": "squares", "weights": "random", "classes": "plain", "templates": "single", "text_embeddings": "e.npy"}
FIELDS = [name for name, field in CheckpointInfo.model_fields.items() if "str" in str(field.annotation)]


def with_path(content, bait):
    """A copy in which every text is the path, of any depth."""
    if isinstance(content, dict):
        return {name: with_path(value, bait) for name, value in content.items()}
    return str(bait)


@pytest.mark.parametrize("field", [*FIELDS, *(f"request.{name}" for name in ASKED), "options.kind"])
@pytest.mark.parametrize("verb", ["eval", "profile", "predict"])
def test_no_word_of_a_checkpoint_is_opened_or_imported(tmp_path, bait, squares, monkeypatch, field, verb):
    """Whatever field holds the path, the answer is one that does without it, or an error."""
    looked_up = functools.partial(registry.load, "method")
    monkeypatch.setattr(registry, "load_options", lambda name: ToyOptions if name == "toy" else looked_up(name))
    told = {
        **{
            "zsbench_version": "0",
            "method": "toy",
            "options": {},
            "clip": "",
            "clip_sha256": None,
            "dataset": "squares",
        },
        **{"classes": list(squares.classes), "unseen": ["blue"], "names_sha256": squares.names().sha256},
        **{"templates": "single", "setting": "inductive", "seed": 0, "recipe": {}, "request": ASKED | {"clip": None}},
    }
    name, _, inner = field.partition(".")
    if inner:
        told[name] = {**told[name], inner: str(bait)}
    elif name in ("classes", "unseen"):
        told[name] = [str(bait), *told[name][1:]]
    else:
        told[name] = with_path(told.get(name), bait)
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, torch.nn.Linear(1, 1), CheckpointInfo(**told))
    with suppress(UserError):
        if verb == "predict":
            asked, own = own_request(["cat"], None, None, {"checkpoint": path})
            make_plan(verb, asked, own)
        else:
            make_plan(verb, request(verb, checkpoint=path))


@pytest.mark.parametrize(
    ("stored", "given", "message"),
    [
        ({"names": "own.txt"}, "classes", r"c\.safetensors says class names 'own\.txt'.* give it by --classes"),
        ({"templates": "folder/own.txt"}, "templates", r"says templates 'own\.txt'.* give it by --templates"),
        (
            {"options": {"kind": "a/file"}},
            "options",
            r"was trained with -o kind=file, a file.* give it by -o kind=PATH",
        ),
        (
            {"request": {"clip": {"name": "clip.json", "sha256": None}}},
            "clip",
            r"its CLIP is 'clip\.json'.* --clip and --we",
        ),
        ({"request": {"weights": "../w.pt"}}, "weights", r"the weights of its CLIP are 'w\.pt'.* --clip and --weights"),
    ],
)
def test_what_a_checkpoint_was_trained_with_is_asked_for(tmp_path, squares, stored, given, message):
    told = {
        **{"zsbench_version": "0", "method": "toy", "options": {}, "clip": "", "clip_sha256": None, "dataset": "other"},
        **{"classes": list(squares.classes), "unseen": ["blue"], "names_sha256": squares.names().sha256},
        **{"templates": "single", "setting": "inductive", "seed": 0, "recipe": {}, "request": {}, **stored},
    }
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, torch.nn.Linear(1, 1), CheckpointInfo(**told))
    with pytest.raises(UserError, match=message):
        make_plan("eval", request("eval", checkpoint=path))
    own = {"classes": "plain", "templates": "a {}", "options": {"kind": "b"}, "clip": "ViT-B-16", "weights": "random"}
    also = {"weights": "random"} if given == "clip" else {}
    assert make_plan("eval", request("eval", checkpoint=path, **{given: own[given]}, **also)).checkpoint is not None


def test_a_checkpoint_remembers_the_clip_that_it_was_trained_on(tmp_path, squares):
    """By the name of a dataset that comes with one, or by open_clip's names."""
    home = Defaults(clip="a.json", weights="a.pt")
    for asked, found in (
        ({"clip": "miniworld"}, ("ViT-B-16-quickgelu", "openai")),  # of `Squares`, which stands for it here
        ({"clip": "ViT-B-32", "weights": "laion2b_s34b_b79k"}, ("ViT-B-32", "laion2b_s34b_b79k")),
        ({"clip": "ViT-B-32-quickgelu", "weights": "openai"}, ("ViT-B-32-quickgelu", "openai")),
        ({"weights": "random"}, ("a.json", "random")),
        ({}, ("a.json", "a.pt")),
    ):
        info = CheckpointInfo.model_construct(request=asked)
        learnt = learnt_on(info, request("eval"), home)
        assert (learnt.clip, learnt.weights) == found, asked


def test_default_folder_never_takes_a_finished_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = make_plan("run", request()).out
    first.mkdir(parents=True)
    (first / "result.json").touch()
    second = make_plan("run", request()).out
    assert second != first and second.parent == first.parent


def test_another_clip_needs_its_own_weights():
    with pytest.raises(UserError, match="needs --weights"):
        resolve_clip("ViT-L-14", None, Defaults())
    assert resolve_clip(None, "random", Defaults()) == ("ViT-B-16-quickgelu", "random")


def test_merge_reads_none_and_lists():
    assert merge(Recipe, {"gradient_clip": "none", "betas": "0.5,0.6"}, what="x").betas == (0.5, 0.6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_device_is_explained():
    with pytest.raises(UserError, match="finds no CUDA device"):
        choose_device("cuda")
    with pytest.raises(UserError, match="is no device"):
        choose_device("gpu")
    assert choose_device(None) == torch.device("cpu")
    assert choose_dtype("bfloat16", trains=True) == torch.bfloat16


@pytest.fixture
def with_background(monkeypatch, squares):
    monkeypatch.setattr(type(squares), "background", "grey")


def test_background_by_threshold_is_asked_for_or_the_datasets_own(with_background, squares, tmp_path, monkeypatch):
    free = {"method": "free", "dataset": "squares"}
    plan = make_plan("eval", Request(**free))
    assert (plan.protocol.background_threshold, plan.word_to_class) == (None, (0, 1, 2, 3, 0))  # no area is small there
    plan = make_plan("eval", Request(**free, background_threshold=0.5))
    assert (plan.protocol.background_threshold, plan.word_to_class) == (0.5, (0, 1, 2, 3, 0))
    plan = make_plan("eval", Request(**free, background_threshold="0.25", classes="foreground"))
    assert (plan.names.words, plan.word_to_class) == (("red", "green", "blue"), (1, 2, 3, 0))
    (tmp_path / "own.txt").write_text("-\nred; pink\ngreen\nblue\n")
    plan = make_plan("eval", Request(**free, background_threshold="0.25", classes=str(tmp_path / "own.txt")))
    assert plan.word_to_class == (1, 1, 2, 3, 0)
    monkeypatch.setattr(squares, "defaults", Defaults(protocol=EvalProtocol(background_threshold=0.1)))
    for asked, threshold in ((None, 0.1), ("none", None)):
        protocol = Resolved(Request(background_threshold=asked), squares, Options, None).protocol()
        assert protocol.background_threshold == threshold


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": "foreground"}, "no word for 'grey': give --background-threshold"),
        ({"background_threshold": "much"}, "expected a number between 0 and 1, or none"),
        ({"background_threshold": "1.5"}, "expected a number between 0 and 1, or none"),
        (
            {"method": "toy", "classes": "foreground", "background_threshold": "0.5"},
            "no word for 'grey', which a method that trains needs",
        ),
    ],
)
def test_background_that_cannot_be_found_is_an_error(with_background, changes, message):
    with pytest.raises(UserError, match=message):
        make_plan("run", request(**{"method": "free", **changes}))


def test_a_dataset_without_background_has_no_threshold_for_it(tmp_path):
    with pytest.raises(UserError, match="squares has no class that stands for background"):
        make_plan("run", request(background_threshold="0.5"))
    (tmp_path / "own.txt").write_text("grey\n-\ngreen\nblue\n")
    with pytest.raises(UserError, match="'red' has no word; only a class that is background"):
        make_plan("run", request(classes=str(tmp_path / "own.txt")))
