"""The pictures that words name: samples of a run, by their numbers or keys, and files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Wanted
from pipeline.data.samples import Located, Part
from pipeline.data.store import Store
from pipeline.data.stored.results import read_all_winners, require_mined
from pipeline.data.stored.tables import samples_in_part
from pipeline.errors import RequestError

_MOST_NUMBERS = 5
_COLUMNS = ["sample", "shard", "key", "offset", "length", "label", "class_name"]


def find_pictures(
    asked: Sequence[str],
    run: Store | None = None,
    dataset: Dataset | None = None,
    *,
    lists: bool = False,
) -> list[Wanted]:
    """What each word names: a sample of a run by its number or key, else a path or URL.

    Args:
        asked: as a user gave them.
        run: where samples are looked up; None takes every word for a path or URL.
        dataset: the run's.
        lists: whether a word may be several, with commas between; names may have commas too.

    Raises:
        RequestError: a sample is not in the dataset, a picture is nowhere, or there are several.
    """
    if run is None or dataset is None:
        return [Wanted(word) for word in asked]
    # most samples that one asks for have won something, and are found without a search
    known = Known.of(run, dataset)
    words = [word for text in asked for word in (known.listed(text) if lists else [text])]
    return [known.find(word) for word in words]


@dataclass(frozen=True)
class Known:
    """Where pictures are looked for: in a run, its dataset, and the current folder."""

    run: Store
    dataset: Dataset
    winners: pa.Table

    @classmethod
    def of(cls, run: Store, dataset: Dataset) -> "Known":
        """The pictures of a run that is mined to its end, and of its dataset."""
        return cls(run, dataset, read_all_winners(run, _COLUMNS))

    def listed(self, text: str) -> list[str]:
        """What a list with commas names, unless the whole is a name (or a URL with commas)."""
        pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
        if len(pieces) == 1 or self._is_picture(text):
            return [text]
        is_url = "://" in text
        if is_url and not all("://" in piece or self._is_picture(piece) for piece in pieces):
            return [text]
        return pieces

    def find(self, word: str) -> Wanted:
        """The picture that a word names.

        Raises:
            RequestError: there is none, or it cannot be used, or there are several.
        """
        sample = self.sample(word)
        here, is_here = Path(word), _is_file(word)
        if sample is None:
            if is_here or "://" in word:
                return Wanted(word)
            raise self._nowhere(word)
        assert sample.located is not None
        there = Path(sample.located.shard, sample.located.key)
        if is_here and not (there.is_file() and here.samefile(there)):
            raise RequestError(
                f"There are two pictures {word}: a file here, and sample {sample.sample} of the "
                f"run; give ./{word} for the one, or "
                f"{sample.name if word.isdecimal() else sample.sample} for the other."
            )
        return sample

    def sample(self, word: str) -> Wanted | None:
        """The sample of the run that a word names by its number or key; None if there is none.

        Raises:
            RequestError: it cannot be used, or there are several.
        """
        return self._winner(word) or self._search(word)

    def _is_picture(self, word: str) -> bool:
        return (
            word.isdecimal()
            or _is_file(word)
            or bool(self._rows_of(word))
            or self._is_file_of_dataset(word)
        )

    def _is_file_of_dataset(self, word: str) -> bool:
        return any(word in part.keys for part in self.dataset.parts())

    def _rows_of(self, word: str) -> list[dict[str, Any]]:
        column, value = ("sample", int(word)) if word.isdecimal() else ("key", word)
        try:
            wanted = pa.scalar(value, self.winners[column].type)
        except (OverflowError, UnicodeError):
            return []  # more than there can be, or bytes that are no text
        rows = self.winners.filter(pc.equal(self.winners[column], wanted))
        return list(rows.to_pylist())

    def _winner(self, word: str) -> Wanted | None:
        rows = self._rows_of(word)
        if not rows:
            return None
        numbers = sorted({row["sample"] for row in rows})
        if len(numbers) > 1:
            raise RequestError(
                f"Several samples of the run are called {word}; give the number of one: "
                f"{', '.join(map(str, numbers[:_MOST_NUMBERS]))}"
                f"{', …' if len(numbers) > _MOST_NUMBERS else '.'}"
            )
        row = rows[0]
        located = Located(row["shard"], row["key"], row["offset"], row["length"])
        return Wanted(row["key"], located, row["sample"], row["label"], row["class_name"])

    def _search(self, word: str) -> Wanted | None:
        """A sample that won nothing: by counting, or as a file of an image folder's parts.

        Raises:
            RequestError: it cannot be used, or the run is not mined to its end.
        """
        if not (word.isdecimal() or self._is_file_of_dataset(word)):
            return None
        first = 0
        for part, count in self._counts():
            if word.isdecimal():
                places = [int(word) - first] if first <= int(word) < first + count else []
            else:
                places = [part.keys.index(word)] if word in part.keys else []
            for place, sample in self.dataset.pick(part, places):
                if sample.problem is not None:
                    raise RequestError(f"{sample.key} cannot be used: {sample.problem}.")
                label = sample.label, sample.class_name
                return Wanted(sample.key, sample.located, first + place, *label)
            first += count
        return None

    def _counts(self) -> Iterator[tuple[Part, int]]:
        """The parts, and how many samples each has."""
        require_mined(self.run)
        name_of = schema.screen_name if self.run.list(schema.SCREEN) else schema.heap_name
        for part in self.dataset.parts():
            yield part, samples_in_part(self.run, name_of(part.name))

    def _nowhere(self, word: str) -> RequestError:
        if word.isdecimal():
            total = sum(count for _, count in self._counts())
            return RequestError(
                f"There is no sample {word}: the dataset has {total}, counted from 0."
            )
        return RequestError(
            f"There is no picture {word}: no such file, and no winner of the run has this key; "
            "check the path, or give the sample's number."
        )


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # a long list is longer than any name
        return False
