"""The commands on single pictures."""

import re
from typing import Annotated

import typer

from pipeline.cli.options import Address, Config, Layers, Run, Workers, names, say
from pipeline.errors import RequestError

Occluder = Annotated[int, typer.Option(help="Side of the square, in pixels of the net's input.")]
Stride = Annotated[int, typer.Option(help="Pixels from one place of the square to the next.")]


def explain(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Paths or URLs, or numbers or keys of samples of the run."
        ),
    ],
    run: Run,
    layers: Layers = None,
    workers: Workers = None,
    address: Address = None,
    config: Config = None,  # noqa: ARG001 - its callback has read it
) -> None:
    """One image: the strongest activation of each layer, projected beside it.

    Boxes show what each one sees; below, the three strongest of the top layer, and what else in
    the run's dataset excites the same feature maps.
    """
    from pipeline.commands.pictures import explain_images

    _tell(run, explain_images(run, images, layers=names(layers), workers=workers, address=address))


def occlude(
    run: Run,
    images: Annotated[
        str,
        typer.Option(
            help="Paths or URLs, or numbers or keys of samples of the run, with commas between."
        ),
    ],
    occluder: Occluder = 27,
    stride: Stride = 7,
    colour: Annotated[
        str | None, typer.Option(help="Of the square, as #rrggbb; by default the net's mean.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Whose strongest feature map is watched; by default the top one's."),
    ] = None,
    label: Annotated[
        int | None,
        typer.Option(help="The correct class; by default the sample's, else the net's prediction."),
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Occlusion sensitivity: a square slides over the image, and what it hides may matter.

    For each place: the total activation of the map that was strongest, the probability of the
    correct class, and the most probable class.
    """
    from pipeline.commands.pictures import occlude_images
    from pipeline.data.findings import OccludeSettings

    settings = OccludeSettings(layer, occluder, stride, _colour(colour), label)
    stored = occlude_images(run, names(images) or (), settings, workers=workers, address=address)
    _tell(run, stored)


def poster(
    run: Run,
    out: Annotated[
        str | None, typer.Option(help="Path or URL of the page; by default RUN/poster.pdf.")
    ] = None,
    layers: Layers = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(help="Feature maps to show of a layer, as conv5=3,12; may be repeated."),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="The examples, as for occlude; by default winners.")
    ] = None,
    occluder: Occluder = 27,
    stride: Stride = 7,
    config: Config = None,  # noqa: ARG001
) -> None:
    """One page, PDF and PNG, with what the run has found."""
    from pipeline.commands.pictures import make_poster
    from pipeline.data.findings import OccludeSettings

    place = re.sub(r"\.(pdf|png)$", "", out) if out else None
    for where in make_poster(
        run,
        place,
        layers=names(layers),
        maps=dict(map(_maps, maps)) if maps else None,
        images=names(images) or (),
        settings=OccludeSettings(occluder=occluder, stride=stride),
    ):
        say(where)


def _tell(run: str, stored: list[str]) -> None:
    for name in stored:
        say(f"{run.rstrip('/')}/{name}")
    if not stored:
        say("Nothing was missing.")


def _colour(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        raise RequestError(f"--colour is #rrggbb, as in #808080, not {text!r}.")
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _maps(text: str) -> tuple[str, tuple[int, ...]]:
    layer, _, numbers = text.partition("=")
    if not re.fullmatch(r"\d+(,\d+)*", numbers):
        raise RequestError(f"--maps is a layer and its feature maps, as conv5=3,12, not {text!r}.")
    return layer, tuple(map(int, numbers.split(",")))
