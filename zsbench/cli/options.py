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
from typer.models import OptionInfo

from zsbench import registry
from zsbench.recipe import Recipe
from zsbench.runs.request import PANELS, Request, Verb, flags, place
from zsbench.runs.request_file import overlaid, read_request, request_text

METAVARS: Mapping[Any, str] = {
    bool: " ",
    int: "N",
    float: "X",
    str: "TEXT",
    Path: "PATH",
    list[Path]: "PATH",
    list[str]: "KEY=VALUE",
}
ENTRIES = tuple(f"{entry}=" for entry in Recipe.model_fields)
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
        names = {parameter.name for parameter in own}
        fields = {name: field for name, field in model.offered(verb).items() if name not in {*leave_out, *names}}
        options = [option(name, field, name in listed) for name, field in fields.items()]
        defaults = {parameter.name: parameter.default for parameter in options}

        def command(ctx: typer.Context, config: Path | None, print_config: bool, **words: Any) -> None:
            stored = {} if config is None else read_request(config, [*fields, *names], called(ctx))
            said = {name: value for name, value in words.items() if explicit(ctx, name) or name in stored}
            extra = {name: words.pop(name) for name in names}
            given = {name: value for name, value in words.items() if value != defaults[name]}
            given |= {name: value for name, value in words.items() if name in stored and explicit(ctx, name)}
            given = overlaid({name: value for name, value in stored.items() if name in fields}, given)
            if print_config:
                whole = {**given, **{name: said[name] for name in names & said.keys()}}
                print(request_text(model, verb, whole, names, called(ctx)), end="")
                return
            body(given, **extra)

        return signed(command, body, arranged([*own, *options, *file_options([*fields, *names], names)]))

    return decorate


def called(ctx: typer.Context) -> str:
    """The command's name."""
    return ctx.info_name or ""


def explicit(ctx: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def file_options(known: Collection[str], own: Collection[str]) -> list[inspect.Parameter]:
    """`--config` and `--print-config`. What a file says of the command's `own` options is read before they are asked for."""

    def read(ctx: typer.Context, path: Path | None) -> Path | None:
        if path is not None and not ctx.resilient_parsing:
            found = read_request(path, known, called(ctx))
            ctx.default_map = {name: value for name, value in found.items() if name in own}
        return path

    said = "a TOML file of these options, as --print-config prints it; those on the command line win"
    config = typer.Option(help=said, metavar="PATH", rich_help_panel="What", is_eager=True, callback=read)
    told = "print what was asked for as such a file, and end"
    shown = typer.Option("--print-config", help=told, metavar=" ", rich_help_panel="Output")
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        inspect.Parameter("config", keyword, default=None, annotation=Annotated[Path | None, config]),
        inspect.Parameter("print_config", keyword, default=False, annotation=Annotated[bool, shown]),
    ]


def arranged(parameters: Sequence[inspect.Parameter]) -> list[inspect.Parameter]:
    """Parameters in the order of the groups of the help; a command's own are among what it is about, unless they say."""

    def group(parameter: inspect.Parameter) -> int:
        said: Any = next((each for each in get_args(parameter.annotation) if isinstance(each, OptionInfo)), None)
        if said is not None and said.rich_help_panel is None:
            said.rich_help_panel = PANELS[0]
        return -1 if said is None else PANELS.index(said.rich_help_panel)

    return sorted(parameters, key=group)


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
        autocompletion=completion(name, choices),
    )
    if listed:
        kind, default = list[str], [default] if default else None
    elif not isinstance(default, str | int | float):
        kind, default = kind | None, None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared]
    )


def completion(field: str, choices: Sequence[str]) -> Callable[[str], list[str]] | None:
    """What a shell completes the option of a field with: names of plugins, entries of a recipe, or what it chooses from."""
    kind: registry.Kind | None = {"method": "method", "dataset": "dataset"}.get(field)  # type: ignore[assignment]
    known = ENTRIES if field == "recipe" else choices

    def begun(incomplete: str) -> list[str]:
        words = [each.name for each in registry.plugins(kind)] if kind else known
        return [word for word in words if word.startswith(incomplete)]

    return begun if kind or known else None


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
