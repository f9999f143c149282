"""What the commands on single pictures do: explain, occlude, and the poster made of both."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from pipeline import schema
from pipeline.atlas.drawing.measures import WIDE, Measures
from pipeline.atlas.drawing.page import Pixels, formats
from pipeline.atlas.drawing.type import unreadable
from pipeline.atlas.explain.figure import explain_figures
from pipeline.atlas.occlusion.figure import occlusion_figures
from pipeline.atlas.outline import outputs_of
from pipeline.atlas.poster.choice import example_pictures, most_telling, require_shown
from pipeline.atlas.poster.page import compose
from pipeline.cluster import session
from pipeline.cluster import stages as cluster
from pipeline.commands.project import dataset_of
from pipeline.config import choose_layers
from pipeline.core.nets.known import Net
from pipeline.data.class_name_files import names_of_outputs
from pipeline.data.class_names import ClassNames, called
from pipeline.data.findings import Made, Occluded, OccludeSettings
from pipeline.data.pictures import Wanted, read_picture
from pipeline.data.store import Store
from pipeline.data.stored.named import find_pictures
from pipeline.errors import RequestError
from pipeline.request import ExplainRequest, OccludeRequest, Panel, PosterRequest
from pipeline.run import Run
from pipeline.stages import explain, occlude
from pipeline.terminal import progress

log = logging.getLogger(__name__)

POSTER_EXAMPLES = 2
_MOST_REASONS = 5
_MOST_SIGNS = 8
_POSTER_TRIALS = 8
"""Pictures that are occluded for the poster; the most telling one is shown."""


def explain_images(request: ExplainRequest) -> Made:
    """The strongest activation of each layer of some pictures, as figures and tables.

    Returns:
        The names of what was stored in the run, and why some pictures could not be used.

    Raises:
        RequestError: there is no run, picture or layer of the name.
        IncompleteError: some could not be done; the others are.
    """
    run = Run(request.run, request.storage_options)
    chosen = choose_layers(run.layers, request.layers, "The run") if request.layers else None
    run.store.require_room("--run")
    dataset = dataset_of(run)
    wanted = find_pictures(request.images, run.store, dataset)
    _say_unreadable(_names(wanted))
    net = run.mined_net
    draw = partial(
        explain_figures,
        run=run.store,
        spec=run.spec,
        outputs=outputs_of(net, names_of_outputs(run.spec.class_names, net).names),
        width=request.width,
        svg=request.svg,
    )
    named = partial(_named_by_width, draw=draw, width=request.width)
    work = partial(explain.explain_unit, dataset=dataset, run=run.store, layers=chosen, draw=named)
    return _do(net, explain.units(wanted), work, "explaining", request)


def occlude_images(request: OccludeRequest) -> Made:
    """Slide an occluder over some pictures, as figures and tables; does only what is missing.

    Returns:
        The names of what was stored in the run, and why some pictures could not be used.

    Raises:
        RequestError: as `explain_images`, or the occluder does not fit, or there is no such class.
        IncompleteError: some could not be done; the others are.
    """
    run = Run(request.run, request.storage_options)
    settings = OccludeSettings(
        request.layer,
        request.occluder,
        request.stride,
        request.colour,
        request.label,
    )
    if request.layer:
        run.spec.layer(request.layer)
    run.store.require_room("--run")
    dataset = dataset_of(run)
    wanted = find_pictures(request.images, run.store, dataset, lists=True)
    net = run.mined_net
    occlude.check(net, settings)
    names = names_of_outputs(run.spec.class_names, net)
    if settings.label is None:
        _say_whose_class(wanted, names, net.name)
    _say_unreadable([*_names(wanted), *names.names.values()])
    draw = partial(occlusion_figures, spec=run.spec, width=request.width, svg=request.svg)
    work = partial(
        occlude.occlude_unit,
        dataset=dataset,
        run=run.store,
        settings=settings,
        names=names,
        draw=partial(_named_by_width, draw=draw, width=request.width),
    )
    ends = [_end(form, request.width) for form in formats(svg=request.svg)]
    units = occlude.units(run.store, wanted, settings, ends)
    return _do(net, units, work, "occluding", request)


def _named_by_width(
    found: Any, *, draw: Callable[[Any], Mapping[str, bytes]], width: float
) -> dict[str, bytes]:
    """The figures of a picture: the end of the name → content; each width has its own."""
    return {_end(form, width): data for form, data in draw(found).items()}


def _end(form: str, width: float) -> str:
    return form if width == WIDE else f"{width:g}mm.{form}"


def make_poster(request: PosterRequest) -> list[str]:
    """One page with the run's layer panels, single-picture figures, occlusion and diagram.

    Returns:
        Where the PDF and the PNG are.

    Raises:
        RequestError: there is no run, or it has no projections, or a name is unknown.
    """
    run = Run(request.run, request.storage_options)
    require_shown(run.store, run.spec, request.layers, request.maps or {})
    figures = [_panel(run.store, panel) for panel in request.panels]
    net = run.mined_net
    settings = OccludeSettings(occluder=request.occluder, stride=request.stride)
    plan, names = occlude.prepare(net, settings), names_of_outputs(run.spec.class_names, net)
    dataset = dataset_of(run)
    if request.images:
        wanted = find_pictures(request.images, run.store, dataset, lists=True)
    else:
        wanted = example_pictures(run.store, run.spec.layers[-1], _POSTER_TRIALS)
    pictures = [read_picture(asked, net.preprocessing, dataset) for asked in wanted]
    _say_turned([picture.wanted.name for picture in pictures if picture.is_turned])
    examples = explain.explain_pictures(net, pictures[:POSTER_EXAMPLES])
    experiments: list[Occluded] = []
    with progress("occluding, pictures", len(pictures)) as advance:
        for picture in pictures:
            experiments.append(occlude.occlude_picture(net, plan, picture, settings, names))
            advance(1)
    page = compose(
        run.store,
        run.spec,
        net.graph,
        layers=request.layers,
        maps=request.maps,
        examples=examples,
        occlusion=[most_telling(experiments)] if experiments else None,
        figures=figures,
    )
    _say_unreadable(page.texts)
    out = re.sub(r"\.(pdf|png|svg)$", "", request.out or f"{run.store.url}/poster")
    folder, _, name = out.rpartition("/")
    place = run.store.at(folder or ".")
    files = {
        f"{name}.{extension}": data
        for extension, data in sorted(page.figures(svg=request.svg).items())
    }
    for file, data in files.items():
        place.write(file, data)
    return [f"{place.url}/{file}" for file in files]


def _panel(run: Store, panel: Panel) -> Pixels:
    """The figure of an experiment, without its margins.

    Raises:
        RequestError: the run has none.
    """
    try:
        data = run.read(f"{schema.experiment_figure(panel)}.png")
    except FileNotFoundError as error:
        raise RequestError(
            f"{run.url} has no figure of {panel} yet; make it with deconv-atlas {panel}."
        ) from error
    with Image.open(BytesIO(data)) as figure:
        margin = round(Measures().margin / WIDE * figure.width)
        box = (margin, margin, figure.width - margin, figure.height - margin)
        return np.asarray(figure.convert("RGB").crop(box))


def _say_whose_class(wanted: Sequence[Wanted], names: ClassNames, net: str) -> None:
    """One line where labels are no classes of the net, as far as anybody has said."""
    for asked in wanted:
        if asked.label is not None and not names.means(asked.label, asked.class_name):
            log.warning(
                "The label of %s (%s) is not known to be a class of %s, so the class that the net "
                "takes it for stands for the correct one; give --label, or if the dataset's labels "
                "are the net's classes, mine with --class-names net.",
                asked.name, called(asked.label, asked.class_name), net,
            )  # fmt: skip
            return


def _do(
    net: Net,
    units: Sequence[Sequence[Wanted]],
    work: Callable[[Net, Sequence[Wanted]], Made],
    what: str,
    request: ExplainRequest | OccludeRequest,
) -> Made:
    """Do units of work on the cluster, or a single one right here."""
    all_made = Made.nothing()
    with progress(f"{what}, pictures", sum(map(len, units))) as advance:
        if len(units) == 1 and request.address is None:
            all_made = work(net, units[0])
            advance(len(units[0]))
        elif units:
            with session.connected(request.address):  # tracing needs processes of their own
                session.require_in_sight(Store(request.run, request.storage_options))
                named = "picture {0[0].name}".format
                for made in cluster.with_net(net, units, work, request, "pictures", named):
                    for so_far, more in zip(all_made, made, strict=True):
                        so_far.extend(more)
                    advance(_tables(made.stored) + len(made.unusable))
    _say_turned(all_made.turned)
    return all_made


def _tables(names: Sequence[str]) -> int:
    """How many pictures were done: each has a table."""
    return sum(name.endswith(".parquet") for name in names)


def _say_turned(names: Sequence[str]) -> None:
    """One line on people's own files that lay on their sides."""
    if names:
        more = f" and {len(names) - _MOST_REASONS} more" if len(names) > _MOST_REASONS else ""
        log.warning(
            "Turned upright, as the EXIF block says (pictures of a dataset are not): %s%s.",
            ", ".join(names[:_MOST_REASONS]), more,
        )  # fmt: skip


def require_usable(made: Made) -> None:
    """Complain of the pictures that could not be used; the others are done.

    Raises:
        RequestError: there are some.
    """
    if not made.unusable:
        return
    said = [reason.rstrip(".") for reason in made.unusable[:_MOST_REASONS]]
    if more := len(made.unusable) - len(said):
        said.append(f"nor can {more} more")
    if done := _tables(made.stored):
        said.append(f"{done} other{'s are' if done > 1 else ' is'} done")
    raise RequestError("; ".join(said) + ".")


def _names(wanted: Sequence[Wanted]) -> list[str]:
    """What figures call pictures."""
    return [text for asked in wanted for text in (asked.title, asked.class_name or "")]


def _say_unreadable(texts: Iterable[str]) -> None:
    """One line on signs that figures cannot show here."""
    if signs := unreadable(texts):
        log.warning(
            "No font here has %s%s: boxes stand for them in figures; install one that has them, "
            "as Noto's for the script, and do the same again.",
            " ".join(signs[:_MOST_SIGNS]),
            f" and {len(signs) - _MOST_SIGNS} more signs" if len(signs) > _MOST_SIGNS else "",
        )
