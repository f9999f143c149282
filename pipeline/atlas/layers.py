"""Which layers of a deep net a figure shows."""

from collections.abc import Sequence

from pipeline.config import LayerSpec


def spread_by_depth(layers: Sequence[LayerSpec], most: int) -> list[LayerSpec]:
    """At most so many layers, spread evenly over the size of the receptive field.

    The first and the last layer are always among them; of layers with equal receptive fields the
    last one stands for all. A net with few layers is shown whole.

    Args:
        layers: in the order of the forward pass.
        most: at least 2.
    """
    if len(layers) <= most:
        return list(layers)
    last_of_size = {layer.receptive_field.size[0]: n for n, layer in enumerate(layers)}
    candidates = sorted({*last_of_size.values(), len(layers) - 1})
    sizes = [layers[n].receptive_field.size[0] for n in candidates]
    chosen = {candidates[0], candidates[-1]}
    for step in range(1, most - 1):
        target = sizes[0] + (sizes[-1] - sizes[0]) * step / (most - 1)
        free = [n for n in candidates if n not in chosen]
        if free:
            chosen.add(min(free, key=lambda n: abs(layers[n].receptive_field.size[0] - target)))
    return [layers[n] for n in sorted(chosen)]
