"""`zsbench info`: all that can be asked of a method, of a dataset, and of a training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from zsbench.cli.errors import console
from zsbench.cli.options import with_plugins
from zsbench.cli.program import app
from zsbench.errors import UserError
from zsbench.runs.about import RECIPE, about_dataset, about_method, about_recipe, find, shown


def complete(incomplete: str) -> list[str]:
    """Names for the shell."""
    from zsbench import registry

    return [name for name in (RECIPE, *(each.name for each in registry.plugins())) if name.startswith(incomplete)]


@app.command()
@with_plugins
def info(
    name: Annotated[
        str,
        typer.Argument(help="a method, a dataset (a card or a file, too), or `recipe`", autocompletion=complete),
    ],
    dataset: Annotated[str | None, typer.Option(help="show the values that a run on it has", metavar="TEXT")] = None,
    method: Annotated[str | None, typer.Option(help="of `recipe`: with this method", metavar="TEXT")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print as JSON")] = False,
) -> None:
    """Show all options of a method, what a dataset is, or the entries of a training recipe.

    With type, default, what is allowed, and what is preset for a dataset.
    """
    found = about(name, dataset, method)
    if as_json:
        print(json.dumps(found[0] if len(found) == 1 else found, indent=1))
        return
    for number, each in enumerate(found):
        console.print("\n" * bool(number), end="")
        {"method": show_method, "dataset": show_dataset, "recipe": show_recipe}[each["kind"]](each, dataset)


def about(name: str, dataset: str | None, method: str | None) -> list[dict[str, Any]]:
    """What is known by that name: a method and a dataset may share one."""
    if name == RECIPE:
        return [about_recipe(dataset, method)]
    if method is not None:
        raise UserError("--method goes with `zsbench info recipe`.")
    if Path(name).suffix in (".toml", ".py"):
        return [about_dataset(name)]
    found = find(name)
    if dataset is not None:
        from zsbench.data.card import dataset_class

        dataset = dataset_class(dataset).name
    return [about_method(each, dataset) if each.kind == "method" else about_dataset(name) for each in found]


def show_method(found: Mapping[str, Any], dataset: str | None) -> None:
    settings = ", ".join(found["settings"]) or "not known without importing it"
    facts = {
        "paper": found["paper"],
        "family": found["family"],
        "settings": settings,
        "needs": ", ".join(found["needs"]),
        "source": "" if found["source"] == "built-in" else found["source"],
    }
    heading(found["name"], found["summary"])
    pairs_of({word: text for word, text in facts.items() if text})
    preset = found["preset"] or {"options": {}}
    console.print(Text("\noptions (-o NAME=VALUE)", "bold underline"))
    if not found["options"]:
        console.print("none")
    for each in found["options"]:
        show_field(each, preset["options"], dataset, each["presets"])
    show_changes("variants (--variant NAME)", {name: {"": values} for name, values in found["variants"].items()})
    show_presets("what it changes besides for a dataset", found["presets"])
    for variant, presets in found["variant_presets"].items():
        show_presets(f"in the place of that, with --variant {variant}", presets)
    if found["tables"]:
        console.print(Text("\nablation tables (zsbench ablate)", "bold underline"))
        pairs_of({number: "; ".join(labels) for number, labels in found["tables"].items()})


def show_presets(title: str, presets: Mapping[str, Any]) -> None:
    """What presets say beside options, by dataset."""
    others = {name: {k: v for k, v in said.items() if k != "options" and v} for name, said in presets.items()}
    show_changes(title, {name: said for name, said in others.items() if said})


def show_dataset(found: Mapping[str, Any], dataset: str | None) -> None:
    from zsbench.data.describe import in_words

    console.print(in_words(found), soft_wrap=True)
    defaults = found["defaults"]
    console.print(f"CLIP       {Path(defaults['clip']).name}, weights {Path(defaults['weights']).name}", soft_wrap=True)
    if defaults["words"]:
        console.print(f"vectors    {Path(defaults['words']).name}", soft_wrap=True)
    if defaults["recipe"]:
        console.print(Text("recipe     " + words_of(defaults["recipe"])), soft_wrap=True)
    console.print(Text("all        " + ", ".join(found["classes"])))


def show_recipe(found: Mapping[str, Any], dataset: str | None) -> None:
    where = " with ".join(filter(None, (found["dataset"], found["method"])))
    heading("recipe", f"how a method is trained (-r NAME=VALUE){f', on {where}' * bool(where)}")
    for each in found["entries"]:
        show_field(each, {each["name"]: each["preset"]} if "preset" in each else {}, dataset)


def show_field(
    field: Mapping[str, Any], preset: Mapping[str, Any], dataset: str | None, presets: Mapping[str, Any] | None = None
) -> None:
    """Name, default, type and bounds on a line; below it the description, and what is preset."""
    line = Text.assemble((field["name"], "bold"), " = ", (shown(field["default"]), "cyan"))
    if field["name"] in preset:
        line.append(f", on {dataset} {shown(preset[field['name']])}", "yellow")
    bounds = f", {field['allowed']}" if field["allowed"] else ""
    line.append(f"   {field['type']}{bounds}", "dim")
    console.print(line)
    indented(field["description"])
    if presets and dataset is None:
        indented("preset: " + ", ".join(f"{shown(value)} on {where}" for where, value in presets.items()))


def indented(text: str) -> None:
    if text:
        console.print(Padding(Text(text), (0, 0, 0, 4)))


def heading(name: str, text: str) -> None:
    console.print(Text.assemble((name, "bold"), f": {text}"))


def pairs_of(facts: Mapping[str, str]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    for word, text in facts.items():
        table.add_row(Text(word, "bold"), Text(text))
    console.print(table)


def show_changes(title: str, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Names, and for each what it changes."""
    if changes:
        console.print(Text(f"\n{title}", "bold underline"))
        pairs_of({name: "; ".join(lines(said)) or "nothing" for name, said in changes.items()})


def lines(said: Mapping[str, Any]) -> Iterator[str]:
    for word, values in said.items():
        text = words_of(values) if isinstance(values, Mapping) else str(values)
        if text:
            yield f"{word}: {text}" if word else text


def words_of(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in values.items())
