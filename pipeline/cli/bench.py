"""The benchmark's command."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import names, say


def bench(
    data: Annotated[
        str | None,
        typer.Argument(help="Pictures to use; by default some are drawn at photograph size."),
    ] = None,
    net: Annotated[
        list[str] | None,
        typer.Option(
            help="Nets, with commas between or repeated; by default alexnet, vgg16 and resnet50, "
            "or with --short alexnet."
        ),
    ] = None,
    section: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these sections of the report, likewise; a wrong name lists them all."
        ),
    ] = None,
    short: Annotated[
        bool,
        typer.Option("--short", help="All in its smallest honest form: about two minutes."),
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is measured.")] = 5,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures there too.")
    ] = None,
) -> None:
    """How fast it is here, as ratios: to what bounds it, to plain processes, to a loop by hand.

    Processors only. The machine should have nothing else to do meanwhile.
    """
    from pipeline.bench.run import bench as measure

    nets, sections = (names(",".join(given or ())) for given in (net, section))
    for table in measure(data, nets, sections, repeats, short, json_file):
        say(table)
        say("")
    if json_file is not None:
        say(f"Figures: {json_file}")
