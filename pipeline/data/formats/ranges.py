"""Pictures of a tar by byte ranges, neighbours in one request."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.data.formats.reading import Piece, UnreadableError, read_files
from pipeline.data.samples import Located
from pipeline.data.store import ShortError, Store

_GAP = 256 << 10  # bytes between two pictures that a store sends in the time of a request
_MOST_AT_ONCE = 8 << 20  # bytes in one request


def fetch_ranges(shard: Store, wanted: Sequence[Located]) -> Iterator[tuple[Located, bytes]]:
    """Pictures of a plain tar, in the order of their places.

    Args:
        shard: the tar.
        wanted: pictures whose place in it is known.

    Raises:
        UnreadableError: the tar is shorter than it was.
        StoreError: the store does not answer.
    """
    groups = list(_together([_Extent.of(located) for located in wanted], shard.is_local))
    pieces = [Piece("", group[-1].end - group[0].start, group[0].start) for group in groups]
    for group, piece, data in zip(groups, pieces, read_files(shard, pieces), strict=True):
        if isinstance(data, ShortError):
            raise UnreadableError(f"the tar is cut short before {group[-1].located.key}") from data
        if isinstance(data, BaseException):
            raise data
        for extent in group:
            at = extent.start - (piece.start or 0)
            yield extent.located, data[at : at + extent.end - extent.start]


class _Extent(NamedTuple):
    """Where a picture's bytes are: from `start` on, and up to `end`."""

    start: int
    end: int
    located: Located

    @classmethod
    def of(cls, located: Located) -> "_Extent":
        start = located.offset or 0
        return cls(start, start + (located.length or 0), located)


def _together(extents: Sequence[_Extent], on_disk: bool) -> Iterator[list[_Extent]]:
    """Those that are worth one request: on a store it costs as much as many bytes between them."""
    group: list[_Extent] = []
    for extent in sorted(extents, key=lambda extent: extent.start):
        near = group and extent.start - group[-1].end <= _GAP
        if group and (on_disk or not near or extent.end - group[0].start > _MOST_AT_ONCE):
            yield group
            group = []
        group.append(extent)
    if group:
        yield group
