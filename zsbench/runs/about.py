"""What can be asked of a method, of a dataset and of a recipe, as data; torch is not imported for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from zsbench import registry
from zsbench.data.card import dataset_class
from zsbench.errors import UserError, did_you_mean
from zsbench.recipe import MANY, MAX_SIDE, Recipe
from zsbench.registry import Plugin
from zsbench.runs.class_source import attributes
from zsbench.runs.request import as_word

RECIPE = "recipe"
BOUNDS: Mapping[type, tuple[str, str]] = {Ge: ("ge", ">="), Gt: ("gt", ">"), Le: ("le", "<="), Lt: ("lt", "<")}
REASON = (MANY, MAX_SIDE, 1e6, 1e30)
"""Bounds that nobody meets but by a slip: not worth a word."""
KINDS: Mapping[Any, str] = {int: "int", float: "number", bool: "true | false", str: "text", Path: "path"}
CITATION = re.compile(r"\(([^()]*\bet al\.[^()]*)\)")


def family(plugin: Plugin) -> str:
    """What the folder of a built-in method says that it holds, in a few words; of others, where they come from."""
    if plugin.source != "built-in" or plugin.location is None:
        return plugin.source
    inside = plugin.module.split(".")[2:]
    whole = plugin.location.parents[len(inside) - 1 if plugin.location.name == "__init__.py" else len(inside) - 2]
    package = whole / "__init__.py" if len(inside) > 1 or plugin.location.name == "__init__.py" else plugin.location
    return re.split(r"[:(.]", docstring(package), maxsplit=1)[0].strip() or inside[0]


def find(name: str) -> list[Plugin]:
    """The methods and datasets of that name. Raises `UserError` with the nearest of all names where there is none."""
    everything = registry.plugins()
    if found := [plugin for plugin in everything if plugin.name == name]:
        return found
    names = [RECIPE, *(plugin.name for plugin in everything)]
    raise UserError(
        f"nothing is called {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}; or a card (.toml) or a file "
        "(.py) of a dataset."
    )


def about_method(plugin: Plugin, dataset: str | None = None) -> dict[str, Any]:
    """A method: what it needs, its options with those of a dataset's preset, its variants and tables."""
    options, source = registry.load_options(plugin.name), attributes(plugin)
    needs = ["CLIP"] if source.get("needs_clip") else ["word vectors (of the dataset, or --words FILE)"]
    needs = needs if source.get("needs_clip") is not None else []
    trainable = source.get("trainable")
    changed = {name: dict(plain(preset)) for name, preset in options.presets.items()}
    merged = None
    if dataset is not None:
        cls = dataset_class(dataset)
        merged = dict(plain(options.preset(cls.name, cls.like)))
    return {
        "kind": "method",
        "name": plugin.name,
        "summary": plugin.summary,
        "paper": paper(plugin),
        "family": family(plugin),
        "source": plugin.source,
        "trainable": trainable,
        "settings": list(source.get("settings") or ())
        if trainable
        else ["training-free"]
        if trainable is False
        else [],
        "needs": [*needs, *(f"{need}{', which is not installed' * (need in plugin.missing)}" for need in plugin.needs)],
        "options": [{**each, "presets": of_datasets(changed, each["name"])} for each in fields_of(options)],
        "preset": merged,
        "presets": changed,
        "variants": {name: plain(values) for name, values in options.variants.items()},
        "variant_presets": plain(options.variant_presets),
        "tables": {str(number): [row.label for row in rows] for number, rows in options.tables.items()},
    }


def about_dataset(name: str) -> dict[str, Any]:
    """A dataset: classes, words, protocol, what it changes in the recipe, and where its files belong."""
    from zsbench.data.describe import describe

    return {"kind": "dataset", **plain(describe(dataset_class(name)))}


def about_recipe(dataset: str | None = None, method: str | None = None) -> dict[str, Any]:
    """The entries of the recipe, and what a dataset, and a method on it, make of them: `preset`."""
    preset: dict[str, Any] = {}
    if dataset is not None:
        cls = dataset_class(dataset)
        preset |= cls.defaults.recipe
        preset |= registry.load_options(method).preset(cls.name, cls.like).recipe if method else {}
    said = [{"preset": plain(preset[each])} if each in preset else {} for each in Recipe.model_fields]
    entries = [{**each, **more} for each, more in zip(fields_of(Recipe), said, strict=True)]
    return {"kind": "recipe", "dataset": dataset, "method": method, "entries": entries}


def of_datasets(presets: Mapping[str, Any], option: str) -> dict[str, Any]:
    """What the presets of datasets say of an option."""
    return {name: said["options"][option] for name, said in presets.items() if option in said["options"]}


def paper(plugin: Plugin) -> str:
    """The paper that the file of a method names first, in brackets."""
    match = CITATION.search(docstring(plugin.location)) if plugin.location else None
    return " ".join(match[1].split()) if match else ""


def docstring(file: Path) -> str:
    """Of a module, by its source; empty where it has none, or cannot be read."""
    try:
        return ast.get_docstring(ast.parse(file.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError):
        return ""


def fields_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Every field: name, type, default, what is allowed, description."""
    return [
        {
            "name": name,
            "type": kind(field.annotation),
            "default": plain(field.get_default(call_default_factory=True)),
            "allowed": allowed(field),
            "description": description(model, name),
        }
        for name, field in model.model_fields.items()
    ]


def description(model: type[BaseModel], name: str) -> str:
    """Of a field; where it has none of its own, that of the class from which it is inherited."""
    models = (cls for cls in model.__mro__ if issubclass(cls, BaseModel))
    declared = (cls.model_fields[name] for cls in models if name in cls.model_fields)
    return next((field.description for field in declared if field.description), "")


def kind(annotation: Any) -> str:
    """A type in words: `int`, `number or none`, `frozen | finetuned`, `a list of int`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        words = [kind(each) for each in inner if each is not NoneType]
        return " or ".join([*words, *["none"] * (NoneType in inner)])
    if origin in (tuple, list, frozenset, set):
        kinds = list(dict.fromkeys(kind(each) for each in inner if each is not Ellipsis))
        several = f"{len(inner)} of" if origin is tuple and Ellipsis not in inner else "a list of"
        return f"{several} {' or '.join(kinds)}"
    return KINDS.get(annotation, getattr(annotation, "__name__", "value"))


def allowed(field: FieldInfo) -> str:
    """The bounds of a field: `>=0, <1`."""
    found = [*field.metadata, *inner_metadata(field.annotation)]
    words = [
        f"{sign}{getattr(bound, attribute):g}"
        for bound in found
        for cls, (attribute, sign) in BOUNDS.items()
        if isinstance(bound, cls) and getattr(bound, attribute) not in REASON
    ]
    return ", ".join(dict.fromkeys(words))


def inner_metadata(annotation: Any) -> list[Any]:
    """The bounds that stand in a type, deep inside."""
    if get_origin(annotation) is Literal:
        return []
    found: list[Any] = []
    for each in get_args(annotation):
        found += list(getattr(each, "metadata", [])) if isinstance(each, FieldInfo) else inner_metadata(each)
        found += [each] if isinstance(each, tuple(BOUNDS)) else []
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def shown(value: Any) -> str:
    """A value as a user would type it."""
    return str(value).lower() if isinstance(value, bool) else as_word(value)
