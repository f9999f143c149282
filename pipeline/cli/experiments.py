"""The commands that ask more of a run than its winners: a control, and the paper's experiments."""

from typing import Any

from pipeline.cli.options import asks_for, checked, say
from pipeline.request import (
    CompareRequest,
    ControlRequest,
    CorrespondenceRequest,
    InvarianceRequest,
)
from pipeline.terminal import waiting


@asks_for(ControlRequest, positional=["run"], metavars={"run": "RUN"})
def control(**options: Any) -> None:
    """How much of the projections is what the net has learned, and how much the picture's edges?

    Winners are projected again through weights that are drawn anew, from the top down layer by
    layer, and compared with what they were: rank correlation and structural similarity, as a
    figure and as tables.
    """
    with waiting("Loading torch"):
        from pipeline.commands.experiments.control import control_run

    request = checked(ControlRequest, options)
    _tell(request.run, control_run(request))


@asks_for(CompareRequest, repeated=["runs"], positional=["runs"], metavars={"runs": "RUN..."})
def compare(**options: Any) -> None:
    """Runs over one dataset side by side: checkpoints of one net, or different nets.

    Checkpoints: feature maps through training, which winners they have, how their projections
    change and when they became what they are (Zeiler and Fergus' figure 4). Nets: dead maps,
    coarse and fine, what strides leave in filters and projections (figure 6), and which maps of
    one are those of the other.
    """
    with waiting("Loading torch"):
        from pipeline.commands.experiments.compare import compare_runs

    places, table = compare_runs(checked(CompareRequest, options))
    say(table)
    for place in places:
        say(place)


@asks_for(CorrespondenceRequest, positional=["run"], metavars={"run": "RUN"})
def correspondence(**options: Any) -> None:
    """Does the net know the same part in different pictures? Zeiler and Fergus' table 1.

    The same part (eyes, nose) is hidden in several pictures, and random parts are; how alike are
    the changes of each layer, by the share of features whose signs differ?
    """
    with waiting("Loading torch"):
        from pipeline.commands.experiments.correspondence import correspond

    request = checked(CorrespondenceRequest, options)
    names, table = correspond(request)
    say(table)
    _tell(request.run, names)


@asks_for(InvarianceRequest, repeated=["images"], positional=["run"], metavars={"run": "RUN"})
def invariance(**options: Any) -> None:
    """What do features bear? Zeiler and Fergus' figure 5: pictures moved, enlarged and turned.

    How far the features of each layer go from those of the picture as it was, and what becomes of
    the probability of its class; the figure shows the first and the last layer.
    """
    with waiting("Loading torch"):
        from pipeline.commands.experiments.invariance import transform_pictures

    request = checked(InvarianceRequest, options)
    _tell(request.run, transform_pictures(request))


def _tell(run: str, names: list[str]) -> None:
    """Where everything is."""
    for name in names:
        say(f"{run.rstrip('/')}/{name}")
