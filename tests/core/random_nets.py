"""Random small nets for property tests: chains and branches of everything the method knows."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A net in float64 and images it takes."""

    net: nn.Sequential
    images: Tensor

    def __repr__(self) -> str:
        return f"Case({self.net}, images of {tuple(self.images.shape)})"


class Branches(nn.Module):
    """Several ways from the same rectified maps, joined again."""

    def __init__(self, ways: list[nn.Module], join: str) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.ways = nn.ModuleList(ways)
        self.join = join
        self.out = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        parts = [way(x) for way in self.ways]
        if self.join == "cat":
            return torch.cat(parts, 1)
        whole = parts[0]
        for part in parts[1:]:
            whole = whole + part
        out: Tensor = self.out(whole)
        return out


def _pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def _conv(draw: st.DrawFn, maps: int) -> nn.Module:
    groups = draw(st.sampled_from([1, 1, maps]))
    made = groups * draw(st.integers(1, 4 if groups == 1 else 1))
    return nn.Conv2d(
        maps,
        made,
        draw(_pairs(1, 3)),
        draw(_pairs(1, 2)),
        draw(_pairs(0, 2)),
        draw(_pairs(1, 2)),
        groups,
        draw(st.booleans()),
    )


@st.composite
def _max_pool(draw: st.DrawFn) -> nn.Module:
    kernel = draw(_pairs(2, 3))
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    return nn.MaxPool2d(
        kernel, draw(_pairs(1, 3)), padding, draw(_pairs(1, 2)), ceil_mode=draw(st.booleans())
    )


@st.composite
def _avg_pool(draw: st.DrawFn) -> nn.Module:
    kernel = draw(_pairs(2, 3))
    padding = tuple(draw(st.integers(0, side // 2)) for side in kernel)
    return nn.AvgPool2d(
        kernel,
        draw(_pairs(1, 3)),
        padding,
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from([None, None, 3])),
    )


@st.composite
def _way(draw: st.DrawFn, maps: int, made: int, stride: int) -> nn.Module:
    """A branch: maps to made, the size divided by the stride, rounded up."""
    kernel = draw(st.sampled_from([1, 3, 5]))
    dilation = draw(st.integers(1, 2))
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(maps, made, kernel, stride, padding, dilation)
    after: list[nn.Module] = [nn.BatchNorm2d(made)] if draw(st.booleans()) else []
    if draw(st.booleans()):
        pools = [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)]
        after = [*after, nn.ReLU(), draw(st.sampled_from(pools)), nn.Conv2d(made, made, 1)]
    return nn.Sequential(conv, *after)


@st.composite
def _branches(draw: st.DrawFn, maps: int) -> nn.Module:
    join = draw(st.sampled_from(["cat", "add"]))
    stride = draw(st.integers(1, 2))
    made = draw(st.integers(1, 3))
    ways = [draw(_way(maps, made, stride)) for _ in range(draw(st.integers(1, 3)))]
    if stride == 1 and (join == "cat" or made == maps):
        ways.append(nn.Identity())
    return Branches(ways, join)


@st.composite
def _block(draw: st.DrawFn, maps: int) -> list[nn.Module]:
    kind = draw(st.sampled_from(["conv", "conv", "conv", "max", "max", "avg", "branches"]))
    if kind == "max":
        return [draw(_max_pool())]
    if kind == "avg":
        return [draw(_avg_pool())]
    if kind == "branches":
        return [draw(_branches(maps))]
    conv = draw(_conv(maps))
    assert isinstance(conv, nn.Conv2d)
    norms = [nn.BatchNorm2d(conv.out_channels), nn.LocalResponseNorm(3, 0.1)]
    follow: list[nn.Module] = draw(st.lists(st.sampled_from(norms), max_size=1))
    rectifiers = [nn.ReLU(inplace=True), nn.ReLU6(inplace=True), nn.SiLU()]
    follow += draw(st.lists(st.sampled_from(rectifiers), max_size=1))
    return [conv, *follow, *draw(st.lists(st.just(nn.Dropout()), max_size=1))]


@st.composite
def cases(draw: st.DrawFn, blocks: int = 6, images: int = 2) -> Case:
    """A net of some blocks, the first and last one convolutions; what does not fit is left out."""
    size = draw(_pairs(7, 21))
    seed = draw(st.integers(0, 2**16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.randn(images, 3, *size, dtype=torch.float64)
        modules: list[nn.Module] = []
        maps, probe = 3, x
        for number in range(draw(st.integers(1, blocks)) + 1):
            block = draw(_block(maps)) if number else [nn.Conv2d(3, 3, draw(_pairs(1, 3)))]
            made = nn.Sequential(*block).double().eval()
            settle(made)
            try:
                with torch.no_grad():
                    out = made(probe.clone())
            except RuntimeError:  # the map is too small by now
                continue
            if out.numel() and out.isfinite().all():  # no window of padding alone
                probe, maps = out, out.shape[1]
                modules += block
        last = nn.Conv2d(maps, 2, 1)
        net = nn.Sequential(*modules, last).double().eval()
        settle(last.double())
    return Case(net, x)


def settle(net: nn.Module) -> None:
    """Give batch normalisations something to do, of either sign; the same in every test."""
    drawn = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, generator=drawn)
            nn.init.uniform_(module.running_var, 0.5, 2, generator=drawn)
            if module.affine:
                nn.init.normal_(module.weight, generator=drawn)
                nn.init.normal_(module.bias, generator=drawn)
