"""A run in a notebook: its winners as data frames, its sheets and projections as pictures."""

from dataclasses import replace
from functools import cached_property
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline.atlas import sheets
from pipeline.core.heaps.topk import strongest
from pipeline.core.nets.known import Net
from pipeline.core.projection.deconvnet import Seeds, Unpooling, ascend
from pipeline.core.projection.position import project_position
from pipeline.core.render import projection_contrast
from pipeline.data.pictures import read_picture
from pipeline.data.store import Options, Store
from pipeline.data.stored.results import (
    read_feature_maps,
    read_projections,
    read_skipped,
    read_spec,
    read_winners,
)
from pipeline.data.stored.standing import Standing
from pipeline.data.weights.load import load_net
from pipeline.errors import RequestError
from pipeline.stages.explain import explain_pictures, to_table


class Run:
    """A run anywhere: a local path or any fsspec URL.

    Args:
        url: where it is.
        storage_options: what fsspec is told beside it, as for `pandas.read_parquet`.

    Raises:
        RequestError: there is no run.
    """

    def __init__(self, url: str | Path, storage_options: Options | None = None) -> None:
        self.store = Store(url, storage_options)
        self.spec = read_spec(self.store)

    def __repr__(self) -> str:
        layers = ", ".join(layer.name for layer in self.spec.layers)
        return f"Run({self.store.url!r}: {self.spec.net} on {self.spec.data}, {layers})"

    @property
    def layers(self) -> list[str]:
        """The names of its layers, in the order of the forward pass."""
        return [layer.name for layer in self.spec.layers]

    def feature_maps(self) -> pd.DataFrame:
        """One row per feature map, with its statistics."""
        return read_feature_maps(self.store)

    def skipped(self) -> pd.DataFrame:
        """The samples that could not be used: shard, key and reason."""
        return read_skipped(self.store)

    def winners(self, layer: str | None = None, feature_map: int | None = None) -> pd.DataFrame:
        """The winners of the run, of a layer, or of one feature map, by rank.

        Raises:
            RequestError: there is no such layer or map, or the run is not mined to its end.
        """
        if layer is not None and feature_map is not None:
            self.spec.layer(layer).require_map(feature_map)
        layers = self.layers if layer is None else [self.spec.layer(layer).name]
        tables = []
        for name in layers:
            table = read_winners(self.store, name)
            column = pa.array([name] * len(table), pa.string())
            tables.append(table.add_column(0, "layer", column))
        table = pa.concat_tables(tables)
        if feature_map is not None:
            table = table.filter(pc.equal(table["feature_map"], feature_map))
        winners: pd.DataFrame = table.to_pandas()
        return winners

    def projections(self, layer: str, feature_map: int) -> pd.DataFrame:
        """The projections of one feature map by rank, with projection and patch as PNG bytes.

        Raises:
            RequestError: no such layer or map, a dead map, or nothing is projected yet.
        """
        self.spec.layer(layer).require_map(feature_map)
        rows = read_projections(self.store, layer, [feature_map])
        if rows.empty:
            dead = self.winners(layer, feature_map).empty
            why = "no image activates it" if dead else f"run {_project_command(self)} first"
            raise RequestError(f"Layer {layer}, feature map {feature_map}: {why}.")
        return rows

    def sheet(
        self, layer: str, feature_map: int, *, kept: sheets.Kept = "", duplicates: bool = True
    ) -> Image.Image:
        """The sheet of a feature map: its projections beside their patches.

        Args:
            layer: of the run.
            feature_map: which one.
            kept: of what the projections keep: ``dimmed``, where patches are dark elsewhere, or
                ``cropped``, where both show it alone.
            duplicates: whether winners are shown whose picture an earlier one has already.
        """
        rows = self.projections(layer, feature_map)
        if not duplicates:
            rows = rows[rows["same_as"].isna()]
            rows = rows.assign(rank=range(1, len(rows) + 1))
        limits, side = self.spec.preprocessing.input_size, sheets.longest_side(rows)
        layout = sheets.Layout.of(int(rows["rank"].max()), side, limits)
        return sheets.sheet(rows, layout, kept=kept)

    def projection(self, layer: str, feature_map: int, rank: int = 1) -> Image.Image:
        """The projection of one winner, as large as its receptive field."""
        rows = self.projections(layer, feature_map)
        of_rank = rows[rows["rank"] == rank]
        if not len(of_rank):
            raise RequestError(f"Layer {layer}, feature map {feature_map} has no rank {rank}.")
        return Image.open(BytesIO(of_rank["projection"].iloc[0]))

    @cached_property
    def net(self) -> Net:
        """The run's net with its weights.

        Raises:
            RequestError: the weights are gone, or are not those of the run any more.
        """
        spec = self.spec
        weighted = load_net(spec.net, spec.weights, spec.colour_order, spec.mean, spec.resize)
        if weighted.digest != self.spec.weights_digest:
            raise RequestError(
                f"The weights {self.spec.weights} are not those that {self.store.url} was mined "
                "with; put those back, or mine into another --run."
            )
        return weighted.net

    @cached_property
    def mined_net(self) -> Net:
        """The net with the run's layers alone."""
        return replace(self.net, graph=self.net.graph.only(self.layers))

    def project(
        self,
        picture: "str | Path | Image.Image",
        layer: str,
        feature_map: int | None = None,
        unpooling: Unpooling = "sum",
    ) -> Image.Image:
        """Project a picture of one's own: what it makes of a feature map's strongest place.

        Args:
            picture: a path, any fsspec URL, or a Pillow image.
            layer: of the run.
            feature_map: which one; the most strongly activated one if not given.
            unpooling: as in the deconvnet.

        Returns:
            The projection in projection contrast, as large as the net's input; mid-grey outside
            the receptive field.

        Raises:
            RequestError: there is no such layer or map, the picture cannot be used, or nothing in
                it activates the map.
        """
        if feature_map is not None:
            self.spec.layer(layer).require_map(feature_map)
        self.spec.layer(layer)
        graph = self.net.graph.only([layer])
        prepared = read_picture(picture, self.net.preprocessing).image
        ascent = ascend(graph, self.net.preprocessing.normalise(prepared[None]))
        values, places = strongest(ascent.activations[layer])
        if feature_map is None:
            feature_map = int(values[0].argmax())
        if not float(values[0, feature_map]) > 0:
            raise RequestError(f"The picture does not activate map {feature_map} of {layer}.")
        found = graph.layer(layer)
        y, x = divmod(int(places[0, feature_map]), found.size[1])
        seed = Seeds.at(feature_map, y, x, self.net.device)
        whole, _ = project_position(graph, found, ascent, seed, unpooling)
        return Image.fromarray(projection_contrast(whole))

    def ask(self, picture: "str | Path | Image.Image", maps: int = 3) -> pd.DataFrame:
        """What a picture of one's own excites most, and how that stands among the run's images.

        Args:
            picture: a path, any fsspec URL, or a Pillow image.
            maps: how many feature maps of each layer.

        Returns:
            One row per layer and feature map, the strongest first: as `explain` stores them, with
            projection and patch as PNG, and `stronger_than`, the share of the run's images that
            excite the map less. A layer that is wholly inactive has no rows.

        Raises:
            RequestError: the picture cannot be used, or the run does not tell how activations are
                spread.
        """
        layers = [layer.name for layer in self.spec.layers if not layer.no_way_down]
        read = read_picture(picture, self.net.preprocessing)
        (found,) = explain_pictures(self.net, [read], layers, maps, maps)
        rows: pd.DataFrame = to_table(found).to_pandas().dropna(subset=["feature_map"])
        keys = rows[["layer", "feature_map", "activation"]].itertuples(index=False, name=None)
        shares = [self.standing.share_below(layer, int(m), value) for layer, m, value in keys]
        known = rows.drop(columns=["sample", "label", "class_name", "image"])
        return known.astype({"feature_map": "int32"}).assign(stronger_than=shares)

    @cached_property
    def standing(self) -> Standing:
        """How activations stand among all images of the run.

        Raises:
            RequestError: the run does not tell how they are spread.
        """
        return Standing(self.store, self.layers)


def open_run(url: str | Path, storage_options: Options | None = None) -> Run:
    """Open a run anywhere: a local path or any fsspec URL."""
    return Run(url, storage_options)


def _project_command(run: Run) -> str:
    return f"`deconv-atlas project --run {run.store.url}`"
