"""The command of stage 1."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from pipeline.cli.options import Address, Config, Layers, Run, Workers, names, say
from pipeline.errors import RequestError

if TYPE_CHECKING:
    from pipeline.commands.mine import MineResult


def mine(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Image folder, WebDataset tars or Parquet: path, glob or URL."
        ),
    ],
    run: Run,
    net: Annotated[
        list[str],
        typer.Option(
            help="The net; `deconv-atlas nets` lists them. Or module:function, yours, that returns "
            "a torch.nn.Module and its Preprocessing. Several nets, by more than one --net, are "
            "mined in one pass, each into RUN/NET."
        ),
    ] = ["alexnet"],  # noqa: B006 - typer only reads it
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of torchvision's weights, .pth or .safetensors path or URL, or random:SEED; "
            "for alexnet-2012 and zfnet also .onnx and Keras' .h5. Once, or once for each net."
        ),
    ] = None,
    colour_order: Annotated[
        str | None,
        typer.Option(
            help="rgb or bgr: what the weights take, if not what their format usually is."
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B",
            help="Subtracted from 0-255, nothing divided, if not what is usual for the weights.",
        ),
    ] = None,
    layers: Layers = None,
    top_k: Annotated[
        int, typer.Option(min=1, max=2**15 - 1, help="Winners kept per feature map.")
    ] = 9,
    precision: Annotated[
        str,
        typer.Option(
            help="exact: float32 throughout. fast: screen in reduced precision, then look exactly "
            "at all images that may be winners; the winners are the same."
        ),
    ] = "exact",
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
    from pipeline.commands.mine import mine_together
    from pipeline.config import MineRequest

    if precision not in ("exact", "fast"):
        raise RequestError(f"--precision is exact or fast, not {precision!r}.")
    if colour_order not in (None, "rgb", "bgr"):
        raise RequestError(f"--colour-order is rgb or bgr, not {colour_order!r}.")
    common = {
        "data": data,
        "colour_order": colour_order,
        "mean": _three(mean),
        "layers": names(layers),
        "top_k": top_k,
        "precision": precision,
        "format": format,
        "class_names": class_names,
        "workers": workers,
        "address": address,
    }
    try:
        requests = [
            MineRequest.model_validate(
                {**common, "net": one, "weights": of_net, "run": _run_of(one, run, several)}
            )
            for one, of_net, several in _nets(net, weights)
        ]
    except ValidationError as error:
        wrong = error.errors()[0]
        name = "--" + str(wrong["loc"][0]).replace("_", "-")
        raise RequestError(f"{name} {wrong['input']}: {wrong['msg']}.") from error
    for result in mine_together(requests):
        _say_mined(result)


def _three(text: str | None) -> tuple[float, ...] | None:
    try:
        numbers = None if text is None else tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if numbers is not None and (len(numbers) != 3 or not all(map(math.isfinite, numbers))):
        raise RequestError(f"--mean is three numbers with commas between, not {text!r}.")
    return numbers


def _nets(nets: Sequence[str], weights: Sequence[str] | None) -> list[tuple[str, str | None, bool]]:
    """Each net, its weights, and whether there are several."""
    if len(set(nets)) < len(nets):
        raise RequestError(f"--net names one net twice: {', '.join(nets)}.")
    given: Sequence[str | None] = weights or [None]
    if len(given) not in (1, len(nets)):
        raise RequestError(f"{len(given)} --weights for {len(nets)} --net; give one, or one each.")
    each = list(given) * (len(nets) if len(given) == 1 else 1)
    return [(net, one, len(nets) > 1) for net, one in zip(nets, each, strict=True)]


def _run_of(net: str, run: str, several: bool) -> str:
    return f"{run.rstrip('/')}/{net.replace(':', '.')}" if several else run


def _say_mined(result: "MineResult") -> None:
    say(
        f"{result.net}, {result.images} images mined: {result.winners} winners of {result.maps} "
        "feature maps" + (f", {result.dead} of them dead." if result.dead else ".")
    )
    if result.uncertified:
        say(
            f"{result.uncertified} feature maps are not certified: a winner of theirs may be "
            f"missing. They are marked in {result.run}/feature_maps.parquet; "
            "--precision exact into another --run is sure of them."
        )
    if result.skipped:
        say(f"{result.skipped} samples could not be used; {result.run}/skipped says why.")
    say(f"Next: deconv-atlas project --run {result.run}")
