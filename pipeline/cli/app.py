"""The command line: options in, one function of `commands` or `run` called, a few lines out."""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import bench, experiments, mine, pictures, serving
from pipeline.cli.config_file import ConfigFile
from pipeline.cli.options import PROGRAM, asks_for, called_as, checked, next_command, say
from pipeline.errors import AtlasError, RequestError
from pipeline.request import (
    WORKERS,
    DoctorRequest,
    PosterRequest,
    ProjectRequest,
    PublishRequest,
    ShowRequest,
)
from pipeline.terminal import Lines, console, waiting

app = typer.Typer(
    name="deconv-atlas",
    help="What does this convnet look for? Mine a dataset for the images that excite every "
    "feature map most, and project them back to pixels through the deconvnet.",
    epilog="Try it: deconv-atlas demo",
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
_STOPPED = 130  # what typer makes of Ctrl-C
_UsageError: Any = typer.BadParameter.__mro__[1]  # click's; newer typers bring a click of their own


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"deconv-atlas {version('deconv-atlas')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Say the version and exit.", callback=_say_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


app.command(epilog="Example: deconv-atlas mine photos/ --run runs/alexnet --layers conv1,conv5")(
    mine.mine
)


@app.command(epilog="Example: deconv-atlas project --run runs/alexnet --rank-limit 3")
@asks_for(ProjectRequest)
def project(**options: Any) -> None:
    """Stage 2: project the winners and examples back to pixels through the deconvnet.

    Does only what is missing.
    """
    with waiting("Loading torch"):
        from pipeline.commands.project import project_run

    request = checked(ProjectRequest, options)
    count = project_run(request)
    say(f"{count} winners and examples projected." if count else "Nothing was missing.")
    say(f"Next: {next_command('publish', request.run)}")


@app.command(epilog="Example: deconv-atlas doctor --config jobs/alexnet-imagenet.toml")
@asks_for(DoctorRequest, positional=["data"], metavars={"data": "DATA"})
def doctor(**options: Any) -> None:
    """Before a run: does every node see the data, may it write, has it the same versions?

    Takes the options below [mine] of a --config too.
    """
    with waiting("Loading torch"):
        from pipeline.commands.doctor import diagnosed

    table, problems = diagnosed(checked(DoctorRequest, options))
    say(table)
    if problems:
        raise RequestError(" ".join(problems))
    say("All is well.")


@app.command(epilog="Example: deconv-atlas publish --run runs/alexnet s3://atlases/alexnet")
@asks_for(PublishRequest, positional=["dest"], metavars={"dest": "DEST"})
def publish(**options: Any) -> None:
    """Compose the atlas and its web pages."""
    with waiting("Loading torch"):
        from pipeline.commands.publish import publish_run

    published, where = publish_run(checked(PublishRequest, options))
    say(f"{published.maps} feature maps of {len(published.layers)} layers: {where}/index.html")
    if published.missing:
        say(f"{published.missing} of them have winners without projections.")
    if published.unprojected:
        say(f"Not projected yet: {', '.join(published.unprojected)}.")
    say(f"Look at it: deconv-atlas serve {shlex.quote(where)}")


app.command(epilog="Example: deconv-atlas serve runs/alexnet/atlas --port 8000")(serving.serve)
app.command(epilog="Example: deconv-atlas ask runs/alexnet --port 8000")(serving.ask)


@app.command(epilog="Example: deconv-atlas demo --out atlas-demo")
def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the images, the run and the atlas.")
    ] = Path("atlas-demo"),
    images: Annotated[int, typer.Option(min=1, help="How many to draw.")] = 2048,
    workers: Annotated[int | None, typer.Option(min=1, help=WORKERS)] = None,
) -> None:
    """The whole pipeline on generated images and a bundled net: no network, no GPU."""
    with waiting("Loading torch"):
        from pipeline.commands.demo import make_demo
        from pipeline.commands.pictures import make_poster

    atlas = make_demo(out_dir, images, workers)
    poster, _ = make_poster(PosterRequest(run=f"{out_dir}/run", out=f"{out_dir}/poster"))
    say(f"The atlas:  {atlas}/index.html - open it in a browser.")
    say(f"The poster: {poster}")
    say(f"The run:    deconv-atlas show {out_dir}/run")


@app.command(epilog="Example: deconv-atlas nets alexnet vgg16")
def nets(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NET", help="Show the layers of these.")
    ] = None,
) -> None:
    """The nets it knows: preprocessing, weights; and of those named, every layer."""
    from pipeline.commands.look.nets import layers_table, nets_table

    if not names:
        say(nets_table())
        say("Layers of one: deconv-atlas nets NET")
    for name in names or ():
        with waiting("Loading torch"):
            table, opaque = layers_table(name)
        say(table)
        for line in opaque:
            say(line)


@app.command(epilog="Example: deconv-atlas show runs/alexnet conv5 12")
@asks_for(
    ShowRequest,
    positional=["run", "layer", "feature_map"],
    metavars={"run": "RUN", "layer": "LAYER", "feature_map": "MAP"},
)
def show(**options: Any) -> None:
    """The run in the terminal: its state, a layer's feature maps, or a map's winners."""
    from pipeline.commands.look.show import shown

    say(shown(checked(ShowRequest, options)))


app.command(epilog="Example: deconv-atlas explain dog.jpg --run runs/alexnet")(pictures.explain)
app.command(epilog="Example: deconv-atlas occlude --run runs/alexnet --images dog.jpg,17")(
    pictures.occlude
)
app.command(epilog="Example: deconv-atlas control runs/alexnet --maps 64")(experiments.control)
app.command(epilog="Example: deconv-atlas compare runs/epoch-01 runs/epoch-05 runs/epoch-20")(
    experiments.compare
)
app.command(
    epilog="Example: deconv-atlas correspondence atlas-demo/run --parts atlas-demo/parts.csv"
)(experiments.correspondence)
app.command(epilog="Example: deconv-atlas invariance runs/alexnet --images dog.jpg,cat.jpg")(
    experiments.invariance
)
app.command(epilog="Example: deconv-atlas poster --run runs/alexnet --out poster")(pictures.poster)
app.command(epilog="Example: deconv-atlas bench photos/ --net alexnet --json bench.json")(
    bench.bench
)


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> None:
    """Run the command line; leaves with 0 (done), 1 (incomplete) or 2 (a wrong request).

    Args:
        arguments: those that this process was given by default.
        program: what it is called here, with {} for the command.
    """
    sys.path.append(str(Path.cwd()))  # a net of one's own may be in the current folder
    for stream in (sys.stdout, sys.stderr):  # a terminal or log may not know all signs
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[Lines()])
    logging.getLogger("pipeline").setLevel(logging.INFO)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # on weights that a font does not have
    with called_as(program):
        code = run_app(arguments)
    here = sys.modules.get("pipeline.cluster.here")
    if here is not None and here.is_at_work():  # every object is whole or not there
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors go to stderr in one sentence."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = int(
            app(args=given or ["--help"], prog_name=app.info.name, standalone_mode=False) or 0
        )
    except AtlasError as error:
        return _complain(str(error), error.exit_code)
    except _UsageError as error:
        return _complain(_with_hint(_blame(error), given), 2)
    except (typer.Abort, KeyboardInterrupt):
        code = _STOPPED
    if code == _STOPPED:
        return _complain("Stopped; the same command goes on from here.", 1)
    return code


def _blame(error: Any) -> str:
    """What click says of an option, or the file that the option comes from."""
    name = getattr(getattr(error, "param", None), "name", None)
    options = getattr(error.ctx, "params", {})
    file: ConfigFile | None = options.get("config")
    if file and name in file.options and error.ctx.get_parameter_source(name).name == "DEFAULT_MAP":
        return f"{file.url}: {name}: {error.message}"
    return str(error.format_message())


def _with_hint(message: str, given: Sequence[str]) -> str:
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    command = f" {given[0]}" if given and given[0] in known else ""
    sentence = " ".join(message.split()).rstrip(".")
    return f"{sentence}; see deconv-atlas{command} --help."


def _complain(sentence: str, code: int) -> int:
    console(stderr=True).print(" ".join(sentence.split()))
    return code


if __name__ == "__main__":
    main()
