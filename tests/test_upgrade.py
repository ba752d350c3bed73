"""What schema 1 said in a shell line, schema 2 says as data: once, here, and to the same effect."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench.errors import UserError
from zsbench.result import Profile, Result
from zsbench.upgrade import read_command, upgrade

LEADERBOARDS = Path(__file__).resolve().parents[1] / "leaderboards"
COMMITTED = sorted([*(LEADERBOARDS / "results").glob("*.json"), *(LEADERBOARDS / "efficiency").glob("*.json")])
DIGEST = "1" * 64


def older(make_result, command, **method):
    """A result as schema 1 wrote it."""
    content = make_result(command=command).model_dump(mode="json")
    content = {name: value for name, value in content.items() if name not in ("verb", "request", "shown")}
    about = {name: value for name, value in content["method"].items() if name not in ("text_embeddings", "words")}
    weights = about["weights"] | {"sha256": "2" * 64}
    dataset = {name: value for name, value in content["dataset"].items() if name != "groups"}
    about |= {"checkpoint_sha256": DIGEST, "weights": weights} | method
    return content | {"schema_version": 1, "method": about, "dataset": dataset, "reported": {"hIoU": 84.3}}


def load(content, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(content))
    return Result.load(tmp_path / "r.json")


def test_an_old_result_says_the_same_as_data(make_result, tmp_path):
    command = (
        "zsbench eval --method m --seed 3 --checkpoint /home/me/c.safetensors --weights /home/me/w.pt --transfer "
        "--classes names.txt --templates '- a {}' --eval-batch 4 -o rd=off -o file=/home/me/masks.json -r betas=0.9,0.99 "
        "--plugin /home/me/p.py"
    )
    training = {"dataset": "d", "recipe": {}, "command": "zsbench train --method m -r learning_rate=1"}
    options = {"rd": "off", "file": "/home/me/masks.json"}
    old = older(make_result, command, options=options, templates="- a {}") | {"training": training}
    result = load(old, tmp_path)
    assert result.verb == "eval" and result.request == {
        "method": "m",
        "seed": 3,
        "checkpoint": {"name": "c.safetensors", "sha256": DIGEST},
        "weights": {"name": "w.pt", "sha256": "2" * 64},
        "transfer": True,
        "classes": {"name": "names.txt", "sha256": None},
        "templates": "- a {}",
        "eval_batch": 4,
        "options": {"rd": "off", "file": {"name": "masks.json", "sha256": None}},
        "recipe": {"betas": "0.9,0.99"},
        "plugin": [{"name": "p.py", "sha256": None}],
    }
    assert result.training.request == {"method": "m", "recipe": {"learning_rate": "1"}}
    assert result.method.options["file"] == {"name": "masks.json", "sha256": None}
    assert (result.shown.pixels, result.shown.names) == ("seen", "seen")
    assert result.metrics == make_result().metrics and result.dataset.groups is None
    result.save(tmp_path / "again.json")
    again = Result.load(tmp_path / "again.json")
    assert again == result and json.loads((tmp_path / "again.json").read_text())["schema_version"] == 2


def test_text_embeddings_no_longer_stand_in_the_place_of_templates(make_result, tmp_path):
    result = load(older(make_result, "zsbench eval --text-embeddings a/t.npy", templates="t.npy"), tmp_path)
    assert result.method.templates is None and result.method.text_embeddings.name == "t.npy"
    plain = load(older(make_result, "zsbench eval --templates a/t.txt", templates="a/t.txt"), tmp_path)
    assert plain.method.templates.name == "t.txt" and plain.method.text_embeddings is None


@given(
    st.dictionaries(st.sampled_from(["templates", "classes", "variant", "clip"]), st.text(min_size=1)),
    st.dictionaries(st.text(st.characters(exclude_characters="="), min_size=1), st.text(), max_size=3),
)
def test_no_value_is_taken_for_an_option(fields, options):
    words = [word for name, value in fields.items() for word in (f"--{name}", value)]
    words += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    verb, request = read_command(shlex.join(["zsbench", "run", *words]))
    assert verb == "run" and request.pop("options", {}) == options and request == fields


@pytest.mark.parametrize("command", ["", "zsbench", "rm -rf run", "zsbench run --seed", "zsbench run --seed x", "'"])
def test_what_is_no_command_line_is_no_result(make_result, tmp_path, command):
    with pytest.raises(UserError, match=r"r\.json is no valid result"):
        load(older(make_result, command), tmp_path)


def test_an_old_profile_says_what_was_asked(tmp_path):
    content = json.loads(next((LEADERBOARDS / "efficiency").glob("*.json")).read_text()) | {"schema_version": 1}
    del content["request"]
    content |= {"command": "zsbench profile --checkpoint a/c.pt --tf32 --seconds 6 -o k=1", "checkpoint_sha256": DIGEST}
    (tmp_path / "p.json").write_text(json.dumps(content))
    file = {"name": "c.pt", "sha256": DIGEST}
    assert Profile.load(tmp_path / "p.json").request == {
        "checkpoint": file,
        "tf32": True,
        "seconds": 6.0,
        "options": {"k": "1"},
    }


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_committed_results_follow_from_what_schema_1_knew(path):
    """They were schema 1 once, or could have been: their command lines, read again, are what their requests say."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if (content["method"] if "metrics" in content else content)["weights"] is None:
        pytest.skip("schema 1 knew no method without CLIP")
    known = {"verb", "request", "shown"} & content.keys()
    new = upgrade({name: value for name, value in content.items() if name not in known})
    assert {name: new[name] for name in known - {"request"}} == {name: content[name] for name in known - {"request"}}
    assert new["request"].items() <= content["request"].items()
