"""Occlusion sensitivity of a picture: what was asked for, what was found, and its rows."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.config import choose_layers
from pipeline.core.graph.trace import Layer
from pipeline.core.nets.known import Net
from pipeline.core.occlusion.occlusion import Occluder, Occlusion
from pipeline.core.projection.deconvnet import Seeds, ascend
from pipeline.core.projection.position import project_position
from pipeline.core.render import in_colour
from pipeline.data.class_names import ClassNames
from pipeline.data.findings import ClassFrom, Made, Occluded, OccludeSettings
from pipeline.data.formats.dataset import Dataset
from pipeline.data.pictures import Picture, Wanted, read_picture
from pipeline.data.store import Store
from pipeline.data.stored import picture_columns
from pipeline.errors import NumericsError, RequestError

_IMAGES_IN_TASK = 4

Draw = Callable[[Occluded], Mapping[str, bytes]]
"""Makes figures: extension → file."""


def units(
    run: Store, wanted: Sequence[Wanted], settings: OccludeSettings, figures: Sequence[str] = ()
) -> list[list[Wanted]]:
    """The pictures that have no table yet, or not all figures, cut into units of work.

    Args:
        run: where the results go.
        wanted: the pictures.
        settings: how.
        figures: the ends of their names, as in ``png`` and ``89mm.png``.
    """
    done = {*run.list(schema.OCCLUSION_MAPS), *run.list(schema.OCCLUSION_FIGURES)}

    def is_done(asked: Wanted) -> bool:
        names = {maps_name(asked, settings), *(_figure(asked, settings, end) for end in figures)}
        return names <= done

    waiting = [asked for asked in dict.fromkeys(wanted) if not is_done(asked)]
    starts = range(0, len(waiting), _IMAGES_IN_TASK)
    return [waiting[at : at + _IMAGES_IN_TASK] for at in starts]


def occlude_unit(
    net: Net,
    wanted: Sequence[Wanted],
    dataset: Dataset | None,
    run: Store,
    settings: OccludeSettings,
    names: ClassNames | None = None,
    draw: Draw | None = None,
) -> Made:
    """Occlude one of `units`; store the figures and then the table of each picture.

    The table is written last, whole or not at all: what is done is what is there, and the same
    request again does only the rest.

    Args:
        net: on the device to use.
        wanted: the unit of work.
        dataset: the run's, for its samples.
        run: where the results go.
        settings: how.
        names: of the net's classes, and whether labels mean these.
        draw: makes the figures; tables only without it.

    Returns:
        What was stored, the figures of each picture before its table. A picture is not usable
        either if its label is no class of the net.

    Raises:
        NumericsError: an activation or a probability is not finite.
        WriteError: a result could not be stored.
    """
    plan, made = prepare(net, settings), Made.nothing()
    for asked in wanted:
        try:
            picture = read_picture(asked, net.preprocessing, dataset)
            occluded = occlude_picture(net, plan, picture, settings, names)
        except RequestError as error:
            made.unusable.append(str(error))
            continue
        made.turned.extend([asked.name] if picture.is_turned else [])
        for extension, figure in (draw(occluded) if draw else {}).items():
            made.stored.append(_figure(asked, settings, extension))
            run.write(made.stored[-1], figure)
        made.stored.append(maps_name(asked, settings))
        run.write_table(made.stored[-1], to_table(occluded))
    return made


def maps_name(wanted: Wanted, settings: OccludeSettings) -> str:
    """The table of a picture: other settings have another one."""
    return f"{schema.OCCLUSION_MAPS}/{_stem(wanted, settings)}.parquet"


def _figure(wanted: Wanted, settings: OccludeSettings, end: str) -> str:
    return f"{schema.OCCLUSION_FIGURES}/{_stem(wanted, settings)}.{end}"


def _stem(wanted: Wanted, settings: OccludeSettings) -> str:
    digest = hashlib.sha256(repr(astuple(settings)).encode()).hexdigest()[:6]
    return f"{wanted.file_stem}-{digest}"


def check(net: Net, settings: OccludeSettings) -> Layer:
    """Refuse what cannot be done, before anything is read; returns the layer to watch.

    Raises:
        RequestError: the net has no classifier, no such layer or no such class, or the occluder
            does not fit.
    """
    if net.classes == 0:
        raise RequestError(
            f"{net.name} tells no classes apart here, as its weights have no classifier or it is a "
            "trunk alone; occlusion follows the probability of a class, so give the whole net."
        )
    names = [layer.name for layer in net.graph.layers]
    wanted = [settings.layer] if settings.layer else None
    watched = choose_layers(names, wanted, f"Net {net.name}")[-1]
    height, width = net.preprocessing.input_size
    if not 1 <= settings.occluder <= min(height, width):
        raise RequestError(
            f"An occluder of {settings.occluder} pixels does not fit the {height}×{width} pixels "
            f"that {net.name} sees; choose 1 to {min(height, width)}."
        )
    if settings.stride < 1:
        raise RequestError(f"A stride of {settings.stride} never moves; choose 1 or more.")
    if settings.colour is not None and not all(0 <= part <= 255 for part in settings.colour):
        raise RequestError(f"A colour has parts from 0 to 255, not {settings.colour}.")
    if settings.label is not None:
        _check_label(net, settings.label, "The label given")
    return net.graph.layer(watched)


def _check_label(net: Net, label: int, whose: str) -> None:
    if not 0 <= label < net.classes:
        raise RequestError(
            f"{whose} is {label}, but {net.name} has classes 0 to {net.classes - 1}; "
            "give one of those."
        )


def prepare(net: Net, settings: OccludeSettings) -> Occlusion:
    """The net made ready for these settings; serves any number of pictures.

    Raises:
        RequestError: as `check`.
    """
    layer = check(net, settings)
    if net.module is None:
        raise ValueError("occlusion needs the whole net, not its trunk alone")
    pre = net.preprocessing
    value = pre.coloured(*settings.colour) if settings.colour is not None else (0.0,)
    occluder = Occluder(settings.occluder, settings.stride, value)
    return Occlusion(net.module, layer, pre.input_size, occluder, pre.channels)


def occlude_picture(
    net: Net,
    plan: Occlusion,
    picture: Picture,
    settings: OccludeSettings,
    names: ClassNames | None = None,
) -> Occluded:
    """Slide the occluder over one picture, and project its strongest activation.

    Args:
        net: on the device to use.
        plan: what `prepare` made of the same net and settings.
        picture: the picture.
        settings: how.
        names: of the net's classes, and whether labels mean these.

    Raises:
        RequestError: the picture's label is no class of the net.
        NumericsError: an activation or a probability is not finite.
    """
    image = net.preprocessing.normalise(picture.image[None].to(net.device))
    label, source = correct_class(net, picture.wanted, names, settings.label)
    found = plan.measure(image[0], label)
    if not (np.isfinite(found.total).all() and np.isfinite(found.probability).all()):
        raise NumericsError(
            f"{picture.wanted.name}: an activation of {plan.layer.name} or a probability is not "
            "finite; are these the net's weights?"
        )
    graph = net.graph.only([plan.layer.name])
    seed = Seeds.at(found.feature_map, *found.place, net.device)
    projection, box = project_position(graph, plan.layer, ascend(graph, image), seed)
    mean = np.rint(255 * np.array(net.preprocessing.mean)).astype(int)
    red, green, blue = in_colour(mean).tolist()
    return Occluded(
        picture=picture,
        net=net.name,
        layer=plan.layer.name,
        settings=settings,
        found=found,
        class_from=source,
        projection=projection.cpu().numpy(),
        box=box,
        mean=(red, green, blue),
        names=names,
    )


def correct_class(
    net: Net, wanted: Wanted, names: ClassNames | None, given: int | None = None
) -> tuple[int | None, ClassFrom]:
    """The class of a picture, and who says so; None where it is what the net takes it for.

    Args:
        net: whose classes.
        wanted: the picture.
        names: of the net's classes, and whether labels mean these.
        given: what a user has said.

    Raises:
        RequestError: the picture's label is no class of the net.
    """
    if given is not None:
        return given, "given"
    if wanted.label is None:
        return None, "prediction"
    if names is None or not names.means(wanted.label, wanted.class_name):
        return None, "prediction"  # the dataset counts other classes than the net
    _check_label(net, wanted.label, f"The label of {wanted.name}")
    return wanted.label, "label"


# --- tables -----------------------------------------------------------------------------------


def to_table(occluded: Occluded) -> pa.Table:
    """The maps as rows of `picture_columns.OCCLUSION`."""
    found, wanted, settings = occluded.found, occluded.picture.wanted, occluded.settings
    rows = found.total.size
    top, left = np.meshgrid(found.tops, found.lefts, indexing="ij")
    classes = found.top_class.ravel()
    constant = {
        "image": wanted.name,
        "shard": wanted.located.shard if wanted.located else None,
        "key": wanted.located.key if wanted.located else None,
        "sample": wanted.sample,
        "label": wanted.label,
        "net": occluded.net,
        "layer": occluded.layer,
        "feature_map": found.feature_map,
        "occluder": settings.occluder,
        "stride": settings.stride,
        "colour": settings.colour_name,
        "correct_class": found.label,
        "correct_class_name": occluded.known_name(found.label),
        "class_from": occluded.class_from,
        "total_activation_without": found.base_total,
        "probability_without": found.base_probability,
        "top_class_without": found.base_class,
    }
    names = {label: occluded.known_name(label) for label in np.unique(classes).tolist()}
    columns = {
        "top": top.ravel(),
        "left": left.ravel(),
        "total_activation": found.total.ravel(),
        "probability": found.probability.ravel(),
        "top_class": classes,
        "top_class_name": [names[label] for label in classes.tolist()],
        **{name: [value] * rows for name, value in constant.items()},
    }
    return schema.table_of(columns, picture_columns.OCCLUSION)
