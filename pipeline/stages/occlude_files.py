"""Occluding many pictures: units of work, and the tables and figures that a run keeps of them.

Each picture has a table of its own, written last and whole or not at all: what is done is what
is there, and the same request again does only the rest.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from pipeline.atlas.drawing.page import FileFormat
from pipeline.atlas.occlusion.figure import occlusion_page
from pipeline.core.nets.known import Net
from pipeline.core.occlusion.occlusion import Occlusion
from pipeline.data.class_names import ClassNames
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Made, Wanted, read_picture
from pipeline.data.store import Store
from pipeline.errors import RequestError
from pipeline.stages.explain_files import file_stem
from pipeline.stages.occlude import OccludeSettings, occlude, to_table

FOLDER = "occlusion"

MAPS = f"{FOLDER}/maps"
"""The tables, alone in their folder: ``pd.read_parquet("RUN/occlusion/maps")`` reads them all."""

FIGURES = f"{FOLDER}/figures"

_IMAGES_IN_TASK = 4


@dataclass(frozen=True)
class OccludeRequest:
    """What is made of each picture.

    Attributes:
        settings: how it is occluded.
        formats: of the figure; none makes tables only.
        caption: lines about the net and the run, below the figure's title.
        names: of the net's classes.
    """

    settings: OccludeSettings = field(default_factory=OccludeSettings)
    formats: tuple[FileFormat, ...] = ("png", "pdf")
    caption: tuple[str, ...] = ()
    names: ClassNames | None = None


def units(run: Store, wanted: Sequence[Wanted], settings: OccludeSettings) -> list[list[Wanted]]:
    """The pictures that have no table yet, cut into units of work."""
    done = set(run.list(MAPS))
    waiting = [one for one in dict.fromkeys(wanted) if maps_name(one, settings) not in done]
    starts = range(0, len(waiting), _IMAGES_IN_TASK)
    return [waiting[at : at + _IMAGES_IN_TASK] for at in starts]


def occlude_unit(
    net: Net,
    plan: Occlusion,
    dataset: Dataset | None,
    run: Store,
    wanted: Sequence[Wanted],
    request: OccludeRequest,
) -> Made:
    """Occlude one of `units`; store the figures and then the table of each picture.

    Args:
        net: on the device to use.
        plan: what `occlude.prepare` made of the same net and settings.
        dataset: the run's, for its samples.
        run: where the results go.
        wanted: the unit of work.
        request: what to make.

    Returns:
        What was stored, the figures of each picture before its table. A picture is not usable
        either if its label is no class of the net.

    Raises:
        NumericsError: an activation or a probability is not finite.
        WriteError: a result could not be stored.
    """
    made = Made([], [])
    for one in wanted:
        try:
            picture = read_picture(one, net.preprocessing, dataset)
            occluded = occlude(net, plan, picture, request.settings, request.names)
        except RequestError as error:
            made.unusable.append(str(error))
            continue
        if request.formats:
            page = occlusion_page([occluded], request.caption)
            for form in request.formats:
                made.stored.append(figure_name(one, request.settings, form))
                run.write(made.stored[-1], page.save(form))
        made.stored.append(maps_name(one, request.settings))
        run.write_table(made.stored[-1], to_table(occluded))
    return made


def maps_name(wanted: Wanted, settings: OccludeSettings) -> str:
    """The table of a picture: other settings have another one."""
    return f"{MAPS}/{_stem(wanted, settings)}.parquet"


def figure_name(wanted: Wanted, settings: OccludeSettings, form: FileFormat) -> str:
    """The figure of a picture under these settings."""
    return f"{FIGURES}/{_stem(wanted, settings)}.{form}"


def _stem(wanted: Wanted, settings: OccludeSettings) -> str:
    digest = hashlib.sha256(repr(astuple(settings)).encode()).hexdigest()[:6]
    return f"{file_stem(wanted)}-{digest}"
