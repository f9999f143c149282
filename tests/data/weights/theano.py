"""convnets-keras' AlexNet in numpy and float64, as Theano would run it; no code of torch's."""

import numpy as np
from numpy.typing import NDArray

from tests.data.weights.old_files import Keras

Array = NDArray[np.float64]


def convolved(x: Array, kernel: Array, bias: Array, stride: int, padding: int) -> Array:
    """A true convolution: the kernel's last row meets the window's first."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    side = kernel.shape[2]
    count = (x.shape[1] - side) // stride + 1
    out = np.zeros((len(kernel), count, count))
    for i in range(side):
        for j in range(side):
            top, left = side - 1 - i, side - 1 - j
            rows = slice(top, top + (count - 1) * stride + 1, stride)
            columns = slice(left, left + (count - 1) * stride + 1, stride)
            out += np.tensordot(kernel[:, :, i, j], x[:, rows, columns], 1)
    return out + bias[:, None, None]


def pooled(x: Array) -> Array:
    count = (x.shape[1] - 3) // 2 + 1
    reach = [slice(i, i + 2 * (count - 1) + 1, 2) for i in range(3)]
    return np.max([x[:, rows, columns] for rows in reach for columns in reach], axis=0)


def normalised(x: Array) -> Array:
    """`crosschannelnormalization`: alpha is not divided by the number of maps."""
    squares = np.pad(x**2, ((2, 2), (0, 0), (0, 0)))
    scale = np.full_like(x, 2.0)
    for i in range(5):
        scale += 1e-4 * squares[i : i + len(x)]
    return x / scale**0.75


def forward(net: Keras, image: Array) -> list[Array]:
    """The five rectified convolutions, and the logits.

    `image`: R, G, B less their means, (3, 227, 227).
    """
    layers = {name: (a.astype(float), b.astype(float)) for name, (a, b) in net.layers.items()}
    maps = []
    x = image
    for number in range(1, 6):
        stride, padding = (4, 0) if number == 1 else (1, 2 if number == 2 else 1)
        if f"conv_{number}" in layers:
            x = convolved(x, *layers[f"conv_{number}"], stride, padding)
        else:
            halves = np.split(x, 2)
            x = np.concatenate(
                [
                    convolved(half, *layers[f"conv_{number}_{group}"], stride, padding)
                    for group, half in enumerate(halves, 1)
                ]
            )
        x = np.maximum(x, 0)
        maps.append(x)
        if number < 3:
            x = normalised(pooled(x))
    x = pooled(x).reshape(-1)
    for number in (1, 2, 3):
        matrix, bias = layers[f"dense_{number}"]
        x = x @ matrix + bias
        x = np.maximum(x, 0) if number < 3 else x
    return [*maps, x]
