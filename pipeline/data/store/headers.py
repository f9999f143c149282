"""What a bucket is told of an object, so that browsers show it and do not save it."""

from collections.abc import Sequence
from typing import Any

# not from `mimetypes`: what it knows depends on the machine
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "webp": "image/webp",
}

_NAMES = {"s3": "ContentType", "gs": "content_type", "gcs": "content_type"}
"""Protocol → what fsspec's file system calls the media type."""

_AZURE = {"abfs", "az", "abfss"}


def headers(protocol: str | Sequence[str], name: str) -> dict[str, Any]:
    """The options for writing an object.

    Args:
        protocol: of the file system, or all its names, the usual one first.
        name: of the object.
    """
    usual = protocol if isinstance(protocol, str) else protocol[0]
    if usual in _AZURE:
        return {"content_settings": {"content_type": content_type(name)}}
    return {_NAMES[usual]: content_type(name)} if usual in _NAMES else {}


def content_type(name: str) -> str:
    """The media type of an object, by its extension."""
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
