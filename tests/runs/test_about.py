"""What can be asked of every method, dataset and training, without importing any of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from zsbench import registry
from zsbench.cli.app import app
from zsbench.errors import UserError
from zsbench.runs.about import about_dataset, about_method, about_recipe, family, find
from zsbench.runs.class_source import attributes


@pytest.mark.parametrize("plugin", registry.plugins("method"), ids=lambda plugin: plugin.name)
def test_sources_say_what_classes_are(plugin):
    cls, said = registry.load_method_class(plugin.name), attributes(plugin)
    for name in ("trainable", "needs_clip", "settings", "reads"):
        assert said.get(name) == getattr(cls, name)


@pytest.mark.parametrize("plugin", registry.plugins(), ids=lambda plugin: plugin.name)
def test_everything_describes_itself(plugin):
    found = about_method(plugin) if plugin.kind == "method" else about_dataset(plugin.name)
    json.dumps(found)
    assert found["summary"]
    for option in found.get("options", ()):
        assert option["description"] and option["type"] != "value", option["name"]


def test_a_method_says_presets_variants_needs_and_paper():
    (plugin,) = find("zegclip")
    found = about_method(plugin, "miniworld")
    prompts = next(option for option in found["options"] if option["name"] == "prompts")
    assert (prompts["type"], prompts["default"], prompts["allowed"]) == ("int", 10, ">=1")
    assert prompts["presets"]["miniworld"] == found["preset"]["options"]["prompts"] == 8
    assert set(about_method(*find("gem"))["variant_presets"]) == {"clearclip-residual", "clearclip-no-residual"}
    assert "CVPR 2023" in found["paper"] and found["needs"] == ["CLIP"] and "baseline-fix" in found["variants"]
    assert family(find("sclip")[0]) == family(find("gem")[0]) != family(plugin)


def test_a_recipe_says_what_a_dataset_and_a_method_make_of_it():
    entries = {each["name"]: each for each in about_recipe("miniworld", "zegclip")["entries"]}
    assert (entries["iterations"]["default"], entries["iterations"]["preset"]) == (20000, 1200)
    assert "preset" not in entries["momentum"] and entries["optimiser"]["type"] == "adamw | adam | sgd"


def test_what_nothing_is_called_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'pascal-voc'"):
        find("pascal-vok")


def test_the_command_shows_it_and_imports_no_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from zsbench.cli.app import app\n"
        "for name in ('zegclip', 'cagnet', 'recipe', 'pascal-voc'):\n"
        "    done = CliRunner().invoke(app, ['info', name, '--dataset', 'miniworld'])\n"
        "    assert done.exit_code == 0, done.output\n"
        "assert CliRunner().invoke(app, ['list', '--options', '--json']).exit_code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = CliRunner().invoke(app, ["info", "zegclip", "--dataset", "miniworld"]).output
    assert "prompts = 10, on miniworld 8   int, >=1" in text and "variants (--variant NAME)" in text
