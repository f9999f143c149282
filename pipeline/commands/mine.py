"""Stage 1, from a request to a finished run: checked first, then mined, then merged."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline import schema
from pipeline.cluster import session
from pipeline.cluster import stages as cluster
from pipeline.cluster.stages import Target
from pipeline.commands.extend import extend
from pipeline.commands.precision import chosen_precision, require_decoder
from pipeline.commands.remarks import say_remarks, say_unnamed, say_what_is_left_out
from pipeline.commands.report import reported
from pipeline.config import LayerSpec, MinedBy, RunSpec, choose_layers, versions
from pipeline.core.nets.known import Net
from pipeline.data.class_name_files import names_for_labels
from pipeline.data.formats.dataset import Dataset, Found, find_dataset
from pipeline.data.labels import LabelFile, load_labels
from pipeline.data.machines import machines_of, unlike
from pipeline.data.samples import Asked
from pipeline.data.store import Store
from pipeline.data.stored.listing import keep_listing
from pipeline.data.stored.results import is_mined, parts_done, read_spec, require_few_skipped
from pipeline.data.weights.files import is_at_hand
from pipeline.data.weights.load import Weighted, load_net
from pipeline.errors import RequestError, WriteError
from pipeline.request import MineRequest, Mining, Precision
from pipeline.run import Run
from pipeline.stages.merging.condense import Range
from pipeline.stages.merging.merge import Merged, merge
from pipeline.stages.merging.sources import Share, Sources
from pipeline.stages.rescore import Looks
from pipeline.terminal import progress, waiting

log = logging.getLogger(__name__)

_NO_PLACE = (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError)


@dataclass(frozen=True)
class _Job:
    """A request that was checked."""

    request: MineRequest
    net: Net
    spec: RunSpec
    dataset: Dataset
    run: Store
    changes: bool  # it has begun, and other parts are missing than were

    @property
    def alike(self) -> tuple[Dataset, Precision]:
        """What jobs that are done together have in common."""
        return self.dataset, self.spec.precision

    @property
    def target(self) -> Target:
        return Target(self.net, [layer.name for layer in self.spec.layers], self.run)


def mine_run(request: MineRequest) -> Run:
    """Stage 1 and the merge; goes on where an interrupted run stopped.

    Raises:
        RequestError: the request is wrong, or disagrees with the run.
        IncompleteError: parts are missing; the same request again does only those.
        NumericsError: what is not finite is so when it is computed again.
    """
    return mine_runs([request])[0]


def mine_runs(requests: Sequence[MineRequest]) -> list[Run]:
    """Several nets in one pass over the data: each picture is read and decoded once.

    Args:
        requests: which differ in net, weights, layers and run alone.

    Raises:
        RequestError: one of them is wrong, or disagrees with its run.
        IncompleteError: parts are missing, and the same requests again do only those; or too
            many samples were skipped.
        NumericsError: what is not finite is so when it is computed again.
    """
    asked = requests[0]
    options = asked.storage_options
    with waiting(f"Listing {asked.data}"):
        found = find_dataset(
            asked.data, format=asked.format, asked=Asked.by(asked), options=options
        )
        labels = load_labels(asked.labels, options) if asked.labels is not None else None
    require_decoder(asked)
    for request in requests:  # before any weights are fetched
        Store(request.run, options).require_room("--run")
        _check_layers(request)
    jobs = [_checked(request, found, labels) for request in requests]
    for job in jobs:
        _require_alike(job)
    for job in jobs:
        if job.changes:
            extend(job.run, job.spec, job.dataset, job.request.retry_skipped)
    unmined = [job for job in jobs if not is_mined(job.run)]
    if unmined:
        count = max(job.dataset.approximate_count for job in unmined)
        with session.connected(asked.address, count):
            session.seats(asked)  # a request that is refused leaves nothing behind
            for job in unmined:
                _begin(job)
                job.run.sweep()
                session.require_in_sight(job.run)
            while unmined:
                # nets whose classes have other names read the same pictures as other samples
                first = unmined[0].alike
                _mine_parts([job for job in unmined if job.alike == first])
                unmined = [job for job in unmined if job.alike != first]
    runs = [Run(job.run.url, job.run.options) for job in jobs]
    for request, run in zip(requests, runs, strict=True):
        require_few_skipped(run.store, request.max_skipped)
    return runs


def _check_layers(request: MineRequest) -> None:
    """Refuse names of layers before weights have to be fetched: the net without them tells."""
    if request.layers and not is_at_hand(request.weights, request.net):
        graph = load_net(request.net, "random:0").net.graph
        names = [layer.name for layer in graph.layers]
        choose_layers(names, request.layers, f"Net {request.net}")


def _checked(request: MineRequest, found: Found, labels: LabelFile | None) -> _Job:
    run = Store(request.run, request.storage_options)
    with waiting(f"Reading the weights of {request.net}"):
        weighted = load_net(
            request.net, request.weights, request.colour_order, request.mean, request.resize
        )
    names = [layer.name for layer in weighted.net.graph.layers]
    layers = choose_layers(names, request.layers, f"Net {request.net}")
    say_what_is_left_out(weighted.net, layers)
    classes = names_for_labels(request.class_names, weighted.net)
    dataset = found.open(classes, labels)
    dataset.parts()  # before anything is stored
    if request.class_names is None:
        say_unnamed(dataset, weighted.net)
    before = read_spec(run) if run.exists(schema.RUN) else None
    maps = sum(weighted.net.graph.layer(name).maps for name in layers)
    precision = chosen_precision(request, before, dataset, maps)
    spec = _spec(request, weighted, dataset, layers, labels, precision)
    may_grow = request.extend or request.retry_skipped
    grows = may_grow and before is not None and before.fingerprint != spec.fingerprint
    if before is not None:
        require = spec.require_same_but_data if grows else spec.require_same
        require(before, run.url)
    differs = before is not None and before.examples != spec.examples
    changes = grows or differs or (request.retry_skipped and before is not None)
    return _Job(request, weighted.net, spec, dataset, run, changes)


def _mine_parts(jobs: Sequence[_Job]) -> None:
    """Mine what is missing of jobs on one dataset, and merge each of them."""
    dataset, asked = jobs[0].dataset, jobs[0].request
    parts, precision = dataset.parts(), jobs[0].spec.precision
    exact = precision == "exact"
    what = "mining, parts" if exact else "screening, parts"
    done = [parts_done(job.run, job.spec.parts_folder) for job in jobs]
    work = []
    for part in parts:
        missing = [number for number in range(len(jobs)) if part.name not in done[number]]
        if missing:
            work.append((part, missing))
    if work:
        targets = [job.target for job in jobs]
        first = None
        runs = [job.run for job in jobs]
        with reported(runs, "mine", what, len(parts), len(parts) - len(work)) as report:
            for part_done in cluster.mine(targets, dataset, work, precision, asked):
                report.part(part_done)
                first = first or part_done.machine
                if part_done.machine != first:
                    for job in jobs:
                        _require_alike(job)
    remarks: dict[str, None] = {}
    for job in jobs:
        looks = None if exact else _look_again(job)
        _note_machines(job)
        names = [part.name for part in parts]
        remarks |= dict.fromkeys(
            merge(job.run, job.spec, names, looks, _Merging(job), dataset.share_kept)
        )
    say_remarks(list(remarks))


@dataclass(frozen=True)
class _Merging:
    """Merging, on the terminal."""

    job: _Job

    @property
    def _workers(self) -> cluster.Merging:
        return cluster.Merging(self.job.run, self.job.request)

    def condense(self, sources: Sources, ranges: Sequence[Range]) -> Iterator[None]:
        with progress("condensing, heaps of parts", len(ranges)) as advance:
            for done in self._workers.condense(sources, ranges):
                advance(1)
                yield done

    def merge(self, sources: Sources, shares: Sequence[Share]) -> Iterator[Merged]:
        with progress("merging, layers", len(self.job.spec.layers)) as advance:
            for merged in self._workers.merge(sources, shares):
                advance(len(merged.layers))
                yield merged


def _mined_by(run: Store) -> tuple[MinedBy, ...]:
    return machines_of(run, [*run.list(schema.SCREEN), *run.list(schema.HEAPS)])


def _require_alike(job: _Job) -> None:
    """With --same-machines, refuse what unlike ones have mined so far."""
    what = unlike(_mined_by(job.run)) if job.request.same_machines else None
    if what:
        raise RequestError(
            f"{job.run.url} was mined by unlike machines ({what}), which --same-machines refuses; "
            "leave it out, or remove the files of one kind and give workers of the other alone."
        )


def _note_machines(job: _Job) -> None:
    """Write into `run.json` who mined the run."""
    _require_alike(job)
    spec = read_spec(job.run).model_copy(update={"machines": _mined_by(job.run)})
    job.run.write(schema.RUN, spec.model_dump_json(indent=2).encode())


def _look_again(job: _Job) -> Looks:
    """After screening: look exactly at whatever may be a winner, until nothing is left."""
    looks = Looks(job.run, job.dataset.parts(), job.request.top_k, job.dataset.share_kept)
    while units := looks.next():
        done = set(job.run.list(schema.HEAPS))
        missing = [unit for unit in units if unit.file not in done]
        if missing:
            total = sum(len(unit.samples) for unit in missing)
            with progress("looking again, images", total) as advance:
                for count in cluster.rescore(
                    job.target, job.dataset, missing, job.request.top_k, job.request
                ):
                    advance(count)
        looks.learn(units)
    return looks


def _begin(job: _Job) -> None:
    """Write what the run is, where nothing is yet.

    Raises:
        RequestError: there is no such place, or writing is not allowed there.
        WriteError: no room.
    """
    run = job.run
    if run.exists(schema.RUN):
        return
    try:
        keep_listing(run, job.dataset)
        run.write(schema.RUN, job.spec.model_dump_json(indent=2).encode())
    except WriteError as error:
        if isinstance(error.__cause__, _NO_PLACE):
            raise RequestError(
                f"Nothing can be written at {run.url} ({error.__cause__}); name another --run."
            ) from error
        raise


def _spec(
    request: MineRequest,
    weighted: Weighted,
    dataset: Dataset,
    layers: Sequence[str],
    labels: LabelFile | None,
    precision: Precision,
) -> RunSpec:
    net = weighted.net
    own = {
        "net": net.name,
        "weights": weighted.weights,
        "weights_digest": weighted.digest,
        "classes": net.classes,
        "preprocessing": net.preprocessing,
        "precision": precision,
        "layers": [LayerSpec.of(net.graph, net.graph.layer(name)) for name in layers],
        "data": dataset.url,
        "format": dataset.format,
        "fingerprint": dataset.fingerprint,
        "labels": labels and labels.url,
        "labels_digest": labels and labels.digest,
        "versions": versions(),
    }
    return RunSpec.model_validate(request.model_dump(include=set(Mining.model_fields)) | own)
