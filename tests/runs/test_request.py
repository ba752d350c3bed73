"""A request: one field an option, the same bounds whoever asks, and a command line that says it again."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zsbench import registry
from zsbench.errors import UserError
from zsbench.runs.folder import changes
from zsbench.runs.request import ProfileRequest, Request, parse_seeds
from zsbench.runs.resolve import parse_text

ROOT = Path(__file__).resolve().parents[2]


def test_every_option_says_what_it_is_and_where_it_is_offered():
    for verb in ("run", "train", "eval", "profile", "predict", "propose"):
        for name, field in ProfileRequest.offered(verb).items():
            assert field.description, name
    assert "recipe" not in Request.offered("eval") and "eval_batch" not in Request.offered("train")
    assert "size" in ProfileRequest.offered("profile") and "size" not in ProfileRequest.offered("run")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limitt": 3}, "unknown option of `zsbench run`: 'limitt'. Did you mean 'limit'? Known: method, "),
        ({"limit": -3}, "limit=-3: Input should be greater than or equal to 1."),
        ({"seed": -1}, "seed=-1: "),
        ({"workers": -1}, "workers=-1: "),
        ({"eval_batch": -2}, "eval_batch=-2: "),
        ({"iterations": 0}, "iterations=0: "),
        ({"setting": "inductve"}, "Did you mean 'inductive'?"),
        ({"options": ["depth"]}, "options: 'depth': expected key=value."),
        ({"background_threshold": 1.5}, "background_threshold=1.5: expected a number between 0 and 1, or none."),
        ({"size": "8x8"}, "unknown option of `zsbench run`: 'size'."),
    ],
)
def test_a_wrong_name_or_value_is_a_users_mistake(given, message):
    with pytest.raises(UserError) as error:
        Request.of("run", given)
    assert message in str(error.value)


def test_words_and_values_mean_the_same():
    values = Request.of("run", {"options": {"depth": 3}, "plugin": "p.py", "background_threshold": 0.5})
    words = Request.of("run", {"options": ["depth = 3"], "plugin": ["p.py"], "background_threshold": "0.5"})
    assert values.command("run") == words.command("run")
    assert values.plugin == (Path("p.py"),) and words.options == {"depth": "3"}


def test_a_command_says_the_request_again_but_for_where_things_lie():
    asked = Request.of(
        "run",
        {
            "variant": "deep",
            "options": {"depth": 3, "rd": ("t*g", "t"), "scale": None},
            "recipe": {"crop": "16"},
            **{"seed": 2, "transfer": True, "workers": 3, "data_root": "/data", "out": "here", "resume": True},
        },
    )
    assert asked.command("run") == (
        "zsbench run --variant deep --transfer --seed 2 -o depth=3 -o 'rd=t*g,t' -o scale=none -r crop=16"
    )
    assert asked.argv("run")[-8:-6] == ["-o", "depth=3"] and "--out" in asked.argv("run")


def test_the_command_of_a_training_leaves_out_what_only_evaluation_uses():
    asked = Request(eval_batch=2, background_threshold="0.5", limit=8, out=Path("here"))
    assert asked.command("train") == "zsbench train --limit 8"


VALUES = st.none() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text("abc {}'\"*|", min_size=1)


@given(st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), VALUES, max_size=3))
def test_options_survive_the_command_line(options):
    words = shlex.split(Request(options=options).command("run"))
    again = Request.of("run", {"options": words[3::2]}).options
    assert again.keys() == options.keys()
    for key, value in options.items():
        read = parse_text(again[key])
        assert read is None if value is None else read == str(value).strip()


@pytest.mark.parametrize(
    ("verb", "option", "value"),
    [
        *(("run", "seed", value) for value in ("²", 10**23, -1, 1.5, None, [1])),
        *(("run", "workers", value) for value in (10**23, "x")),
        *(("run", "batch_size", value) for value in (10**23, 0)),
        *(("run", "limit", value) for value in (10**23, 0)),
        *(("profile", "size", value) for value in ("1x" + "9" * 23, "70000x1", "²x2", "0x1", "1x", 5)),
        *(("profile", "seconds", value) for value in ("nan", "inf", 1e308)),
        *(("run", "background_threshold", value) for value in ("nan", "²", "2")),
    ],
)
def test_numbers_beyond_reason_are_named(verb, option, value):
    kind = ProfileRequest if verb == "profile" else Request
    with pytest.raises(UserError, match=f"option of `zsbench {verb}`: {option}"):
        kind.of(verb, {option: value})


def test_the_harness_names_a_method_and_a_dataset_in_one_place():
    names = {plugin.name for plugin in registry.plugins()}
    found = [
        (file.name, node.value)
        for folder in ("", "*/")
        for file in (ROOT / "zsbench").glob(f"{folder}*.py")
        if file.parent.name not in ("methods", "datasets")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert sorted(found) == [("request.py", name) for name in ("maskclip", "miniworld", "zegclip")]


@pytest.mark.parametrize("given", [3, "3", "0,1,2", " 0, 1,2", [0, 1, 2], range(3), ("0", "1", "2")])
def test_seeds_are_how_many_or_which(given):
    assert parse_seeds(given) == [0, 1, 2]
    assert parse_seeds("5,7") == [5, 7] and parse_seeds([3]) == [3] and parse_seeds("3,") == [3]


@pytest.mark.parametrize("given", ["", "x", 0, -1, "1,1", "0;1", None, 1.5, 10**9, []])
def test_other_seeds_are_a_users_mistake(given):
    with pytest.raises(UserError, match=r"3 is 0,1,2"):
        parse_seeds(given)


def test_a_folder_is_named_by_what_is_changed():
    assert changes(Request(device="cpu", out=Path("x"), seed=3)) == ""
    asked = Request.of("run", {"options": {"rd": "t*g,t"}, "recipe": {"crop": 64}, "limit": 4, "templates": "a/b.txt"})
    assert changes(asked) == "rd=t_g,t-limit=4-crop=64-templates=b"
    long = changes(Request(options={f"option{number}": number for number in range(30)}))
    assert len(long) == 100 and long != changes(Request(options={f"option{number}": number for number in range(31)}))
