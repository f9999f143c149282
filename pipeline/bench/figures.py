"""What the benchmark tells: quantities measured again and again, in tables and in JSON."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One quantity, measured once per repeat.

    Attributes:
        values: in the order of the repeats, so that ratios are formed within each of them.
    """

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the repeats."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the way from the smallest to the largest, as a share of the median."""
        middle = self.median
        return (max(self.values) - min(self.values)) / 2 / middle if middle else 0.0

    def __truediv__(self, other: "Figure") -> "Figure":
        """The ratio within each repeat: what a machine drifts by between them drops out."""
        return combined(lambda one, another: one / another, self, other)

    def shown(self, decimals: int) -> str:
        """For a table."""
        spread = f" ±{self.spread:.0%}" if len(self.values) > 1 else ""
        return f"{self.median:.{decimals}f}{spread}"

    def data(self) -> dict[str, Any]:
        """For machines."""
        return {
            "median": self.median,
            "smallest": min(self.values),
            "largest": max(self.values),
            "repeats": list(self.values),
        }


def combined(function: Callable[..., float], *figures: Figure) -> Figure:
    """A figure that follows from others, repeat by repeat."""
    rows = zip(*(figure.values for figure in figures), strict=True)
    return Figure(tuple(function(*row) for row in rows))


def bound(net: Figure, decoding: Figure) -> Figure:
    """Images/s that nobody can pass who does both on the same cores."""
    return combined(lambda one, other: 1 / (1 / one + 1 / other), net, decoding)


def repeated(repeats: int) -> str:
    """How to read the cells of a table."""
    if repeats == 1:
        return "Measured once."
    return f"Medians of {repeats} repeats ± half the way from the smallest to the largest."


@dataclass(frozen=True)
class Column:
    """A column of a block.

    Attributes:
        key: its name in the JSON.
        header: its name in the table, with the unit.
        decimals: shown in the table.
    """

    key: str
    header: str
    decimals: int = 1


@dataclass(frozen=True)
class Finding:
    """What a section found, both ways."""

    table: Table
    data: dict[str, Any]


@dataclass(frozen=True)
class Block:
    """Figures of one section on one net.

    Attributes:
        title: what was measured, on what.
        columns: in the order of the table.
        rows: what was compared → column's key → figure; what makes no sense is left out.
        facts: what else machines should know.
        notes: what else readers should know, in sentences.
    """

    title: str
    columns: Sequence[Column]
    rows: Mapping[str, Mapping[str, Figure]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def finding(self) -> Finding:
        """For the report."""
        return Finding(self._table(), self._data())

    def _table(self) -> Table:
        made = Table(
            title=self.title, caption="\n".join(self._captions()), box=None,
            title_justify="left", caption_justify="left", title_style="bold",
        )  # fmt: skip
        made.add_column("")
        for column in self.columns:
            made.add_column(column.header, justify="right", vertical="bottom")
        for name, row in self.rows.items():
            cells = (
                row[column.key].shown(column.decimals) if column.key in row else ""
                for column in self.columns
            )
            made.add_row(name, *cells)
        return made

    def _captions(self) -> list[str]:
        figure = next(figure for row in self.rows.values() for figure in row.values())
        return [*self.notes, repeated(len(figure.values))]

    def _data(self) -> dict[str, Any]:
        rows = {
            name: {key: figure.data() for key, figure in row.items()}
            for name, row in self.rows.items()
        }
        return {"title": self.title, **self.facts, "rows": rows, "notes": list(self.notes)}
