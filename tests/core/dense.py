"""The deconvnet written out in numpy for a chain of modules: whole maps, loops over offsets.

No convolution of torch's, no windows, no graph: each operation is a plain formula on one image
(C, H, W), up and down, in float64.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]


def array(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)


def pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def offsets(
    kernel: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[tuple[int, int, int, int]]:
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield i, j, i * dilation[0], j * dilation[1]


class Geometry:
    """Where the windows of a convolution or pool lie on a map of one size, padded to hold them."""

    def __init__(
        self,
        shape: tuple[int, ...],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
        ceil_mode: bool = False,
    ) -> None:
        self.stride, self.padding, self.shape = stride, padding, shape[-2:]
        self.offsets = list(offsets(kernel, dilation))
        counts, sides = [], []
        for axis in (0, 1):
            reach = dilation[axis] * (kernel[axis] - 1) + 1
            room = self.shape[axis] + 2 * padding[axis] - reach
            count = (-(-room // stride[axis]) if ceil_mode else room // stride[axis]) + 1
            if (count - 1) * stride[axis] >= self.shape[axis] + padding[axis]:
                count -= 1  # a window must start on the map, or left of it
            counts.append(count)
            needed = (count - 1) * stride[axis] + reach
            sides.append(max(needed, self.shape[axis] + 2 * padding[axis]))
        self.count, self.sides = (counts[0], counts[1]), (sides[0], sides[1])

    def pad(self, x: Array, value: float = 0.0) -> Array:
        wide = np.full((len(x), *self.sides), value)
        (top, left), (height, width) = self.padding, self.shape
        wide[:, top : top + height, left : left + width] = x
        return wide

    def crop(self, wide: Array) -> Array:
        (top, left), (height, width) = self.padding, self.shape
        return wide[:, top : top + height, left : left + width]

    def at(self, dy: int, dx: int) -> tuple[slice, slice, slice]:
        """The places that all windows have at one offset."""
        (rows, columns), (sy, sx) = self.count, self.stride
        return (
            slice(None),
            slice(dy, dy + (rows - 1) * sy + 1, sy),
            slice(dx, dx + (columns - 1) * sx + 1, sx),
        )


class Conv:
    def __init__(self, module: nn.Conv2d, below: Array) -> None:
        kernel, padding = pair(module.kernel_size), module.padding
        assert not isinstance(padding, str)
        self.weight, self.groups = array(module.weight), module.groups
        dilation = pair(module.dilation)
        self.geometry = Geometry(below.shape, kernel, pair(module.stride), pair(padding), dilation)
        wide, g = self.geometry.pad(below), self.geometry
        filters = self.weight.reshape(self.groups, -1, *self.weight.shape[1:])
        up = np.zeros((self.groups, filters.shape[1], *g.count))
        for i, j, dy, dx in g.offsets:
            places = wide[g.at(dy, dx)].reshape(self.groups, -1, *g.count)
            up += np.einsum("gocij,gcyx->goyx", filters[..., i : i + 1, j : j + 1], places)
        self.up = up.reshape(-1, *g.count)
        if module.bias is not None:
            self.up += array(module.bias)[:, None, None]

    def down(self, signal: Array) -> Array:
        g, maps = self.geometry, self.weight.shape[1] * self.groups
        filters = self.weight.reshape(self.groups, -1, *self.weight.shape[1:])
        grouped = signal.reshape(self.groups, -1, *g.count)
        wide = np.zeros((maps, *g.sides))
        for i, j, dy, dx in g.offsets:
            part = np.einsum("goc,goyx->gcyx", filters[..., i, j], grouped, optimize=True)
            wide[g.at(dy, dx)] += part.reshape(maps, *g.count)
        return g.crop(wide)


class MaxPool:
    def __init__(self, module: nn.MaxPool2d, below: Array) -> None:
        self.geometry = g = Geometry(
            below.shape,
            pair(module.kernel_size),
            pair(module.stride),
            pair(module.padding),
            pair(module.dilation),
            module.ceil_mode,
        )
        wide = g.pad(below, -np.inf)
        windows = np.stack([wide[g.at(dy, dx)] for _, _, dy, dx in g.offsets])
        chosen = windows.argmax(0)  # the first one in row-major order
        self.up = np.take_along_axis(windows, chosen[None], 0)[0]
        reach = np.array([(dy, dx) for _, _, dy, dx in g.offsets])[chosen]
        y, x = np.indices(g.count)
        self.y, self.x = y * g.stride[0] + reach[..., 0], x * g.stride[1] + reach[..., 1]
        self.channel = np.arange(len(below))[:, None, None]

    def down(self, signal: Array, unpooling: str) -> Array:
        wide = np.zeros((len(signal), *self.geometry.sides))
        places = (self.channel, self.y, self.x)
        if unpooling == "sum":
            np.add.at(wide, places, signal)
        else:
            wide[places] = -np.inf
            np.maximum.at(wide, places, signal)
        return self.geometry.crop(wide)


class AvgPool:
    def __init__(self, module: nn.AvgPool2d, below: Array) -> None:
        kernel, padding = pair(module.kernel_size), pair(module.padding)
        self.geometry = g = Geometry(
            below.shape, kernel, pair(module.stride), padding, ceil_mode=module.ceil_mode
        )
        height, width = g.shape
        y, x = (
            np.arange(-p, side - p) for p, side in zip(g.padding, g.sides, strict=True)
        )  # of the padded map
        if module.count_include_pad:  # the padding counts, what ceil_mode adds beyond does not
            held = (y < height + padding[0])[:, None] & (x < width + padding[1])
        else:
            held = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
        counted = held[None].astype(float)
        self.divisor = sum(counted[g.at(dy, dx)] for _, _, dy, dx in g.offsets)
        if module.divisor_override is not None:
            self.divisor = np.full(g.count, float(module.divisor_override))
        wide = g.pad(below)
        self.up = sum(wide[g.at(dy, dx)] for _, _, dy, dx in g.offsets) / self.divisor

    def down(self, signal: Array) -> Array:
        wide = np.zeros((len(signal), *self.geometry.sides))
        for _, _, dy, dx in self.geometry.offsets:
            wide[self.geometry.at(dy, dx)] += signal / self.divisor
        return self.geometry.crop(wide)


def _normalised(module: nn.LocalResponseNorm, x: Array) -> Array:
    size = module.size
    squares = np.pad(x**2, ((size // 2, (size - 1) // 2), (0, 0), (0, 0)))
    around = sum(squares[i : i + len(x)] for i in range(size)) / size
    return np.asarray(x / (module.k + module.alpha * around) ** module.beta)


def _scale(module: nn.BatchNorm2d) -> Array:
    assert module.running_var is not None
    scale = 1 / np.sqrt(array(module.running_var) + module.eps)
    return scale if module.weight is None else scale * array(module.weight)


class Chain:
    """One image taken up a chain of modules, and any of its levels back down."""

    def __init__(self, modules: Iterable[nn.Module], image: Array) -> None:
        self.levels: list[tuple[nn.Module, Conv | MaxPool | AvgPool | None, Array]] = []
        x = image
        for module in modules:
            made: Conv | MaxPool | AvgPool | None = None
            match module:
                case nn.Conv2d():
                    made = Conv(module, x)
                case nn.MaxPool2d():
                    made = MaxPool(module, x)
                case nn.AvgPool2d():
                    made = AvgPool(module, x)
                case nn.ReLU():
                    x = np.maximum(x, 0)
                case nn.LocalResponseNorm():
                    x = _normalised(module, x)
                case nn.BatchNorm2d():
                    assert module.running_mean is not None
                    x = (x - array(module.running_mean)[:, None, None]) * _scale(module)[
                        :, None, None
                    ]
                    if module.bias is not None:
                        x = x + array(module.bias)[:, None, None]
                case nn.AdaptiveAvgPool2d():
                    x = x.mean((1, 2), keepdims=True)
                case _:
                    raise NotImplementedError(type(module).__name__)
            x = x if made is None else made.up
            self.levels.append((module, made, x))
        self.image = image

    def project(
        self,
        level: int,
        feature_map: int,
        y: int,
        x: int,
        unpooling: str = "sum",
        strength: float | None = None,
    ) -> Array:
        """The projection of one position of one level, or of a strength there; the whole input."""
        top = self.levels[level][2]
        signal = np.zeros_like(top)
        signal[feature_map, y, x] = top[feature_map, y, x] if strength is None else strength
        for index in range(level, -1, -1):
            module, made, _ = self.levels[index]
            below = self.levels[index - 1][2] if index else self.image
            match made:
                case MaxPool():
                    signal = made.down(signal, unpooling)
                case Conv() | AvgPool():
                    signal = made.down(signal)
            match module:
                case nn.ReLU():
                    signal = np.maximum(signal, 0)
                case nn.BatchNorm2d():
                    signal = signal * _scale(module)[:, None, None]
                case nn.AdaptiveAvgPool2d():
                    signal = np.broadcast_to(signal, below.shape) / (
                        below.shape[1] * below.shape[2]
                    )
        return signal
