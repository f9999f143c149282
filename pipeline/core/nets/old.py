"""In what the published weights of one old net differ."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn


@dataclass(frozen=True)
class Normalisation:
    """Local response normalisation: each value over (k + alpha · mean of squares) ** beta.

    The mean is over `size` neighbouring maps, as in Caffe, ONNX and torch. Krizhevsky et al. 2012
    have the sum instead: their alpha times `size` is this one.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True)
class Variant:
    """One net of five convolutions and three fully connected layers, of several.

    Attributes:
        padding: of the first convolution, in pixels.
        maps: feature maps of each convolution.
        hidden: width of each fully connected layer but the last.
        normalisation: after the first and the second convolution.
        pool_first: whether pooling comes before normalisation there.
        ceil: for each of the three pools, whether a last window may reach over the border.
    """

    padding: int = 0
    maps: tuple[int, int, int, int, int] = (96, 256, 384, 384, 256)
    hidden: tuple[int, int] = (4096, 4096)
    normalisation: Normalisation = Normalisation()
    pool_first: bool = True
    ceil: tuple[bool, bool, bool] = (True, True, True)

    def pool(self, number: int) -> nn.MaxPool2d:
        """One of the three pools, 3×3 with stride 2, from 0."""
        return nn.MaxPool2d(3, stride=2, ceil_mode=self.ceil[number])

    def between(self, number: int) -> nn.Sequential:
        """What follows the first and the second rectified convolution."""
        how = self.normalisation
        norm = nn.LocalResponseNorm(how.size, how.alpha, how.beta, how.k)
        steps = (self.pool(number), norm)
        return nn.Sequential(*(steps if self.pool_first else reversed(steps)))

    def as_wide_as(self, state: Mapping[str, Tensor]) -> "Variant":
        """The same with the widths of some weights.

        Raises:
            ValueError: a layer is missing.
        """
        names = [f"{name}.weight" for name in ("conv1", "conv2", "conv3", "conv4", "conv5")]
        hidden = [f"{name}.weight" for name in ("fc6", "fc7")]
        for name in (*names, *hidden):
            if name not in state or not state[name].dim():
                raise ValueError(f"{name} is missing")
        one, two, three, four, five = (len(state[name]) for name in names)
        six, seven = (len(state[name]) for name in hidden)
        return replace(self, maps=(one, two, three, four, five), hidden=(six, seven))
