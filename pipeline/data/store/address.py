"""What a URL says: which file system it means, with which options, and what of it may be shown."""

from collections.abc import Iterator, Mapping
from typing import Any

import fsspec

from pipeline.errors import RequestError

Options = Mapping[str, Any]
"""What fsspec is told beside a URL."""

_EXTRAS = {
    **{"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hf"},
    **dict.fromkeys(("abfs", "abfss", "az"), "azure"),
}
"""Scheme → the extra of this project that reads it."""

_PUBLIC = ("url", "endpoint", "region", "project", "profile", "protocol")
"""In the names of options whose values may be shown."""

_SHORTEST_SECRET = 6


def connect(url: str, options: Options) -> tuple[Any, str]:
    """The file system of a URL, and its own path there.

    Raises:
        RequestError: there is no such file system, a package lacks, or a password stands in it.
    """
    _refuse_password(url)
    try:
        fs, root = fsspec.core.url_to_fs(url, **_options_for(url, options))
    except ImportError as error:
        scheme = url.split("://")[0]
        extra = _EXTRAS.get(scheme)
        how = f"pip install '.[{extra}]'" if extra else str(error)
        raise RequestError(
            f"{url}: reading {scheme}:// needs a package that is not installed: {how}."
        ) from error
    except (ValueError, TypeError) as error:
        raise RequestError(f"{url}: {without_secrets(str(error), options)}.") from error
    return fs, root


def _refuse_password(url: str) -> None:
    """A URL is shown and kept in many places, where a password must not be."""
    scheme, found, rest = url.partition("://")
    user, at, place = rest.partition("/")[0].rpartition("@")
    if not (found and at and ":" in user):
        return
    options = (
        '{"username": …, "password": …}'
        if scheme in ("ftp", "sftp", "ssh")
        else '{"headers": {"Authorization": …}}'
    )
    raise RequestError(
        f"{scheme}://{place} is given with a password, and addresses are written into the results "
        f"and the logs; leave it out, and set FSSPEC_{scheme.upper()}='{options}' in the "
        "environment, of the workers too."
    )


def without_secrets(text: str, options: Options) -> str:
    """A text as one line, without the secrets in the options."""
    said = " ".join(text.split())
    for secret in _secrets(options):
        said = said.replace(secret, "…")
    return said


def _options_for(url: str, options: Options) -> dict[str, Any]:
    """Those of the options that are for this URL."""
    if fsspec.core.split_protocol(url)[0] in (None, "file", "local"):
        return {}
    chosen = {name: value for name, value in options.items() if "://" not in name}
    for start in sorted(options.keys() - chosen.keys()):
        if url.startswith(start):
            chosen |= options[start]
    return chosen


def _secrets(value: object, name: str = "") -> Iterator[str]:
    """Every text in options that may not be shown."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, name)
    elif isinstance(value, str):
        is_public = any(part in name.lower() for part in _PUBLIC)
        if len(value) >= _SHORTEST_SECRET and not is_public:
            yield value


def without_signature(url: str) -> str:
    """A URL without its query, which signs it; of other file systems a ``?`` is in the name."""
    return url.partition("?")[0] if url.startswith(("http://", "https://")) else url
