"""Every row of the founding paper's Tables 2 to 7 has a command, which zsbench takes as it stands."""

from pathlib import Path

import pytest
import typer
from safetensors.torch import save_file

from zsbench.cli.app import app
from zsbench.cli.runs import VARIED
from zsbench.registry import load_method_class
from zsbench.reports.commands import commands_page, needs, steps
from zsbench.reports.published import UNVERIFIED, read_published
from zsbench.runs.plan import usual_folder
from zsbench.runs.request import ProfileRequest, Request
from zsbench.runs.resolve import resolve

ROWS = read_published()[:94]
CROSS = "cross-dataset"


@pytest.fixture(scope="module")
def commands():
    return typer.main.get_command(app).commands


@pytest.fixture
def request_of(commands, tmp_path, monkeypatch):
    """What a command asks for: a user's files are empty ones, a checkpoint is taken to be there."""
    monkeypatch.chdir(tmp_path)

    def parse(words):
        verb, *rest = words
        model = ProfileRequest if verb == "profile" else Request
        given = commands[verb].make_context(verb, rest).params
        given = {name: value for name, value in given.items() if value and name in model.offered(verb)}
        if verb == "profile":  # which takes several of some
            given = {name: value[0] if name in VARIED else value for name, value in given.items()}
        request = model.of(verb, given)
        for path in filter(None, (request.words, request.options.get("prompts"))):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            save_file({}, path)
        return request

    return parse


def test_the_first_94_rows_are_the_founding_papers():
    assert {row["source"].split(" (")[0] for row in ROWS} == {
        f"founding paper Table {number}" for number in range(2, 8)
    }
    assert all(row["command"].startswith("zsbench ") for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['method']}-{row['dataset']}-{row['setting']}")
def test_command(row, request_of):
    """It parses, resolves without data, and asks for the dataset and the setting of the row."""
    parsed = [(words[0], request_of(words)) for words in steps(row["command"])]
    for _, request in parsed:
        resolve(request.model_copy(update={"checkpoint": None, "transfer": False}))
    (verb, last), (_, first) = parsed[-1], parsed[0]
    asked = first.setting or load_method_class(first.method).settings[0]
    assert asked in load_method_class(first.method).settings
    assert needs(row["command"])
    if row["setting"] == "efficiency":
        assert verb == "profile"
    elif row["setting"] == CROSS:
        assert (verb, last.transfer) == ("eval", True)
        assert last.checkpoint == usual_folder(first, asked) / "checkpoint.safetensors"
        assert first.dataset == "coco-stuff"
        assert (asked == "transductive") == ("+ST" in row["method"])
    else:
        assert (last.setting or load_method_class(last.method).settings[0]) == row["setting"]
    if row["method"].startswith("†") and "pseudo_labels" in last.recipe:
        assert last.recipe["pseudo_labels"] == "unseen"  # the dagger
    if row["dataset_id"]:
        assert last.dataset == row["dataset_id"]
    if row["variant_id"]:
        assert last.variant == row["variant_id"]
    if row["method_id"]:
        assert last.method == row["method_id"]


def test_page_has_all_of_them():
    text = commands_page(read_published())
    assert text.count("| `zsbench ") == 94
    assert "mIoU_S 33.5" in text and "mIoU_S=35.5" in text  # as printed, and corrected


def test_what_a_command_needs():
    assert needs("zsbench run --method spnet --dataset pascal-voc --words w.npz -o backbone_weights=b.pth") == [
        "data of pascal-voc", "word vectors (w.npz)", "backbone weights (b.pth)", "a GPU",
    ]  # fmt: skip
    transfer = "zsbench run --method zegclip --dataset coco-stuff && zsbench eval --method zegclip --dataset pascal-voc"
    assert needs(transfer) == [
        "data of coco-stuff", "CLIP weights (ViT-B-16, openai)", "a GPU", "data of pascal-voc",
    ]  # fmt: skip


def test_sources_that_nobody_could_check_stand_apart():
    unverified = read_published(unverified=True)
    assert unverified and all(row["status"] == UNVERIFIED for row in unverified)
    assert not any("third party" in row["source"] or "search corpus" in row["source"] for row in read_published())
