"""The nets that are known, and the layers of one, as tables for the terminal."""

from rich.table import Table

from pipeline.core.graph.receptive_field import receptive_field
from pipeline.core.nets import known
from pipeline.data.weights.load import load_net
from pipeline.terminal import legible


def nets_table() -> Table:
    """Every net that is known by name: its input and its weights."""
    table = Table("net", "input", "resize", "weights", box=None, pad_edge=False)
    for name in known.names():
        prepared = known.preprocessing(name)
        weights = ", ".join(known.torchvision_weights(name)) or "bundled"
        if name in known.VARIANTS:
            weights = "--weights FILE"
        resize = prepared.resize
        resized = str(resize) if isinstance(resize, int) else _by(resize)
        table.add_row(name, _by(prepared.input_size), resized, weights)
    return table


def layers_table(name: str) -> tuple[Table, list[str]]:
    """The layers of a net, and a line for each that cannot be mined or projected.

    Raises:
        RequestError: there is no such net.
    """
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


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]}×{pair[1]}"
