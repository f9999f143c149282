"""Stage 2: send the winners back to pixels, image by image.

Each winning image is fetched once. Of it the net is run on what its winners see, or once on the
whole for all of them, whichever costs less. The activation is computed anew and compared with the
heap's, so every run checks itself from end to end.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline import schema
from pipeline.core.nets.known import Net
from pipeline.core.projection.deconvnet import Seeds, Unpooling
from pipeline.core.projection.either_way import Projected, project_either_way, whole_depths
from pipeline.core.render import in_colour, projection_contrast
from pipeline.data.decoding import decode
from pipeline.data.formats.dataset import Dataset
from pipeline.data.results import (
    projection_files,
    projection_keys,
    read_feature_maps,
    read_winners,
)
from pipeline.data.samples import Located
from pipeline.data.store import Store
from pipeline.errors import NumericsError, RequestError, SampleError

_IMAGES_AT_ONCE = 64
_IMAGES_IN_TASK = 128
_WINNERS_IN_TASK = 1500

_TOLERANCE = 1e-3
"""How far a recomputed activation may be off, relative to it: another batch size, other threads
or another device change its last bits, and nothing else should."""

_ROUNDING = 1e-5
"""The same, relative to the layer's largest activation: rounding hits the small ones harder."""

_ORDER = ["sample", "layer", "feature_map", "rank"]
_WHERE = ["shard", "key", "offset", "length"]


@dataclass(frozen=True)
class ProjectSettings:
    """How projections are made; one run has one way.

    Attributes:
        unpooling: how overlapping windows of a pool are unpooled.
        arrays: whether the unnormalised projections are kept too.
    """

    unpooling: Unpooling = "sum"
    arrays: bool = False


def tasks(run: Store, layers: Sequence[str], rank_limit: int | None = None) -> list[pa.Table]:
    """The winners still to be projected, cut into units of work by image.

    Args:
        run: a run that has been mined.
        layers: to project.
        rank_limit: only ranks up to this one.

    Returns:
        Tables of winners with their `layer`, all of an image in one table, in the order of the
        dataset; in each at least one whose projection is `missing`.

    Raises:
        RequestError: the run has not been mined to its end.
        IncompleteError: a table is damaged.
    """
    maps = pa.Table.from_pandas(read_feature_maps(run, ["layer", "max"]))
    winners = pa.concat_tables([_wanted(run, layer, rank_limit, maps) for layer in layers])
    winners = winners.combine_chunks().sort_by([(name, "ascending") for name in _ORDER])
    if not len(winners):
        return []
    samples = winners["sample"].to_numpy()
    starts = np.flatnonzero(np.diff(samples, prepend=-1))  # of each image
    ends = np.append(starts[1:], len(samples))
    cuts, images = [0], 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if images == _IMAGES_IN_TASK or (images and end - cuts[-1] > _WINNERS_IN_TASK):
            cuts.append(start)
            images = 0
        images += 1
    bounds = zip(cuts, [*cuts[1:], len(samples)], strict=True)
    # cut first, whatever is done already: of two drivers at once both name their files alike
    units = [winners.slice(start, end - start) for start, end in bounds]
    return [unit for unit in units if missing(unit)]


def missing(unit: pa.Table) -> int:
    """How many winners of a unit of work have no projection yet."""
    return int(pc.sum(unit["missing"]).as_py())


def _wanted(run: Store, layer: str, rank_limit: int | None, maps: pa.Table) -> pa.Table:
    """The winners of a layer, the `largest` activation of the layer, and what is `missing`."""
    winners = read_winners(run, layer)
    if rank_limit is not None:
        winners = winners.filter(pc.less_equal(winners["rank"], rank_limit))
    files = projection_files(run, layer)
    done = [_map_and_rank(projection_keys(run, name)) for name in files]
    missing = ~np.isin(_map_and_rank(winners), np.concatenate([np.empty(0, np.int64), *done]))
    largest = pc.max(maps.filter(pc.equal(maps["layer"], layer))["max"]).as_py()
    return (
        winners.append_column("layer", pa.array([layer] * len(winners), pa.string()))
        .append_column("missing", pa.array(missing))
        .append_column("largest", pa.array(np.full(len(winners), largest, np.float32)))
    )  # fmt: skip


def _map_and_rank(rows: pa.Table) -> NDArray[np.int64]:
    """Both in one number."""
    both: NDArray[np.int64] = (
        rows["feature_map"].to_numpy().astype(np.int64) << 16 | rows["rank"].to_numpy()
    )
    return both


def project_task(
    net: Net, winners: pa.Table, dataset: Dataset, run: Store, settings: ProjectSettings
) -> int:
    """Project one table of `tasks` and store the rows, one file per layer.

    Args:
        net: with the layers of the winners, on the device to use.
        winners: the unit of work; those that are not missing only tell how to go about it.
        dataset: where their images are.
        run: where the projections go.
        settings: how.

    Returns:
        How many winners were projected.

    Raises:
        NumericsError: an activation does not come out as in the heap.
        RequestError: the dataset has two pictures of one name that cannot be told apart.
        WriteError: a result could not be stored.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    for images, chunk in _images(net, dataset, winners):
        for layer, made in _project_images(net, images, chunk, settings):
            rows.setdefault(layer, []).extend(made)
    fields = list(schema.PROJECTION)
    if settings.arrays:
        fields.append(schema.PROJECTION_ARRAY)
    for layer, of_layer in rows.items():
        table = pa.Table.from_pylist(of_layer, schema=pa.schema(fields))
        run.write_table(schema.projections_name(layer, _batch_name(table)), table)
    return missing(winners)


def _batch_name(table: pa.Table) -> str:
    """A name that follows from which winners a file holds."""
    keys = table.select(["feature_map", "rank"]).to_pandas().to_csv(index=False)
    return f"part-{hashlib.sha256(keys.encode()).hexdigest()[:16]}"


def _images(net: Net, dataset: Dataset, winners: pa.Table) -> Iterator[tuple[Tensor, pa.Table]]:
    """Some images (N, C, H, W) at a time, and their winners with the `image` of each."""
    located = [
        Located(row["shard"], row["key"], row["offset"], row["length"])
        for row in winners.select(_WHERE).to_pylist()
    ]
    names = _named(located, winners["sample"].to_pylist())
    pictures = _pictures(net, dataset, list(names))
    while batch := list(islice(pictures, _IMAGES_AT_ONCE)):
        samples = pa.array([names[where] for where, _ in batch])
        chunk = winners.filter(pc.is_in(winners["sample"], samples))
        places = pc.index_in(chunk["sample"], samples)
        images = torch.stack([image for _, image in batch])
        yield images.to(net.device), chunk.append_column("image", places)


def _named(located: Sequence[Located], samples: Sequence[int]) -> dict[Located, int]:
    """The sample that is at each place."""
    names: dict[Located, int] = {}
    for where, sample in zip(located, samples, strict=True):
        if names.setdefault(where, sample) != sample:  # only in a compressed tar, without offsets
            raise RequestError(
                f"{where.shard} holds {where.key} twice, and which one won cannot be told in a "
                "compressed tar; decompress it or rename one, and mine it into a new run."
            )
    return names


def _pictures(
    net: Net, dataset: Dataset, located: Sequence[Located]
) -> Iterator[tuple[Located, Tensor]]:
    """The images as the net takes them, the next ones decoded while these are used."""

    def prepare(found: tuple[Located, bytes]) -> tuple[Located, Tensor]:
        where, data = found
        try:
            return where, net.preprocessing.prepare(decode(data, net.preprocessing.mode))
        except SampleError as error:
            raise NumericsError(
                f"{where.key} of {where.shard} could be read when it was mined, but not now: "
                f"{error}. Has the dataset changed? Mine it into a new run."
            ) from error

    with ThreadPoolExecutor(1) as pool:
        ahead: deque[Future[tuple[Located, Tensor]]] = deque()
        for found in dataset.fetch(located):
            ahead.append(pool.submit(prepare, found))
            if len(ahead) > _IMAGES_AT_ONCE:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _project_images(
    net: Net, images: Tensor, winners: pa.Table, settings: ProjectSettings
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Of each layer that has winners on these images, one row per winner."""
    by_layer = {
        name: winners.filter(pc.equal(winners["layer"], name))
        for name in winners["layer"].unique().to_pylist()
    }
    # which way an image goes follows from all its winners, whatever a crash has left of them
    seeds = {name: _seeds(of_layer, images.device) for name, of_layer in by_layer.items()}
    depths = whole_depths(net.graph, len(images), seeds)
    left = {name: of_layer.filter(of_layer["missing"]) for name, of_layer in by_layer.items()}
    left = {name: of_layer for name, of_layer in left.items() if len(of_layer)}
    seeds = {name: _seeds(of_layer, images.device) for name, of_layer in left.items()}
    prepared = net.preprocessing.normalise(images).contiguous(memory_format=torch.channels_last)
    made = project_either_way(net.graph, prepared, seeds, settings.unpooling, depths)
    pixels = images.cpu().numpy()
    for name, of_layer in left.items():
        yield name, _rows(name, pixels, of_layer, made[name], settings)


def _seeds(winners: pa.Table, device: torch.device) -> Seeds:
    return Seeds(
        *(
            torch.from_numpy(winners[key].to_numpy().astype(np.int64)).to(device)
            for key in ("image", "feature_map", "y", "x")
        )
    )


def _rows(
    layer: str,
    pixels: NDArray[np.uint8],
    winners: pa.Table,
    projected: Projected,
    settings: ProjectSettings,
) -> list[dict[str, Any]]:
    """One row per winner of one layer; the images are (N, C, H, W)."""
    activations, projections = projected[0].cpu().numpy(), projected[1]
    _check(layer, winners, activations)
    copied = [name for name in schema.PROJECTION.names if name in winners.column_names]
    rows: list[dict[str, Any]] = winners.select(copied).to_pylist()
    for row, image, activation, projection in zip(
        rows, winners["image"].to_pylist(), activations.tolist(), projections, strict=True
    ):
        patch = pixels[image, :, row["top"] : row["bottom"], row["left"] : row["right"]]
        row["activation"] = activation
        row["projection"] = png(projection_contrast(projection))
        row["patch"] = png(in_colour(patch).transpose(1, 2, 0))
        if settings.arrays:
            row["projection_array"] = projection.cpu().numpy().astype("<f4").tobytes()
    return rows


def _check(layer: str, winners: pa.Table, activations: np.ndarray) -> None:
    mined, largest = (winners[name].to_numpy() for name in ("activation", "largest"))
    allowed = _TOLERANCE * np.abs(mined) + _ROUNDING * largest
    wrong = np.flatnonzero(~(np.abs(activations - mined) <= allowed))
    if len(wrong):
        row = winners.slice(wrong[0], 1).to_pylist()[0]
        raise NumericsError(
            f"Layer {layer}, feature map {row['feature_map']}, rank {row['rank']}: the activation "
            f"on {row['key']} of {row['shard']} is {activations[wrong[0]]:.6g}, but "
            f"{mined[wrong[0]]:.6g} was mined. Has the dataset changed? Mine it into a new run."
        )


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 (H, W, 3) as PNG."""
    stream = BytesIO()
    # projections hardly compress further, and a hundred thousand are written
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
