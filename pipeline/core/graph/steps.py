"""The steps of a convnet: the few kinds of operation that the method knows, and their geometry."""

from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.core.field import Pair as Pair


@dataclass(frozen=True)
class Kernel:
    """The geometry of a convolution or a pool, (rows, columns) each, in positions."""

    size: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def reach(self, axis: int) -> int:
        """How many places it spans along an axis."""
        return self.dilation[axis] * (self.size[axis] - 1) + 1


@dataclass(frozen=True)
class Op:
    """What kind of operation a step is."""


class Input(Op):
    """The net's input."""


@dataclass(frozen=True)
class Conv(Op):
    """A convolution; `module` holds its filters."""

    module: nn.Conv2d
    kernel: Kernel


@dataclass(frozen=True)
class MaxPool(Op):
    """A maximum over windows; going up it records its switches, the first of equal places."""

    kernel: Kernel
    ceil_mode: bool


@dataclass(frozen=True)
class AvgPool(Op):
    """A mean over windows."""

    kernel: Kernel
    ceil_mode: bool
    count_include_pad: bool
    divisor: int | None


@dataclass(frozen=True)
class Pad(Op):
    """Maps with a border of one value around them."""

    kernel: Kernel  # of one place, whose padding is above and to the left
    value: float


class GlobalPool(Op):
    """The mean of a whole map, 1×1."""


@dataclass(frozen=True)
class Affine(Op):
    """Batch normalisation at inference: an affine map of each channel."""

    module: nn.BatchNorm2d | nn.SyncBatchNorm | nn.InstanceNorm2d


@dataclass(frozen=True)
class Rectify(Op):
    """ReLU and its relatives, leaky and smooth ones: on the way down all of them rectify."""

    rectified: int = 0  # which of its inputs: x · sigmoid(x), written out, has two


class Pass(Op):
    """Unchanged on the way down.

    Dropout, a constant that is added, functions that squash both signs alike (tanh, sigmoid, a
    clamp between bounds of either sign), and local response normalisation, which has no agreed
    inverse.
    """


@dataclass(frozen=True)
class Scale(Op):
    """Maps times a constant: a number for all of them, or for each, (C, 1, 1)."""

    factor: float | Tensor


@dataclass(frozen=True)
class Select(Op):
    """Some of several maps, in an order of their own: a slice, a piece, a channel shuffle."""

    maps: tuple[int, ...]


class Concat(Op):
    """Maps of several branches, one after the other."""


@dataclass(frozen=True)
class Add(Op):
    """The sum of branches of equal shape, each times a number; no numbers stand for ones."""

    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Gate(Op):
    """Maps times a scale computed from the image: for a map, a place or both.

    Squeeze and excitation, attention, spatial masks. On the way down the recorded scale is kept,
    and nothing goes down the branch that made it.
    """

    scaled: int  # which of the two inputs is scaled; the other one is the scale
    divides: bool = False  # whether it is divided by the scale instead


class Normalise(Op):
    """Normalised by the picture's own statistics: of groups of maps, of single ones, of places.

    On the way down the recorded scale is kept, as batch normalisation's is, and nothing goes down
    through the statistics.
    """


class Product(Op):
    """The product of two maps: to each goes the signal times the other one, as recorded."""


@dataclass(frozen=True)
class Linear(Op):
    """Anything else that is linear in the maps that it reads; on the way down it is transposed.

    Upsampling, mirrored borders, transposed convolutions, other orders of places.
    """

    moves: bool = False  # whether all that it does is to move values


@dataclass(frozen=True)
class AdaptiveMax(Op):
    """A maximum over as many windows as are asked for, of unequal size; it records switches."""

    size: Pair


@dataclass(frozen=True)
class Opaque(Op):
    """Anything else: it can be run, but the deconvnet cannot go down through it."""

    what: str


@dataclass(frozen=True)
class Step:
    """One operation: its kind, the steps it reads, and the shape (C, H, W) of what it returns."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: tuple[int, int, int]

    @property
    def sources(self) -> tuple[str, ...]:
        """The inputs that a signal goes down to: all, but for a gate's scale."""
        match self.op:
            case Gate(scaled=number) | Rectify(rectified=number):
                return (self.inputs[number],)
        return self.inputs
