"""Where things are kept, on a disk or in a bucket, and what is done when that fails."""

from pipeline.data.store.address import Options, without_signature
from pipeline.data.store.headers import content_type
from pipeline.data.store.patience import ShortError
from pipeline.data.store.store import Store
from pipeline.data.store.version import changed_at, version_of

__all__ = [
    "Options",
    "ShortError",
    "Store",
    "changed_at",
    "content_type",
    "version_of",
    "without_signature",
]
