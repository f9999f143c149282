"""Options, made of the fields of requests, and back again; and how commands answer."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from inspect import Parameter, Signature
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from rich.table import Table

from pipeline.cli.config_file import ConfigFile, read_config
from pipeline.errors import RequestError
from pipeline.request import Workforce
from pipeline.terminal import console

_LAST = ("width", "svg", *Workforce.model_fields, "address", "storage_options")

_BOUNDS = {"ge": "min", "le": "max"}
"""Of numbers, as pydantic and typer call them."""

_SECRET = ("storage_options",)
"""What is never shown."""

_FORMS = {
    "mean": "three numbers with commas between",
    "examples": "shares between 0 and 1 with commas between, or none",
}

PROGRAM = "deconv-atlas {}"
"""What the program is called on a command line, with {} for the command."""

_program = ContextVar("program", default=PROGRAM)

_Command = TypeVar("_Command", bound=Callable[..., None])
_Request = TypeVar("_Request", bound=BaseModel)


def asks_for(
    request: type[BaseModel],
    repeated: Sequence[str] = (),
    positional: Sequence[str] = (),
    metavars: Mapping[str, str] | None = None,
) -> Callable[[_Command], _Command]:
    """The decorated command has an option for each field of a request, and ``--config``.

    Args:
        request: numbers and flags are given as such, all else as text, with commas in lists.
        repeated: fields that may be given more than once.
        positional: fields that are given without their names.
        metavars: what values are called in the help, if not by their type.
    """
    fields, called = request.model_fields, metavars or {}
    kinds: dict[str, type] = {}

    def config_of(context: typer.Context, url: str | None) -> ConfigFile | None:
        return read_config(context, url, kinds)

    def parameter(name: str) -> Parameter:
        field = fields[name]
        types = (field.annotation, *get_args(field.annotation))
        kind: Any = next((simple for simple in (bool, int, float) if simple in types), str)
        kinds[name] = list if name in repeated else kind
        default = Parameter.empty if field.is_required() else field.default
        if name in repeated:
            kind, default = list[kind], [default] if isinstance(default, str) else default
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        if default in (None, ""):
            kind, default = kind | None, None
        bounds = (bound for limit in field.metadata for bound in asdict(limit).items())
        limits = {_BOUNDS[way]: at for way, at in bounds if way in _BOUNDS}
        text = " ".join((field.description or "").split())
        make: Any = typer.Argument if name in positional else typer.Option
        flag = (
            [f"--{name.replace('_', '-')}"] if kind is bool else []
        )  # without it there would be --no- too
        about = make(*flag, help=text, metavar=called.get(name), **limits)
        annotation = Annotated[kind, about]
        return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    def decorate(command: _Command) -> _Command:
        ordered = sorted(fields, key=lambda name: (not fields[name].is_required(), name in _LAST))
        about = "TOML file with any of these options."
        option = typer.Option(help=about, callback=config_of, is_eager=True)
        config = Parameter(
            "config", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
        )
        signature = Signature([*map(parameter, ordered), config])
        command.__signature__ = signature  # type: ignore[attr-defined]
        return command

    return decorate


def checked(request: type[_Request], options: Mapping[str, Any]) -> _Request:
    """The request that the values of a command's options make.

    Raises:
        RequestError: naming the first option that has a wrong value, and the right ones.
    """
    given = {name: value for name, value in options.items() if value is not None}
    file: ConfigFile | None = given.pop("config", None)
    for name, value in given.items():
        kind = request.model_fields[name].annotation
        is_list = any(get_origin(part) is tuple for part in (kind, *get_args(kind)))
        if is_list and isinstance(value, str):
            given[name] = names(value)
    try:
        return request.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        allowed = wrong.get("ctx", {}).get("expected", "").replace("'", "") or _FORMS.get(name)
        value = options[name]
        option = f"--{name.replace('_', '-')}"
        if file is not None and file.options.get(name) == value:
            option = f"{file.url}: {name}"
        if name in _SECRET:
            said = " is a JSON object, as '{\"anon\": true}'"
        else:
            said = f" is {allowed}, not {value!r}" if allowed else f" {value}: {wrong['msg']}"
        raise RequestError(f"{option}{said}.") from error


def say(what: "str | Table") -> None:
    """A result, to stdout."""
    console().print(what)


def next_command(command: str, run: str) -> str:
    """What to give next, as it is given here: by itself or as a job."""
    return f"{_program.get().format(command)} --run {shlex.quote(run)}"


@contextmanager
def called_as(program: str) -> Iterator[None]:
    """What the program is called in a block, with {} for the command."""
    token = _program.set(program)
    try:
        yield
    finally:
        _program.reset(token)


def names(text: str) -> tuple[str, ...]:
    """What a list with commas names."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
