"""Options of the command line out of a TOML file."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import typer

from pipeline.errors import RequestError

_LIKE = {"doctor": "mine"}
"""Command → the one whose table it takes its options from too."""

_KINDS = {int: "a whole number", bool: "true or false"}


@dataclass(frozen=True)
class ConfigFile:
    """A TOML file, and the options of one command that it gives."""

    url: str
    options: Mapping[str, object]


def read_config(
    context: typer.Context, url: str | None, kinds: Mapping[str, type]
) -> ConfigFile | None:
    """Take the options of a TOML file as defaults: its own keys, and its table for the command.

    Args:
        context: of the command.
        url: of the file; None if there is none.
        kinds: of its options: int, bool, list, or str for all else.
    """
    if url is None:
        return None
    content = {key.replace("-", "_"): value for key, value in _toml(url).items()}
    commands = context.parent.command.commands if context.parent else {}  # type: ignore[attr-defined]
    known = {name: {param.name for param in of.params} for name, of in commands.items()}
    _require_known(url, content, set(known).union(*known.values()))
    command = str(context.command.name)
    own = _table(url, content, command, known)
    if command in _LIKE:
        own = _table(url, content, _LIKE[command], known) | own
        own = {key: value for key, value in own.items() if key in known[command]}
    shared = {key: value for key, value in content.items() if key in known[command]}
    context.default_map = {
        key: _of_kind(url, key, value, kinds[key]) for key, value in (shared | own).items()
    }
    return ConfigFile(url, context.default_map)


def _table(
    url: str, content: Mapping[str, Any], command: str, known: Mapping[str, Iterable[str]]
) -> dict[str, Any]:
    """The table of a command."""
    table = content.get(command, {})
    if not isinstance(table, dict):
        raise RequestError(
            f"{url}: {command} is a command, so write its options below [{command}]."
        )
    table = {key.replace("-", "_"): value for key, value in table.items()}
    _require_known(f"{url}, [{command}]", table, known[command])
    return table


def _toml(url: str) -> dict[str, Any]:
    from pipeline.data.store import Store

    try:
        return tomllib.loads(Store(url).read("").decode())
    except FileNotFoundError as error:
        raise RequestError(f"There is no configuration file {url}; check the path.") from error
    except ValueError as error:  # of TOML or of UTF-8
        raise RequestError(f"{url} is no TOML ({error}); mend it.") from error
    except OSError as error:
        raise RequestError(f"{url} cannot be read ({error.strerror or error}).") from error


def _require_known(where: str, content: Mapping[str, object], known: Iterable[str]) -> None:
    names = sorted(set(known) - {"config"})
    for key in content:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}."
            raise RequestError(f"{where}: there is no option {key!r}; {hint}")


def _of_kind(url: str, key: str, value: object, kind: type) -> object:
    """A value as the command line would have it.

    Raises:
        RequestError: it is no number or no flag, where that is wanted.
    """
    if kind is list:
        return value if isinstance(value, list) else [value]
    if kind in _KINDS and type(value) is not kind:  # to Python true is a number too
        raise RequestError(f"{url}: {key} is {_KINDS[kind]}, not {value!r}.")
    if isinstance(value, dict):
        return json.dumps(value)
    return ",".join(map(str, value)) if isinstance(value, list) else value
