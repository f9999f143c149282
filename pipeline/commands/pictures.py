"""What the commands on single pictures do: explain, occlude, and the poster made of both."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pipeline.atlas.poster.choice import example_pictures
from pipeline.atlas.poster.compose import compose, most_telling
from pipeline.cluster import connection
from pipeline.cluster import stages as cluster
from pipeline.commands.project import dataset_of
from pipeline.core.nets.known import Net
from pipeline.data.class_names import ClassNames, load_class_names
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Made, Wanted, find_pictures, read_picture
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.progress import progress
from pipeline.run import Run, resolve_layers
from pipeline.stages import explain_files, occlude_files
from pipeline.stages.explain import explain as explain_pictures
from pipeline.stages.explain_files import ExplainRequest, explain_unit, run_caption
from pipeline.stages.occlude import Occluded, OccludeSettings, check, prepare
from pipeline.stages.occlude import occlude as occlude_picture
from pipeline.stages.occlude_files import OccludeRequest, occlude_unit

POSTER_EXAMPLES = 2
_MOST_REASONS = 5
_POSTER_TRIALS = 8
"""Pictures that are occluded for the poster; the most telling one is shown."""


def explain(
    url: str,
    images: Sequence[str],
    *,
    layers: Sequence[str] | None = None,
    workers: int | None = None,
    address: str | None = None,
) -> list[str]:
    """The strongest activation of each layer of some pictures, as figures and tables.

    Returns:
        The names of what was stored in the run.

    Raises:
        RequestError: there is no run, picture or layer of the name, or a picture cannot be used.
        IncompleteError: some could not be done; the others are.
    """
    run = Run(url)
    chosen = tuple(resolve_layers(run.layers, layers, "The run")) if layers else None
    net = _net_of(run)
    dataset = dataset_of(run)
    wanted = find_pictures(images, run.store, dataset)
    base = ExplainRequest()
    request = ExplainRequest(layers=chosen, caption=run_caption(run.spec, base.settings))
    work = partial(explain_unit, dataset=dataset, run=run.store, request=request)
    return _do(net, explain_files.units(wanted), work, "explaining", workers, address)


def occlude(
    url: str,
    images: Sequence[str],
    settings: OccludeSettings,
    *,
    workers: int | None = None,
    address: str | None = None,
) -> list[str]:
    """Slide an occluder over some pictures, as figures and tables; does only what is missing.

    Returns:
        The names of what was stored in the run.

    Raises:
        RequestError: as `explain`, or the occluder does not fit, or there is no such class.
        IncompleteError: some could not be done; the others are.
    """
    run = Run(url)
    net = _net_of(run)
    check(net, settings)
    dataset = dataset_of(run)
    wanted = find_pictures(images, run.store, dataset)
    request = OccludeRequest(
        settings=settings, caption=(_net_line(run),), names=class_names_of(run)
    )
    work = partial(_occlude, dataset=dataset, run=run.store, request=request)
    units = occlude_files.units(run.store, wanted, settings)
    return _do(net, units, work, "occluding", workers, address)


def poster(
    url: str,
    out: str | None = None,
    *,
    layers: Sequence[str] | None = None,
    maps: Mapping[str, Sequence[int]] | None = None,
    images: Sequence[str] = (),
    settings: OccludeSettings | None = None,
) -> list[str]:
    """One page with the run's layer panels, single-picture figures, occlusion and diagram.

    Args:
        url: of the run.
        out: path or URL without extension; by default ``RUN/poster``.
        layers: with a row of feature maps each.
        maps: layer → the feature maps to show, instead of choosing them.
        images: the examples; by default winners of the top layer.
        settings: of the occlusion panel.

    Returns:
        Where the PDF and the PNG are.

    Raises:
        RequestError: there is no run, or it has no projections, or a name is unknown.
    """
    run = Run(url)
    net = _net_of(run)
    dataset = dataset_of(run)
    store = run.store
    top = run.spec.layers[-1]
    if images:
        wanted = find_pictures(images, store, dataset)
    else:
        wanted = example_pictures(store, top, _POSTER_TRIALS)
    pictures = [read_picture(one, net.preprocessing, dataset) for one in wanted]
    examples = explain_pictures(net, pictures[:POSTER_EXAMPLES])
    settings = settings or OccludeSettings()
    plan, names = prepare(net, settings), class_names_of(run)
    experiments: list[Occluded] = []
    with progress("occluding, pictures", len(pictures)) as advance:
        for picture in pictures:
            experiments.append(occlude_picture(net, plan, picture, settings, names))
            advance(1)
    pdf, png = compose(
        store,
        run.spec,
        net,
        layers=layers,
        maps=maps,
        examples=examples,
        occlusion=[most_telling(experiments)] if experiments else None,
    )
    folder, _, name = (out or f"{store.url}/poster").rpartition("/")
    place = Store(folder or ".")
    for extension, data in (("pdf", pdf), ("png", png)):
        place.write(f"{name}.{extension}", data)
    return [f"{place.url}/{name}.{extension}" for extension in ("pdf", "png")]


def class_names_of(run: Run) -> ClassNames | None:
    """The names of the net's classes: the file of the run, else the weights' own."""
    if run.spec.class_names is not None:
        return load_class_names(run.spec.class_names)
    return ClassNames.of(run.net.categories) if run.net.categories else None


def _net_of(run: Run) -> Net:
    """The run's net with the run's layers alone."""
    net = run.net
    return Net(
        net.name,
        net.graph.only(run.layers),
        net.preprocessing,
        net.classes,
        net.categories,
        net.module,
        net.variant,
    )


def _net_line(run: Run) -> str:
    spec = run.spec
    return f"{spec.net}, weights {spec.weights} ({spec.weights_digest[:8]}), data {spec.data}"


def _occlude(
    net: Net, wanted: Sequence[Wanted], dataset: Dataset, run: Store, request: OccludeRequest
) -> Made:
    plan = prepare(net, request.settings)
    return occlude_unit(net, plan, dataset, run, wanted, request)


def _do(
    net: Net,
    units: Sequence[Sequence[Wanted]],
    work: Callable[[Net, Sequence[Wanted]], Made],
    what: str,
    workers: int | None,
    address: str | None,
) -> list[str]:
    """Do units of work on the cluster, or a single one right here.

    Raises:
        RequestError: some pictures cannot be used; the others are done.
    """
    stored: list[str] = []
    unusable: list[str] = []
    with progress(f"{what}, pictures", sum(map(len, units))) as advance:
        if len(units) == 1 and address is None:
            stored, unusable = work(net, units[0])
            advance(len(units[0]))
        elif units:
            with connection.connected(address):
                for made in cluster.pictures(net, units, work, workers):
                    stored += made.stored
                    unusable += made.unusable
                    advance(_tables(made.stored) + len(made.unusable))
    if unusable:
        raise RequestError(_unusable(unusable, _tables(stored)))
    return stored


def _tables(names: Sequence[str]) -> int:
    """How many pictures were done: each has a table."""
    return sum(name.endswith(".parquet") for name in names)


def _unusable(reasons: Sequence[str], done: int) -> str:
    said = [reason.rstrip(".") for reason in reasons[:_MOST_REASONS]]
    if len(reasons) > len(said):
        said.append(f"nor can {len(reasons) - len(said)} more")
    if done:
        said.append(f"{done} other{'s are' if done > 1 else ' is'} done")
    return "; ".join(said) + "."
