"""Commands made from the fields of a request: name, type, bounds, default, help and panel stand there alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from annotated_types import Ge
from pydantic.fields import FieldInfo

from zsbench import registry
from zsbench.runs.request import Request, Verb, flags, place

METAVARS: Mapping[Any, str] = {
    bool: " ",
    int: "N",
    float: "X",
    str: "TEXT",
    Path: "PATH",
    list[Path]: "PATH",
    list[str]: "KEY=VALUE",
}
Body = Callable[..., None]


def with_plugins(body: Body) -> Body:
    """A decorator: a typer command has `--plugin` besides its own options; they are made known before it runs."""

    def command(plugin: Sequence[Path] | None = None, **words: Any) -> None:
        for file in plugin or ():
            registry.add_file(file)
        body(**words)

    plugin = option("plugin", Request.model_fields["plugin"], listed=False)
    return signed(command, body, [*inspect.signature(body, eval_str=True).parameters.values(), plugin])


def made_from(
    model: type[Request], verb: Verb, leave_out: Collection[str] = (), listed: Collection[str] = ()
) -> Callable[[Body], Body]:
    """A decorator: a typer command with the options that `model` has for `verb`, and with the body's own.

    The body is called with what was given beyond the defaults, by field, and with its own parameters, which stand in the
    place of fields of their name. `leave_out`: fields that the command decides. `listed`: fields that take several values,
    as `a,b` or repeated; the body gets a list.
    """

    def decorate(body: Body) -> Body:
        own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]
        taken = {*leave_out, *(parameter.name for parameter in own)}
        fields = {name: field for name, field in model.offered(verb).items() if name not in taken}
        options = [option(name, field, name in listed) for name, field in fields.items()]

        def command(**words: Any) -> None:
            extra = {parameter.name: words.pop(parameter.name) for parameter in own}
            body({name: value for name, value in words.items() if value != defaults[name]}, **extra)

        defaults = {parameter.name: parameter.default for parameter in options}
        return signed(command, body, [*own, *options])

    return decorate


def signed(command: Body, body: Body, parameters: Sequence[inspect.Parameter]) -> Body:
    """`command` under the name and with the help of `body`, and with the parameters that typer shall see."""
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
    command.__name__, command.__doc__ = body.__name__, body.__doc__
    return command


def option(name: str, field: FieldInfo, listed: bool) -> inspect.Parameter:
    """A field as a parameter of a typer command."""
    kind, choices = plain_type(field.annotation)
    lowest: Any = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    text = f"{field.description}{': ' if choices else ''}{', '.join(choices)}" + "; several: a,b" * listed
    default = field.get_default(call_default_factory=True)
    declared = typer.Option(
        *flags(name, field),
        help=text,
        metavar="NAME" if choices and kind == list[str] else METAVARS.get(kind),
        rich_help_panel=place(field).panel,
        min=lowest,
    )
    if listed:
        kind, default = list[str], [default] if default else None
    elif not isinstance(default, str | int | float):
        kind, default = kind | None, None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared]
    )


def plain_type(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """The type that typer reads, and the words to choose from; what they may be is checked with the request."""
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    if get_origin(annotation) is Literal:
        return str, get_args(annotation)
    if get_origin(annotation) is dict:
        return list[str], ()
    if get_origin(annotation) is tuple:
        inner, *_ = get_args(annotation)
        return (list[str], get_args(inner)) if get_origin(inner) is Literal else (list[Path], ())
    return annotation, ()


def split_commas(texts: list[str] | None) -> list[str]:
    """Repeated options and comma lists alike, as one list."""
    return [word.strip() for text in texts or [] for word in text.split(",") if word.strip()]
