"""Pages of the site that are made when it is built: commands from `--help`, Python from docstrings, files of the root."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.testing import CliRunner

import zsbench
from zsbench.cli.app import app

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {"contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
OUT = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#]+)(?:#[^)]*)?\)")
"""A link of a page to a file outside of the folder: right where files are read, and a name on the site."""
WIDTH = "80"
EXECUTED = "ZSBENCH_TUTORIAL"
"""The variable that names the executed tutorial, with what it printed and drew; without it the code stands alone."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leave out of the navigation what is not there."""
    docs = Path(config.docs_dir)
    made = {"commands.md", "python.md", *ROOT_PAGES}
    notebook = docs / "tutorial.ipynb"
    made |= {"tutorial.md"} if notebook.exists() else set()
    config.nav = present(config.nav or [], lambda name: name in made or (docs / name).exists())
    return config


def present(nav: list[Any], there: Any) -> list[Any]:
    """The entries of a navigation whose file is there, and the sections that have any."""
    kept: list[Any] = []
    for entry in nav:
        if isinstance(entry, str):
            kept += [entry] if there(entry) else []
            continue
        ((title, inside),) = entry.items()
        inside = present(inside, there) if isinstance(inside, list) else inside
        if inside and (isinstance(inside, list) or there(inside)):
            kept.append({title: inside})
    return kept


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pages = {"commands.md": commands(), "python.md": python()}
    pages |= {page: root_page(name) for page, name in ROOT_PAGES.items()}
    notebook = Path(config.docs_dir) / "tutorial.ipynb"
    if notebook.exists() and files.get_file_from_path("tutorial.md") is None:
        executed = Path(os.environ.get(EXECUTED, notebook))
        pages["tutorial.md"] = from_notebook(json.loads(executed.read_text(encoding="utf-8")))
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return OUT.sub(lambda link: outside(link[1], link[2]), markdown)


def outside(text: str, path: str) -> str:
    """What a link out of the folder becomes: a page of the site, or the name of the file."""
    pages = {name: page for page, name in ROOT_PAGES.items()}
    if path in pages:
        return f"[{text}]({pages[path]})"
    return f"`{path}`" if path.rstrip("/").endswith(text.strip("`")) else f"{text} (`{path}`)"


def root_page(name: str) -> str:
    """A Markdown file of the root: its links are to files beside it, of which those in the folder are pages."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(
        r"\]\((?!https?:|#)(?=[\w./-]+\))(?!\w+\.md\))", "](../", re.sub(r"\]\(([A-Z]+\.md)", r"](../\1", text)
    )


def commands() -> str:
    """`--help` of every command, as a terminal shows it."""
    parts = ["# Commands\n", "What `zsbench COMMAND --help` says.\n"]
    for words in paths(typer.main.get_command(app)):
        terminal = {"COLUMNS": WIDTH, "TERM": "dumb", "NO_COLOR": "1"}
        shown = CliRunner().invoke(app, [*words, "--help"], env=terminal, prog_name="zsbench")
        lines = [line.rstrip() for line in shown.stdout.strip("\n").splitlines()]
        parts += [f"## {' '.join(['zsbench', *words])}", "```text", "\n".join(lines).strip("\n"), "```"]
    return "\n".join(parts) + "\n"


def paths(command: Any, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inside = getattr(command, "commands", {})
    return [words, *(path for name, each in inside.items() if not each.hidden for path in paths(each, (*words, name)))]


def python() -> str:
    """Every public name, from its docstring."""
    names = zsbench.public_names()
    parts = ["# Python", "The public names of `zsbench`. Keywords of functions are the long options of the commands."]
    return "\n\n".join([*parts, *(f"::: {module}.{name}" for name, module in names.items())]) + "\n"


def from_notebook(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its text, its code, and what this printed and drew."""
    parts = []
    for each in notebook["cells"]:
        source = "".join(each["source"]).strip()
        parts.append(source if each["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += [text for output in each.get("outputs", ()) if (text := output_of(output))]
    return "\n\n".join(parts) + "\n"


def output_of(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if output.get("name") == "stderr":  # bars of progress, each of their states
        return ""
    if "image/png" in data:
        return f"![](data:image/png;base64,{''.join(data['image/png']).replace(chr(10), '')})"
    if "text/html" in data:
        return "".join(data["text/html"])
    text = "".join(data.get("text/plain", output.get("text", ()))).rstrip()
    return f"```text\n{text}\n```" if text else ""
