"""Options that several commands have, and how they answer."""

from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.config_file import read_config
from pipeline.terminal import console

Run = Annotated[str, typer.Option("--run", help="Where the run is: a path or any fsspec URL.")]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="TOML file with any of these options.",
        callback=read_config,
        is_eager=True,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="How many work at once; by default one per GPU, else one per CPU."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster; by default the one that this process belongs to, else a local Ray."
    ),
]
Layers = Annotated[str | None, typer.Option(help="Layers, with commas between; by default all.")]


def say(what: "str | Table") -> None:
    """A result, to stdout."""
    console().print(what)


def names(text: str | None) -> tuple[str, ...] | None:
    """What a list with commas names; None if nothing is given."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None
