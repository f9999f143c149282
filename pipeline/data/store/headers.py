"""What a bucket is told of an object, so that browsers show it and do not save it."""

import gzip
from collections.abc import Sequence
from typing import Any, Literal

Kept = Literal["forever", "never"]
"""How long browsers may keep an object: what is never exchanged, or what may be any time."""

# not from `mimetypes`: what it knows depends on the machine
_TYPES = {
    "avif": "image/avif",
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "jpg": "image/jpeg",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webp": "image/webp",
}

_CACHE = {"forever": "public, max-age=31536000, immutable", "never": "no-cache"}

_PACKED = {"css", "html", "js"}
"""Extensions of what buckets store as gzip: they pack nothing by themselves, as servers do."""

_AZURE = {"abfs", "az", "abfss"}
_GOOGLE = {"gs", "gcs"}


def told(
    protocol: str | Sequence[str], name: str, data: bytes, kept: Kept | None = None
) -> tuple[bytes, dict[str, Any]]:
    """An object as it is stored, and the options for writing it.

    Args:
        protocol: of the file system, or all its names, the usual one first.
        name: of the object.
        data: its content.
        kept: of what browsers read; what it can, the bucket then holds packed.
    """
    usual = protocol if isinstance(protocol, str) else protocol[0]
    if usual not in {"s3", *_GOOGLE, *_AZURE}:
        return data, {}
    more = {}
    if kept is not None:
        more["cache_control"] = _CACHE[kept]
        if small := packed(name, data):
            data, more["content_encoding"] = small, "gzip"
    if usual in _AZURE:
        return data, {"content_settings": {"content_type": content_type(name), **more}}
    if usual in _GOOGLE:
        return data, {
            "content_type": content_type(name),
            **({"fixed_key_metadata": more} if more else {}),
        }
    return data, {"ContentType": content_type(name)} | {_S3[key]: more[key] for key in more}


def packed(name: str, data: bytes) -> bytes | None:
    """An object as gzip; None where that makes it no smaller, as with pictures."""
    return gzip.compress(data, 6, mtime=0) if name.rpartition(".")[2] in _PACKED else None


def unpacked(name: str, data: bytes) -> bytes:
    """What was stored as an object, whether the bucket holds it packed or not."""
    is_packed = name.rpartition(".")[2] in _PACKED and data.startswith(_GZIP)
    return gzip.decompress(data) if is_packed else data


_GZIP = b"\x1f\x8b"
_S3 = {"cache_control": "CacheControl", "content_encoding": "ContentEncoding"}


def content_type(name: str) -> str:
    """The media type of an object, by its extension."""
    return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")


def cache_control(kept: Kept) -> str:
    """What browsers are told of how long they may keep it."""
    return _CACHE[kept]
