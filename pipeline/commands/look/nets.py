"""The nets that are known, and the layers of one, as tables for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from pipeline.core.nets.listing import listed
from pipeline.terminal import legible


def nets_table() -> Table:
    """Every net that is known by name: its input and its weights; at once, without torch."""
    table = Table("net", "input", "resize", "weights", box=None, pad_edge=False)
    for name, net in listed().items():
        resize = net["resize"]
        resized = str(resize) if isinstance(resize, int) else _by(resize)
        table.add_row(
            name, _by(net["input"]), resized, ", ".join(net["weights"]) or "--weights FILE"
        )
    return table


def layers_table(name: str) -> tuple[Table, list[str]]:
    """The layers of a net, and a line for each that cannot be mined or projected.

    Raises:
        RequestError: there is no such net.
    """
    from pipeline.core.graph.receptive_field import receptive_field  # these import torch
    from pipeline.data.weights.load import load_net

    net = load_net(name, "random:0").net
    columns = ("layer", "maps", "size", "receptive field", "stride", "starts at")
    title = f"{name}, input {_by(net.preprocessing.input_size)}"
    table = Table(*columns, title=title, box=None, pad_edge=False)
    for layer in net.graph.layers:
        field = receptive_field(net.graph, layer)
        table.add_row(
            legible(layer.name),
            str(layer.maps),
            _by(layer.size),
            _by(field.size),
            _by(field.stride),
            ", ".join(map(str, field.start)),
        )
    opaque = [
        f"{layer} cannot be projected: no way down through {what}."
        for layer, what in net.graph.opaque.items()
    ]
    left_out = [f"{name} is not mined: {why}." for name, why in net.graph.left_out.items()]
    return table, opaque + left_out


def _by(pair: Sequence[int]) -> str:
    height, width = pair
    return f"{height}×{width}"
