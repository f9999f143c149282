"""The commands on single pictures."""

import re
from typing import TYPE_CHECKING, Any

from pipeline.cli.options import asks_for, checked, say
from pipeline.errors import RequestError
from pipeline.request import ExplainRequest, OccludeRequest, PosterRequest
from pipeline.terminal import waiting

if TYPE_CHECKING:
    from pipeline.data.findings import Made


@asks_for(
    ExplainRequest, repeated=["images"], positional=["images"], metavars={"images": "IMAGE..."}
)
def explain(**options: Any) -> None:
    """One image: the strongest activation of each layer, projected beside it.

    Boxes show what each one sees; below, the three strongest of the top layer, and what else in
    the run's dataset excites the same feature maps.
    """
    with waiting("Loading torch"):
        from pipeline.commands.pictures import explain_images

    request = checked(ExplainRequest, options)
    _tell(request.run, explain_images(request))


@asks_for(OccludeRequest, repeated=["images"])
def occlude(**options: Any) -> None:
    """Occlusion sensitivity: a square slides over the image, and what it hides may matter.

    For each place: the total activation of the map that was strongest, the probability of the
    correct class, and the most probable class.
    """
    with waiting("Loading torch"):
        from pipeline.commands.pictures import occlude_images

    request = checked(OccludeRequest, options | {"colour": _colour(options["colour"])})
    _tell(request.run, occlude_images(request))


@asks_for(PosterRequest, repeated=["maps", "images"])
def poster(**options: Any) -> None:
    """One page, PDF and PNG, with what the run has found."""
    with waiting("Loading torch"):
        from pipeline.commands.pictures import make_poster

    maps = options["maps"] and dict(map(_maps, options["maps"]))
    for place in make_poster(checked(PosterRequest, options | {"maps": maps})):
        say(place)


def _tell(run: str, made: "Made") -> None:
    """Where everything is; then what could not be used.

    Raises:
        RequestError: some pictures could not be.
    """
    from pipeline.commands.pictures import require_usable

    for name in made.stored:
        say(f"{run.rstrip('/')}/{name}")
    require_usable(made)
    if not made.stored:
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
