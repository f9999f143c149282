"""What the benchmark tells: figures in tables and in JSON.

A figure is an array, one quantity measured once per repeat. So ratios are formed within each
repeat, and what a machine drifts by between them drops out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

Row = dict[str, NDArray[np.float64]]  # figures of one rival by their keys


class Column(NamedTuple):
    """How readers see a quantity."""

    header: str
    decimals: int = 1
    scale: float = 1.0


LIMITED = {
    "ratio": Column("ratio", 2),
    "limit": Column("limit", 2),
    "share": Column("share\nof limit", 2),
}


@dataclass(frozen=True)
class Finding:
    """What a section found out."""

    title: str  # what was measured, on what
    columns: Mapping[str, Column]  # of the table, by their keys in the rows
    rows: Mapping[str, Mapping[str, Any]]  # rival → key → figure, number or text
    facts: Mapping[str, Any]  # what else machines should know
    notes: Sequence[str] = ()  # what else readers should know

    def table(self) -> Table:
        """For the terminal."""
        sizes = [np.size(cell) for row in self.rows.values() for cell in row.values()]
        repeats = max(sizes, default=1)
        how = f"Medians of {repeats} repeats ± half the way from the smallest to the largest."
        caption = "\n".join([*self.notes, how if repeats > 1 else "Measured once."])
        table = Table(
            title=self.title, title_style="bold", title_justify="left",
            caption=caption, caption_justify="left", box=None,
        )  # fmt: skip
        table.add_column("")
        for column in self.columns.values():
            table.add_column(column.header, justify="right", vertical="bottom")
        for name, row in self.rows.items():
            cells = (shown(row.get(key, ""), column) for key, column in self.columns.items())
            table.add_row(name, *cells)
        return table

    def data(self) -> dict[str, Any]:
        """For the JSON, with `figure_data` as the default of `json.dumps`."""
        return {"title": self.title, **self.facts, "rows": self.rows, "notes": self.notes}


def shown(cell: Any, column: Column) -> str:
    """A cell of a table; the spread of a figure as a share of its median."""
    if isinstance(cell, str):
        return cell
    median = np.median(cell)
    spread = f" ±{np.ptp(cell) / 2 / median if median else 0:.0%}" if np.size(cell) > 1 else ""
    return f"{column.scale * median:.{column.decimals}f}{spread}"


def figure_data(figure: NDArray[np.float64]) -> dict[str, Any]:
    """A figure for the JSON."""
    smallest, median, largest = np.quantile(figure, (0, 0.5, 1)).tolist()
    repeats = figure.tolist()
    return {"median": median, "smallest": smallest, "largest": largest, "repeats": repeats}


def limited(row: Row, slow: str, fast: str, limit: float) -> dict[str, Any]:
    """A row with the columns `LIMITED`: how many times faster, and how much of what is possible."""
    ratio = row[slow] / row[fast]
    return {**row, "ratio": ratio, "limit": limit, "share": float(np.median(ratio)) / limit}
