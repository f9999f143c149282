"""The stages: what travels to the workers, and what they do with it.

All that runs there is a plain function of `stages` or `atlas`. Each function here yields what
came of its units in any order, as soon as they are done, and raises:

    RequestError: the cluster can never seat a worker.
    IncompleteError: some units could not be done; the others are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from pipeline.atlas.unit import Unit, publish_unit
from pipeline.cluster.crew import Job
from pipeline.cluster.process import decoders
from pipeline.cluster.session import seats
from pipeline.cluster.shift import bounded
from pipeline.cluster.sight import look_for
from pipeline.core.nets.known import Net
from pipeline.core.nets.recipe import Recipe
from pipeline.data.batches import ON_PROCESSOR
from pipeline.data.formats.dataset import Dataset
from pipeline.data.nvjpeg import nvjpeg_if_there
from pipeline.data.samples import Part
from pipeline.data.store import Store
from pipeline.data.stored.blocks import Block
from pipeline.request import MineRequest, Precision, Workforce
from pipeline.schema import Pick
from pipeline.stages.compact import Compaction
from pipeline.stages.compact import compact as compact_block
from pipeline.stages.merging.condense import Range, condense
from pipeline.stages.merging.merge import Merged, merge_share
from pipeline.stages.merging.sources import Share, Sources
from pipeline.stages.mine import Miner
from pipeline.stages.part import PartDone, mine_part
from pipeline.stages.project import ProjectSettings, project_unit
from pipeline.stages.rescore import SecondLook, rescore_unit

_Unit = TypeVar("_Unit")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Target:
    """A net to mine, its layers, and where its results go."""

    net: Net
    layers: Sequence[str]
    run: Store

    @property
    def recipe(self) -> Recipe:
        """The net on its way to a worker."""
        return Recipe.of(self.net, self.layers)


Work = tuple[Part, Sequence[int]]
"""A part, and the targets that it is to be mined for, by number."""


def mine(
    targets: Sequence[Target],
    dataset: Dataset,
    work: Sequence[Work],
    precision: Precision,
    asked: MineRequest,
) -> Iterator[PartDone]:
    """Mine parts; yields each part when it is stored."""
    seat = seats(asked)
    recipes = [target.recipe for target in targets]
    runs = [anywhere(target.run) for target in targets]

    kept = dataset.share_kept

    def prepare(device: str) -> list[Miner]:
        nets = [recipe.make(device) for recipe in recipes]
        if precision == "exact":
            return [Miner.exact(net) for net in nets]
        decoding = nvjpeg_if_there(device) if asked.decoder == "nvjpeg" else ON_PROCESSOR
        return [Miner.screening(net, decoding) for net in nets]

    def do(miners: list[Miner], unit: Work) -> PartDone:
        part, wanted = unit
        for run in runs:
            look_for(run)
        chosen, places = zip(*((miners[target], runs[target]) for target in wanted), strict=True)
        return mine_part(chosen, dataset, part, places, asked.top_k, decoders(), kept)

    yield from bounded(Job(prepare, do), work, seat, "mine", lambda unit: unit[0].name)


def rescore(
    target: Target, dataset: Dataset, units: Sequence[SecondLook], top_k: int, workforce: Workforce
) -> Iterator[int]:
    """Look at images again exactly; yields how many each unit had."""
    seat, recipe = seats(workforce), target.recipe
    run, kept = anywhere(target.run), dataset.share_kept

    def do(miner: Miner, unit: SecondLook) -> int:
        look_for(run)
        return rescore_unit(miner, unit, dataset, run, top_k, decoders(), kept)

    job = Job(lambda device: Miner.exact(recipe.make(device)), do)
    yield from bounded(job, units, seat, "rescore", lambda unit: unit.file)


@dataclass(frozen=True)
class Merging:
    """Those who merge a run."""

    run: Store
    workforce: Workforce

    def condense(self, sources: Sources, ranges: Sequence[Range]) -> Iterator[None]:
        """Condense heaps; yields whenever a range is done."""
        run = anywhere(self.run)

        def do(_: None, part: Range) -> None:
            look_for(run)
            condense(run, sources, part)

        job, seat = Job(lambda _: None, do), seats(self.workforce)
        yield from bounded(job, ranges, seat, "condense", lambda part: f"part {part.first} and on")

    def merge(self, sources: Sources, shares: Sequence[Share]) -> Iterator[Merged]:
        """Merge layers; yields what came of each share."""
        run = anywhere(self.run)

        def do(_: None, share: Share) -> Merged:
            look_for(run)
            return merge_share(run, sources, share)

        job, seat = Job(lambda _: None, do), seats(self.workforce)
        yield from bounded(job, shares, seat, "merge", lambda share: f"layer {share.layers[0]}")


def project(
    net: Net,
    layers: Sequence[str],
    dataset: Dataset,
    tables: Sequence[tuple[Pick, pa.Table]],
    run: Store,
    settings: ProjectSettings,
    workforce: Workforce,
) -> Iterator[int]:
    """Project tables of winners or examples; yields how many each one had."""
    run = anywhere(run)

    def do(net: Net, unit: tuple[Pick, pa.Table]) -> int:
        look_for(run)
        pick, table = unit
        return project_unit(net, table, dataset, run, settings, pick)

    job = Job(Recipe.of(net, layers).make, do)
    yield from bounded(job, tables, seats(workforce), "project", _named_by_first)


def compact(run: Store, work: Sequence[Compaction], workforce: Workforce) -> Iterator[Block]:
    """Put what was projected into files by feature map; yields each block that is there."""
    run = anywhere(run)

    def do(_: None, unit: Compaction) -> Block:
        look_for(run)
        return compact_block(run, unit)

    job = Job(lambda _: None, do)
    yield from bounded(job, work, seats(workforce), "compact", lambda unit: unit.block.name)


def _named_by_first(unit: tuple[Pick, pa.Table]) -> str:
    pick, table = unit
    return f"the {pick.rows} from sample {table['sample'][0].as_py()} on"


def with_net(
    net: Net,
    units: Sequence[_Unit],
    do: Callable[[Net, _Unit], _Result],
    workforce: Workforce,
    what: str,
    name: Callable[[_Unit], str],
) -> Iterator[_Result]:
    """Whatever needs the whole net and no other state; yields what came of each unit."""
    layers = [layer.name for layer in net.graph.layers]
    job = Job(Recipe.of(net, layers, whole=True).make, do)
    yield from bounded(job, units, seats(workforce), what, name)


def publish(run: Store, dest: Store, units: Sequence[Unit], workers: int | None) -> Iterator[int]:
    """Make sheets, for which no net is needed; yields how many feature maps each unit was for."""
    run, dest = anywhere(run), anywhere(dest)
    seat = seats(Workforce(workers=workers, gpus="none"))

    def do(_: None, unit: Unit) -> int:
        look_for(run)
        publish_unit(run, dest, unit)
        return unit.last - unit.first

    job = Job(lambda _: None, do)
    yield from bounded(
        job, units, seat, "publish", lambda unit: f"{unit.layer} from map {unit.first}"
    )


def anywhere(store: Store) -> Store:
    """The same place for processes with another current folder."""
    return Store(store.path()) if store.is_local else store
