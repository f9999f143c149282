"""Runs over one dataset side by side: checkpoints of one net, or different nets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import pandas as pd
import pyarrow as pa
from rich.table import Table

from pipeline.atlas.drawing.page import Page
from pipeline.atlas.experiments.evolution import MAPS, MOST_LAYERS, Strongest, evolution_page
from pipeline.atlas.experiments.nets import MAPS as MAPS_OF_SIDE
from pipeline.atlas.experiments.nets import Pair, Side, nets_page
from pipeline.atlas.places import public_name
from pipeline.commands.experiments.gather import stored
from pipeline.config import choose_layers
from pipeline.core.evenly import evenly
from pipeline.data.store import Store
from pipeline.data.stored.results import projected_maps, read_projections
from pipeline.errors import RequestError
from pipeline.request import CompareRequest
from pipeline.run import Run
from pipeline.stages.experiments import matches
from pipeline.stages.experiments.evolution import evolution, opened
from pipeline.stages.experiments.matches import Mined
from pipeline.terminal import legible, progress

_PAIRS = 8


@dataclass(frozen=True)
class _Compared:
    """What came of it.

    Attributes:
        tables: name → rows.
        page: the figure.
        said: for the terminal.
    """

    tables: dict[str, pa.Table]
    page: Page
    said: Table


def compare_runs(request: CompareRequest) -> tuple[list[str], Table]:
    """Compare runs over one dataset, and store tables and a figure.

    Returns:
        Where everything is, and a summary.

    Raises:
        RequestError: a run is none, is not mined or projected, or is of other data than the first.
    """
    runs = [Run(url, request.storage_options) for url in request.runs]
    _require_comparable(runs)
    names = _names(runs)
    dest = Store(request.out or f"{runs[-1].store.url}/compare", request.storage_options)
    dest.require_room("--out")
    if _are_checkpoints(runs):
        layers = choose_layers(runs[-1].layers, request.layers, "The runs")
        compared = _checkpoints(runs, names, layers, request)
    else:
        compared = _nets(runs, names, request)
    for name, table in compared.tables.items():
        dest.write_table(f"{name}.parquet", table)
    figures = stored(dest, "figure", compared.page, svg=request.svg)
    files = [*(f"{name}.parquet" for name in compared.tables), *figures]
    return [f"{dest.url}/{file}" for file in files], compared.said


def _require_comparable(runs: Sequence[Run]) -> None:
    first = runs[0]
    if len(runs) == 1:
        raise RequestError(f"{first.store.url} alone is nothing to compare; give two runs or more.")
    for run in runs:
        if run.spec.fingerprint != first.spec.fingerprint:
            raise RequestError(
                f"{run.store.url} is not of the data that {first.store.url} is of; what wins can "
                "be compared over one dataset alone, so mine both over the same."
            )
        for layer in run.spec.layers:
            if not layer.no_way_down and not projected_maps(run.store, layer.name):
                raise RequestError(
                    f"{layer.name} of {run.store.url} is not projected: run `deconv-atlas project "
                    f"--run {run.store.url} --rank-limit 1` first."
                )


def _names(runs: Sequence[Run]) -> list[str]:
    """What runs are called: as much of the end of their places as tells them apart."""
    paths = [run.store.url.rstrip("/").split("/") for run in runs]
    for parts in range(1, max(map(len, paths))):
        names = ["/".join(path[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return ["/".join(path) for path in paths]


def _are_checkpoints(runs: Sequence[Run]) -> bool:
    """Whether all are of one net and its layers, so that a map is the same map in all of them."""
    kinds = {
        (run.spec.net, tuple((layer.name, layer.maps) for layer in run.spec.layers)) for run in runs
    }
    return len(kinds) == 1


def _ranks(runs: Sequence[Run]) -> int:
    """As many winners as all of them have; who keeps more would share more."""
    return min(run.spec.top_k for run in runs)


def _projectable(run: Run) -> list[str]:
    return [layer.name for layer in run.spec.layers if not layer.no_way_down]


# --- checkpoints --------------------------------------------------------------------------------


def _checkpoints(
    runs: Sequence[Run], names: Sequence[str], layers: Sequence[str], request: CompareRequest
) -> _Compared:
    layers = [layer for layer in layers if layer in _projectable(runs[0])]
    places = [(name, run.store) for name, run in zip(names, runs, strict=True)]
    with progress("comparing, layers of runs", len(layers) * len(runs)) as advance:
        table = evolution(places, layers, _ranks(runs), advance)
    rows = table.to_pandas()
    projections = _strongest(runs, rows, evenly(layers, MOST_LAYERS))
    spec = runs[-1].spec
    caption = [f"{spec.net}, data {public_name(spec.data)}; {', '.join(names)}"]
    page = evolution_page(rows, projections, names, layers, caption, request.width)
    return _Compared({"evolution": table}, page, _told(rows, names, layers))


def _strongest(runs: Sequence[Run], rows: pd.DataFrame, layers: Sequence[str]) -> Strongest:
    """The projections of the strongest winners of some maps that live in the end."""
    found: dict[tuple[str, int, int], bytes] = {}
    for layer in layers:
        last = rows[(rows["layer"] == layer) & (rows["checkpoint"] == len(runs))]
        maps = evenly(last.loc[last["active"] > 0, "feature_map"].tolist(), MAPS)
        for checkpoint, run in enumerate(runs, 1):
            columns = ["feature_map", "rank", "projection"]
            of_maps = read_projections(run.store, layer, maps, 1, columns)
            for feature_map, picture in zip(
                of_maps["feature_map"], of_maps["projection"], strict=True
            ):
                found[layer, int(feature_map), checkpoint] = picture
    return found


def _told(rows: pd.DataFrame, names: Sequence[str], layers: Sequence[str]) -> Table:
    """By layer, the share of living maps that have become themselves at each checkpoint."""
    table = Table("layer", "maps", "dead", *map(legible, names), box=None, pad_edge=False)
    for layer in layers:
        of_layer = rows[rows["layer"] == layer]
        last = of_layer[of_layer["checkpoint"] == len(names)]
        alive = last[last["active"] > 0]
        shares = [
            f"{100 * float((alive['became_itself'] <= number).mean()):.0f} %" if len(alive) else ""
            for number in range(1, len(names) + 1)
        ]
        dead = len(last) - len(alive)
        table.add_row(legible(layer), str(len(last)), str(dead), *shares)
    table.caption = "maps that share half of the last checkpoint's winners, or have before"
    return table


# --- nets ---------------------------------------------------------------------------------------


def _nets(runs: Sequence[Run], names: Sequence[str], request: CompareRequest) -> _Compared:
    mined = []
    for name, run in zip(names, runs, strict=True):
        chosen = [layer for layer in request.layers or run.layers if layer in _projectable(run)]
        if not chosen:
            asked = ", ".join(request.layers or ["all"])
            raise RequestError(f"{run.store.url} has none of the layers {asked}.")
        layers = choose_layers(_projectable(run), chosen, "The run")
        mined.append(Mined(name, run.net, run.store, layers, _ranks(runs)))
    pairs = list(permutations(mined, 2))
    with progress("comparing, nets and pairs of them", len(mined) + len(pairs)) as advance:
        spectra, nearest = [], []
        for each in mined:
            spectra.append(matches.spectra(each))
            advance(1)
        for one, other in pairs:
            nearest.append(matches.matches(one, other))
            advance(1)
    tables = {"spectra": pa.concat_tables(spectra), "matches": pa.concat_tables(nearest)}
    rows = tables["spectra"].to_pandas()
    sides = [_side(run) for run in mined]
    caption = [f"Data {public_name(runs[0].spec.data)}; {', '.join(names)}"]
    shown = list(_pairs(mined, nearest[0].to_pandas()))
    page = nets_page(sides, rows, shown, caption, request.width)
    return _Compared(tables, page, _summed_up(rows, tables["matches"].to_pandas()))


def _side(run: Mined) -> Side:
    filters, _ = matches.first_filters(run.net)
    second = run.layers[min(1, len(run.layers) - 1)]
    return Side(run.name, filters, second, matches.strongest(run.store, second, MAPS_OF_SIDE))


def _pairs(mined: Sequence[Mined], nearest: pd.DataFrame) -> Iterator[Pair]:
    """Of some of the first run's layers, the map that shares most winners with one of the next."""
    one, other = mined[0], mined[1]
    known = nearest.dropna(subset=["jaccard"])
    found = [layer for layer in one.layers if (known["layer"] == layer).any()]
    for layer in evenly(found, _PAIRS):
        of_layer = known[known["layer"] == layer]
        best = of_layer.sort_values("jaccard", ascending=False).to_dict("records")[0]
        maps = (layer, int(best["feature_map"])), (best["other_layer"], int(best["other_map"]))
        pictures = [
            read_projections(run.store, name, [number], 1, ["feature_map", "rank", "projection"])
            for run, (name, number) in zip((one, other), maps, strict=True)
        ]
        if all(len(rows) for rows in pictures):
            first, second = (opened(rows["projection"].iloc[0]) for rows in pictures)
            names = [
                f"{run.name}: {name}, map {number}"
                for run, (name, number) in zip((one, other), maps, strict=True)
            ]
            note = f"{int(best['shared'])} winners in common (Jaccard {best['jaccard']:.2f})"
            yield Pair((names[0], names[1]), note, (first, second))


def _summed_up(spectra: pd.DataFrame, nearest: pd.DataFrame) -> Table:
    columns = ("run", "layer", "maps", "dead", "low", "high", "grid", "Jaccard", "by class")
    table = Table(*columns, box=None, pad_edge=False)
    for row in spectra.to_dict("records"):
        own = nearest[(nearest["run"] == row["run"]) & (nearest["layer"] == row["layer"])]
        numbers = [row["low"], row["high"], row["grid"]]
        numbers += [own["jaccard"].mean(), own["class_correlation"].mean()]
        shown = ["" if pd.isna(value) else f"{value:.2f}" for value in numbers]
        names = legible(row["run"]), legible(row["layer"])
        table.add_row(*names, str(row["maps"]), str(row["dead"]), *shown)
    table.caption = (
        "power of projections at low and high frequencies, grid of the first stride, and how near "
        "the nearest maps of the other runs are: winners in common, correlation by class"
    )
    return table
