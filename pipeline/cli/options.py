"""Options that several commands have, what they must be, and how commands answer."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from pipeline.cli.config_file import read_config
from pipeline.errors import RequestError
from pipeline.request import MineRequest
from pipeline.terminal import console

_BOUNDS = {"ge": "min", "le": "max"}
"""Of numbers, as pydantic and typer call them."""

_FORMS = {"mean": "three numbers with commas between"}

_Asked = TypeVar("_Asked")


def option(name: str, metavar: str | None = None) -> Any:
    """An option with the help text and the bounds that the field of a request has."""
    field = MineRequest.model_fields[name]
    limits = {_BOUNDS[kind]: n for limit in field.metadata for kind, n in asdict(limit).items()}
    return typer.Option(help=help_of(name), metavar=metavar, **limits)


def help_of(name: str) -> str:
    """The text of a request's field in one line."""
    return " ".join((MineRequest.model_fields[name].description or "").split())


Run = Annotated[str, option("run")]
Config = Annotated[
    str | None,
    typer.Option(help="TOML file with any of these options.", callback=read_config, is_eager=True),
]
Workers = Annotated[int | None, option("workers")]
Address = Annotated[str | None, option("address")]
Layers = Annotated[str | None, option("layers")]


def checked(kind: type[_Asked], values: Mapping[str, Any]) -> _Asked:
    """What the values of some options ask for.

    Raises:
        RequestError: naming the first option that has a wrong value, and the right ones.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        allowed = wrong.get("ctx", {}).get("expected", "").replace("'", "") or _FORMS.get(name)
        value = ",".join(values[name]) if isinstance(values[name], list) else values[name]
        said = f" is {allowed}, not {value!r}" if allowed else f" {value}: {wrong['msg']}"
        raise RequestError(f"--{name.replace('_', '-')}{said}.") from error


def say(what: "str | Table") -> None:
    """A result, to stdout."""
    console().print(what)


def names(text: str | None) -> tuple[str, ...] | None:
    """What a list with commas names; None if nothing is given."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None
