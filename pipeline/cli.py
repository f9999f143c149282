"""The command line: options in, one function of `commands` or `run` called, a few lines out."""

import logging
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import fsspec
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from pipeline.errors import AtlasError, RequestError

app = typer.Typer(
    name="deconv-atlas",
    help="What does this convnet look for? Mine a dataset for the images that excite every "
    "feature map most, and project them back to pixels through the deconvnet.",
    epilog="Try it: deconv-atlas demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
out = Console(highlight=False, soft_wrap=True)


def _read_config(context: typer.Context, url: str | None) -> str | None:
    """Take the options of a TOML file as defaults: its own keys, and its table for the command."""
    if url is None:
        return None
    try:
        with fsspec.open(url, "rb") as stream:
            content = tomllib.load(stream)
    except FileNotFoundError as error:
        raise RequestError(f"There is no configuration file {url}.") from error
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{url} is no TOML: {error}.") from error
    command = context.command.name or ""
    options = {param.name for param in context.command.params}
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    shared = {key: value for key, value in content.items() if key not in tables}
    own = tables.get(command, {})
    unknown = [key for key in own if key not in options]
    if unknown:
        raise RequestError(f"{url}: `{command}` has no option {unknown[0]!r}.")
    values = {key: value for key, value in shared.items() if key in options} | own
    context.default_map = {key: _as_text(value) for key, value in values.items()}
    return url


def _as_text(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


Run = Annotated[str, typer.Option("--run", help="Where the run is: a path or any fsspec URL.")]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="TOML file with any of these options.",
        callback=_read_config,
        is_eager=True,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="How many work at once; by default one per GPU, else one per CPU."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster; by default the one that this process belongs to, else a local Ray."
    ),
]
Layers = Annotated[str | None, typer.Option(help="Layers, with commas between; by default all.")]


@app.command(epilog="Example: deconv-atlas mine photos/ --run runs/alexnet --layers conv1,conv5")
def mine(
    data: Annotated[
        str, typer.Argument(help="Image folder, WebDataset tars or Parquet: path, glob or URL.")
    ],
    run: Run,
    net: Annotated[str, typer.Option(help="The net; `deconv-atlas nets` lists them.")] = "alexnet",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Name of torchvision's weights, .pth or .safetensors path or URL, or random:SEED."
        ),
    ] = None,
    layers: Layers = None,
    top_k: Annotated[int, typer.Option(min=1, help="Winners kept per feature map.")] = 9,
    precision: Annotated[str, typer.Option(help="exact: float32 throughout.")] = "exact",
    format: Annotated[
        str | None, typer.Option(help="folder, webdataset or parquet; detected if not given.")
    ] = None,
    class_names: Annotated[
        str | None,
        typer.Option(help="Names of the classes: text, JSON, or Keras' imagenet_class_index.json."),
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: Config = None,  # noqa: ARG001 - its callback has read it
) -> None:
    """Stage 1: for every feature map, find the images that excite it most.

    Goes on where an interrupted run stopped.
    """
    from pipeline import commands
    from pipeline.config import MineRequest

    try:
        request = MineRequest.model_validate(
            {
                "data": data,
                "run": run,
                "net": net,
                "weights": weights,
                "layers": _names(layers),
                "top_k": top_k,
                "precision": precision,
                "format": format,
                "class_names": class_names,
                "workers": workers,
                "address": address,
            }
        )
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "--" + str(wrong["loc"][0]).replace("_", "-")
        raise RequestError(f"{name} {wrong['input']}: {wrong['msg']}.") from error
    result = commands.mine(request)
    out.print(
        f"{result.images} images mined: {result.winners} winners of {result.maps} feature maps"
        + (f", {result.dead} of them dead." if result.dead else ".")
    )
    if result.skipped:
        out.print(f"{result.skipped} samples could not be used; {run}/skipped says why.")
    out.print(f"Next: deconv-atlas project --run {run}")


@app.command(epilog="Example: deconv-atlas project --run runs/alexnet --rank-limit 3")
def project(
    run: Run,
    rank_limit: Annotated[
        int | None, typer.Option(min=1, help="Only the winners up to this rank.")
    ] = None,
    layers: Layers = None,
    unpooling: Annotated[
        str,
        typer.Option(
            help="Where pooling windows overlap: sum (the adjoint) or max (the poster's)."
        ),
    ] = "sum",
    arrays: Annotated[
        bool, typer.Option("--arrays", help="Keep the unnormalised projections too, as float32.")
    ] = False,
    workers: Workers = None,
    address: Address = None,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Stage 2: project the winners back to pixels through the deconvnet.

    Does only what is missing.
    """
    from pipeline import commands
    from pipeline.stages.project import ProjectSettings

    if unpooling not in ("sum", "max"):
        raise RequestError(f"--unpooling is sum or max, not {unpooling!r}.")
    count = commands.project(
        run,
        layers=_names(layers),
        rank_limit=rank_limit,
        settings=ProjectSettings("sum" if unpooling == "sum" else "max", arrays),
        workers=workers,
        address=address,
    )
    out.print(f"{count} winners projected." if count else "Nothing was missing.")
    out.print(f"Next: deconv-atlas publish --run {run}")


@app.command(epilog="Example: deconv-atlas publish --run runs/alexnet s3://atlases/alexnet")
def publish(
    run: Run,
    dest: Annotated[
        str | None, typer.Argument(help="Where to put it; by default RUN/atlas.")
    ] = None,
    workers: Workers = None,
    address: Address = None,
    config: Config = None,  # noqa: ARG001
) -> None:
    """Compose the atlas and its web pages."""
    from pipeline import commands

    published, where = commands.publish(run, dest, workers=workers, address=address)
    out.print(
        f"{published.maps} feature maps of {len(published.layers)} layers: {where}/index.html"
    )
    if published.missing:
        out.print(f"{published.missing} of them have winners without projections.")
    if published.unprojected:
        out.print(f"Not projected yet: {', '.join(published.unprojected)}.")
    out.print(f"Look at it: deconv-atlas serve {where}")


@app.command(epilog="Example: deconv-atlas serve runs/alexnet/atlas --port 8000")
def serve(
    atlas: Annotated[str, typer.Argument(help="Where `publish` put it: a path or any fsspec URL.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Look at an atlas here, in a browser."""
    from pipeline.atlas.server import serve as make_server
    from pipeline.data.store import Store

    with make_server(Store(atlas), port) as server:
        out.print(f"http://127.0.0.1:{server.server_address[1]}/ - stop with Ctrl-C")
        server.serve_forever()


@app.command(epilog="Example: deconv-atlas demo --out atlas-demo")
def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the images, the run and the atlas.")
    ] = Path("atlas-demo"),
    images: Annotated[int, typer.Option(min=1, help="How many to draw.")] = 2048,
    workers: Workers = None,
) -> None:
    """The whole pipeline on generated images and a bundled net: no network, no GPU."""
    from pipeline import commands

    atlas = commands.make_demo(out_dir, images, workers)
    out.print(f"The atlas: {atlas}/index.html - open it in a browser.")
    out.print(f"The run:   deconv-atlas show {out_dir}/run")


@app.command(epilog="Example: deconv-atlas nets alexnet vgg16")
def nets(
    names: Annotated[list[str] | None, typer.Argument(help="Show the layers of these.")] = None,
) -> None:
    """The nets it knows: preprocessing, weights; and of those named, every layer."""
    from pipeline.core import networks
    from pipeline.data.weights import load_net

    if not names:
        table = Table("net", "input", "resize", "weights", box=None, pad_edge=False)
        for name in networks.known():
            prepared = networks.preprocessing(name)
            weights = ", ".join(networks.torchvision_weights(name)) or "bundled"
            table.add_row(name, f"{prepared.crop}×{prepared.crop}", str(prepared.resize), weights)
        out.print(table)
        out.print("Layers of one: deconv-atlas nets NET")
        return
    for name in names:
        _print_layers(load_net(name, "random:0").net)


def _print_layers(net: Any) -> None:
    from pipeline.core.receptive_field import receptive_field

    crop = net.preprocessing.crop
    columns = ("layer", "maps", "size", "receptive field", "stride", "starts at")
    table = Table(*columns, title=f"{net.name}, input {crop}×{crop}", box=None, pad_edge=False)
    for layer in net.graph.layers:
        field = receptive_field(net.graph, layer)
        table.add_row(
            layer.name,
            str(layer.maps),
            _by(layer.size),
            _by(field.size),
            _by(field.stride),
            ", ".join(map(str, field.start)),
        )
    out.print(table)
    for name, what in net.graph.opaque.items():
        out.print(f"{name} cannot be projected: no way down through {what}.")


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]}×{pair[1]}"


@app.command(epilog="Example: deconv-atlas show runs/alexnet conv5 12")
def show(
    run: Annotated[str, typer.Argument(help="Where the run is.")],
    layer: Annotated[str | None, typer.Argument(help="One of its layers.")] = None,
    feature_map: Annotated[int | None, typer.Argument(help="One of its feature maps.")] = None,
) -> None:
    """The run in the terminal: its state, a layer's feature maps, or a map's winners."""
    from pipeline.show import layer_table, run_table, winners_table

    if layer is None:
        out.print(run_table(run))
    elif feature_map is None:
        out.print(layer_table(run, layer))
    else:
        out.print(winners_table(run, layer, feature_map))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves with 0 (done), 1 (incomplete) or 2 (a wrong request)."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True), show_path=False, show_level=False)],
    )
    for noisy in ("httpx", "botocore", "aiobotocore", "s3fs", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.exit(run_app(arguments))


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors go to stderr in one sentence."""
    try:
        code = app(args=arguments, prog_name="deconv-atlas", standalone_mode=False)
        return int(code or 0)
    except AtlasError as error:
        return _complain(str(error), error.exit_code)
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        return _complain("Stopped. The same command goes on from here.", 1)


def _complain(sentence: str, code: int) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(sentence, markup=False)
    return code


if __name__ == "__main__":
    main()
