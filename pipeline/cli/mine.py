"""The command of stage 1; its options are the fields of a request."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.cli.options import asks_for, checked, next_command, say
from pipeline.errors import RequestError
from pipeline.request import MineRequest
from pipeline.terminal import waiting

if TYPE_CHECKING:
    from pipeline.run import Run


@asks_for(
    MineRequest,
    repeated=["net", "weights"],
    positional=["data"],
    metavars={"data": "DATA", "mean": "R,G,B", "max_skipped": "SHARE|COUNT"},
)
def mine(**options: Any) -> None:
    """Stage 1: for every feature map, find the images that excite it most.

    Goes on where an interrupted run stopped.
    """
    with waiting("Loading torch"):
        from pipeline.commands.mine import mine_runs

    for run in mine_runs([checked(MineRequest, values) for values in _requests(**options)]):
        _say_mined(run)


def _requests(
    net: Sequence[str], weights: Sequence[str] | None, run: str, **common: Any
) -> Iterator[Mapping[str, Any]]:
    """One request for each net."""
    if len(set(net)) < len(net):
        raise RequestError(f"--net names one net twice: {', '.join(net)}.")
    weights_of: Sequence[str | None] = weights or [None]
    if len(weights_of) not in (1, len(net)):
        raise RequestError(
            f"{len(weights_of)} --weights for {len(net)} --net; give one, or one each."
        )
    for number, name in enumerate(net):
        yield common | {
            "net": name,
            "weights": weights_of[number % len(weights_of)],
            "run": f"{run.rstrip('/')}/{name.replace(':', '.')}" if len(net) > 1 else run,
        }


def _say_mined(run: "Run") -> None:
    from pipeline.data.machines import unlike

    maps, skipped = run.feature_maps(), len(run.skipped())
    dead, uncertified = (maps["max"] <= 0).sum(), (~maps["certified"]).sum()
    say(
        f"{run.spec.net}, {maps['images'].max()} images mined: {len(run.winners())} winners of "
        f"{len(maps)} feature maps" + (f", {dead} of them dead." if dead else ".")
    )
    if uncertified:
        say(
            f"{uncertified} feature maps are not certified: a winner of theirs may be missing. "
            f"They are marked in {run.store.url}/feature_maps.parquet; "
            "--precision exact into another --run is sure of them."
        )
    if differences := unlike(run.spec.machines):
        say(
            f"Mined by unlike machines: {differences}. Last bits of activations may depend on who "
            "mined what; --same-machines, into another --run, refuses that."
        )
    slow = sum(
        made.parts for made in run.spec.machines if made.machine.decoder.startswith("pillow")
    )
    if slow:
        say(f"JPEGs of {slow} parts were decoded by Pillow, the slowest way; install torchcodec.")
    if skipped:
        say(f"{skipped} samples could not be used; {run.store.url}/skipped says why.")
    say(f"Next: {next_command('project', run.store.url)}")
