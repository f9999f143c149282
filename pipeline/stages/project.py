"""Stage 2: send the winners back to pixels, image by image.

Each winning image is fetched once. Of it the net is run on what its winners see, or once on the
whole for all of them, whichever costs less. The activation is computed anew and compared with the
heap's, so every run checks itself from end to end.
"""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from pipeline.core.duplicates import picture_hashes
from pipeline.core.mask import Mask, mask_of
from pipeline.core.nets.known import Net
from pipeline.core.projection.deconvnet import Seeds, Unpooling
from pipeline.core.projection.either_way import Projected, project_either_way, whole_depths
from pipeline.core.render import in_colour, projection_contrast
from pipeline.data.decoding import decode
from pipeline.data.formats.dataset import Dataset
from pipeline.data.samples import Located
from pipeline.data.store import Store
from pipeline.errors import NumericsError, RequestError, SampleError
from pipeline.schema import WINNING, Pick
from pipeline.stages.waiting import unit_name

_IMAGES_AT_ONCE = 64

_TOLERANCE = 1e-3
"""How far a recomputed activation may be off, relative to it: another batch size, other threads
or another device change its last bits, and nothing else should."""

_ROUNDING = 1e-5
"""The same, relative to the layer's largest activation: rounding hits the small ones harder."""

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


def project_unit(
    net: Net,
    winners: pa.Table,
    dataset: Dataset,
    run: Store,
    settings: ProjectSettings,
    pick: Pick = WINNING,
) -> int:
    """Project one table of `waiting` and store the rows in one file.

    Args:
        net: with the layers of the winners, on the device to use.
        winners: the unit of work; those that are not missing only tell how to go about it.
        dataset: where their images are.
        run: where the projections go.
        settings: how.
        pick: what they are: winners or examples.

    Returns:
        How many winners were projected.

    Raises:
        NumericsError: an activation does not come out as in the heap.
        RequestError: the dataset has two pictures of one name that cannot be told apart.
        WriteError: a result could not be stored.
    """
    rows = [
        row
        for images, chunk in images_of(net, dataset, winners)
        for row in _project_images(net, images, chunk, settings)
    ]
    fields = list(schema.PROJECTED_ROW)
    fields += [schema.QUANTILE] if pick == schema.EXEMPLARY else []
    fields += [schema.PROJECTION_ARRAY] if settings.arrays else []
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    table = table.sort_by([(name, "ascending") for name in schema.PROJECTED_KEYS])
    run.write_table(schema.projected_name(unit_name(winners), pick), table, schema.ROWS_READ)
    return len(rows)


def images_of(net: Net, dataset: Dataset, winners: pa.Table) -> Iterator[tuple[Tensor, pa.Table]]:
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
) -> Iterator[dict[str, Any]]:
    """One row per winner on these images."""
    by_layer = {
        name: winners.filter(pc.equal(winners["layer"], name))
        for name in winners["layer"].unique().to_pylist()
    }
    # which way an image goes follows from all its winners, whatever a crash has left of them
    seeds = {name: seeds_of(of_layer, images.device) for name, of_layer in by_layer.items()}
    depths = whole_depths(net.graph, len(images), seeds)
    left = {name: of_layer.filter(of_layer["missing"]) for name, of_layer in by_layer.items()}
    left = {name: of_layer for name, of_layer in left.items() if len(of_layer)}
    seeds = {name: seeds_of(of_layer, images.device) for name, of_layer in left.items()}
    prepared = net.preprocessing.normalise(images).contiguous(memory_format=torch.channels_last)
    made = project_either_way(net.graph, prepared, seeds, settings.unpooling, depths)
    pixels = images.cpu().numpy()
    whole = _whole_pictures(pixels, left.values())
    hashes = picture_hashes(images)
    for name, of_layer in left.items():
        for row, image in _rows(name, pixels, of_layer, made[name], settings):
            row["picture"] = whole[image] if row["rank"] <= schema.RANKS_SHOWN else None
            yield row | {"picture_hash": hashes[image]}


def _whole_pictures(pixels: NDArray[np.uint8], winners: Iterable[pa.Table]) -> Mapping[int, bytes]:
    """The JPEG of each image (N, C, H, W) that an atlas may show, by its number."""
    shown = pc.field("rank") <= schema.RANKS_SHOWN
    wanted = {image for table in winners for image in table.filter(shown)["image"].to_pylist()}
    return {image: _jpeg(in_colour(pixels[image]).transpose(1, 2, 0)) for image in wanted}


def seeds_of(winners: pa.Table, device: torch.device) -> Seeds:
    """Winners as positions of the images that their column `image` numbers."""
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
) -> Iterator[tuple[dict[str, Any], int]]:
    """One row per winner of one layer, and the number of its image; these are (N, C, H, W)."""
    activations, projections = projected[0].cpu().numpy(), projected[1]
    _check(layer, winners, activations)
    names = [*schema.PROJECTED_ROW.names, schema.QUANTILE.name]
    copied = [name for name in names if name in winners.column_names]
    rows: list[dict[str, Any]] = winners.select(copied).to_pylist()
    for row, image, activation, projection in zip(
        rows, winners["image"].to_pylist(), activations.tolist(), projections, strict=True
    ):
        patch = pixels[image, :, row["top"] : row["bottom"], row["left"] : row["right"]]
        row["activation"] = activation
        row["projection"] = png(projection_contrast(projection))
        row["patch"] = png(in_colour(patch).transpose(1, 2, 0))
        row |= _mask(row, mask_of(projection))
        if settings.arrays:
            row["projection_array"] = projection.cpu().numpy().astype("<f4").tobytes()
        yield row, image


def _mask(row: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    """Where the projection of a row is strong."""
    height, width = row["bottom"] - row["top"], row["right"] - row["left"]
    top, left, bottom, right = mask.box(height, width)
    box = (row["top"] + top, row["left"] + left, row["top"] + bottom, row["left"] + right)
    stream = BytesIO()
    Image.fromarray(mask.cells).save(stream, "PNG")
    columns = {"mask": stream.getvalue(), "mask_share": mask.share}
    return columns | dict(zip(schema.MASK_SIDES, box, strict=True))


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
    # runs are all that pictures of this kind repeat: a sixth sooner than looking for more, and no
    # larger (3 % smaller than level 1's own way, on photographs)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()


def _jpeg(pixels: np.ndarray) -> bytes:
    """Encode uint8 (H, W, 3) to be looked at, in a tenth of a PNG's bytes."""
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=80)
    return stream.getvalue()
