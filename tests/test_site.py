"""The documents read well as files, and the site leaves out what is not there."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_navigation_has_what_is_there(hooks):
    nav = ["index.md", {"Start": [{"Tutorial": "tutorial.md"}]}, {"How to": [{"A": "a.md"}, {"B": "b.md"}]}]
    there = {"index.md", "b.md"}.__contains__
    assert hooks.present(nav, there) == ["index.md", {"How to": [{"B": "b.md"}]}]


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[one page](../leaderboards/index.html)", "one page (`leaderboards/index.html`)"),
        ("[leaderboards/commands.md](../leaderboards/commands.md)", "`leaderboards/commands.md`"),
        ("[add one](../CONTRIBUTING.md#add-a-method)", "[add one](contributing.md)"),
        ("[stays](statistics.md#intervals)", "[stays](statistics.md#intervals)"),
    ],
)
def test_links_out_of_the_folder(hooks, link, shown):
    assert hooks.on_page_markdown(link) == shown


def test_pages_of_the_root_link_to_pages(hooks):
    text = hooks.on_page_markdown(hooks.root_page("CONTRIBUTING.md"))
    assert "(security.md)" in text and "](../" not in text and "](docs/" not in text


def test_notebook_becomes_a_page(hooks):
    cells = [
        {"cell_type": "markdown", "source": ["# A tour\n"]},
        {"cell_type": "code", "source": ["1 + 1"], "outputs": [{"data": {"text/plain": ["2"]}}]},
        {"cell_type": "code", "source": ["draw()"], "outputs": [{"data": {"image/png": "iVBO\n", "text/plain": "x"}}]},
    ]
    assert hooks.from_notebook({"cells": cells}) == (
        "# A tour\n\n```python\n1 + 1\n```\n\n```text\n2\n```\n\n```python\ndraw()\n```\n\n"
        "![](data:image/png;base64,iVBO)\n"
    )


def test_commands_are_those_of_the_program(hooks):
    text = hooks.commands()
    for command in ("zsbench run", "zsbench leaderboard", "zsbench data check"):
        assert f"## {command}\n```text\n" in text
