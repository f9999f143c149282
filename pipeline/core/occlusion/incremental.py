"""A net run on many occluded copies of one image, computing only what the occluder changes.

One pass without occluder leaves the base: every map. For each occluder each step then computes a
window of its output: what changes, widened a little so that many occluders share one size and
make one batch. Around a window the base continues; outside the map is what the operation pads
with. From the first operation that is not local on, the windows are pasted into the base and the
net goes on with whole maps: the tail.

A window is kept as (n, C, h, w), channels last, and where each of the n starts.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.fx.node import map_arg

from pipeline.core.graph.steps import Add, AvgPool, Concat, Conv, Input, MaxPool, Step
from pipeline.core.occlusion.changes import Places, Spans, WholeNet, is_local
from pipeline.core.occlusion.windows import Base, Group, Window, grouped, reach


@dataclass(frozen=True)
class Chunk:
    """Some occluders behind the windowed part.

    Attributes:
        y: (n,) which of the occluders' rows.
        x: (n,) which of their columns.
        frontier: the whole maps (n, C, H, W) that the tail starts from.
        tapped: those of the tap, if it is windowed.
    """

    y: Places
    x: Places
    frontier: list[Tensor]
    tapped: Tensor | None


class Incremental:
    """A net cut into a windowed part and a tail, for one set of occluders.

    Args:
        net: the net.
        rows: for every step, the rows that each row of occluders changes.
        columns: likewise.
        tap: the step whose maps are wanted beside the net's output.
        most_groups: along each axis. Five compute 4 % (AlexNet) to 6 % (VGG16, ResNet-50) more
            than windows of the very size; with one per size, batches get so small and shapes so
            many that AlexNet takes a fifth longer.
    """

    def __init__(
        self,
        net: WholeNet,
        rows: dict[str, Spans],
        columns: dict[str, Spans],
        tap: str,
        most_groups: int = 5,
    ) -> None:
        self.net, self.tap = net, tap
        self.nodes = {node.name: node for node in net.traced.graph.nodes}
        self.windowed = _windowed(net)
        self.frontier = [
            name
            for name in self.windowed
            if any(user.name not in self.windowed for user in self.nodes[name].users)
        ]
        self.tail = tail(net, self.windowed, self.frontier, tap)
        self.rows, self.columns = (
            self._groups(spans, axis, other, most_groups)
            for axis, spans, other in ((1, rows, columns), (2, columns, rows))
        )
        self.recorded = self._recorded()
        self._run = fx.Interpreter(net.traced)
        self._divisors: dict[str, Tensor] = {}

    def _groups(
        self, spans: dict[str, Spans], axis: int, other: dict[str, Spans], most: int
    ) -> list[Group]:
        steps = {name: self.net.steps[name] for name in self.windowed}
        weights = {
            name: float(_work(step) * other[name].sizes.mean()) for name, step in steps.items()
        }
        lengths = {name: step.shape[axis] for name, step in steps.items()}
        return grouped({name: spans[name] for name in steps}, lengths, weights, most)

    def _recorded(self) -> set[str]:
        """The steps whose base is ever looked at."""
        read = {*self.frontier, *([self.tap] if self.tap in self.windowed else [])}
        for name in self.windowed:
            if isinstance(self.net.steps[name].op, Conv | MaxPool | AvgPool | Concat | Add):
                read.update(self.net.steps[name].inputs)
        return read

    def base(self, image: Tensor) -> tuple[Base, Tensor, Tensor]:
        """The pass without occluder over one image (1, 3, H, W): base, tapped maps, output."""
        kept: dict[str, Tensor] = {}
        wanted = self.recorded | {self.tap}

        class Recorder(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                value = super().run_node(n)
                if n.name in wanted:  # some sums overwrite their first term
                    overwritten = any(user.target is operator.iadd for user in n.users)
                    kept[n.name] = value.clone() if overwritten else value
                return value

        output = Recorder(self.net.traced).run(image)
        base = Base({name: maps for name, maps in kept.items() if name in self.recorded})
        return base, kept[self.tap], output

    def chunks(self, base: Base, value: Tensor, size: int, at_once: int) -> Iterator[Chunk]:
        """Run the windowed part, some occluders at a time.

        Args:
            base: of the image.
            value: (3,) the colour of the occluder, normalised.
            size: its side in pixels.
            at_once: how many occluders.
        """
        for rows in self.rows:
            for columns in self.columns:
                y, x = (
                    grid.ravel()
                    for grid in np.meshgrid(
                        np.arange(len(rows.members)), np.arange(len(columns.members)), indexing="ij"
                    )
                )
                for part in range(0, len(y), at_once):
                    chosen = slice(part, part + at_once)
                    windows = self._ascend(
                        base, value, size, (rows, y[chosen]), (columns, x[chosen])
                    )
                    frontier = [base.whole(name, windows[name]) for name in self.frontier]
                    tapped = (
                        base.whole(self.tap, windows[self.tap]) if self.tap in windows else None
                    )
                    at = rows.members[y[chosen]], columns.members[x[chosen]]
                    yield Chunk(*at, frontier, tapped)

    def _ascend(
        self,
        base: Base,
        value: Tensor,
        size: int,
        rows: tuple[Group, Places],
        columns: tuple[Group, Places],
    ) -> dict[str, Window]:
        windows: dict[str, Window] = {}
        for name in self.windowed:
            step = self.net.steps[name]
            top, left = (
                torch.from_numpy(group.first[name][which]).to(value.device)
                for group, which in (rows, columns)
            )
            height, width = rows[0].size[name], columns[0].size[name]
            if isinstance(step.op, Input):
                values = value[:, None, None].expand(len(top), -1, size, size)
                values = values.contiguous(memory_format=torch.channels_last)
            else:
                values = self._values(base, step, windows, (top, height, left, width))
            windows[name] = Window(values, top, left)
        return windows

    def _values(
        self,
        base: Base,
        step: Step,
        windows: dict[str, Window],
        place: tuple[Tensor, int, Tensor, int],
    ) -> Tensor:
        """The window of one step's output at a place."""
        match step.op:
            case Conv(module=conv, kernel=k):
                below = self._below(base, step, windows, place, 0.0)
                return F.conv2d(below, conv.weight, conv.bias, k.stride, 0, k.dilation, conv.groups)
            case MaxPool(kernel=k):
                below = self._below(base, step, windows, place, -torch.inf)
                return F.max_pool2d(below, k.size, k.stride, 0, k.dilation)
            case AvgPool(kernel=k):
                below = self._below(base, step, windows, place, 0.0)
                total = F.avg_pool2d(below, k.size, k.stride, divisor_override=1)
                top, height, left, width = place
                shares = self._shares(step, below)
                y, x = reach(top, height)[:, :, None], reach(left, width)[:, None]
                return total * shares[y, x][:, None]
            case _:
                return self._pointwise(base, step, windows, place)

    def _below(
        self,
        base: Base,
        step: Step,
        windows: dict[str, Window],
        place: tuple[Tensor, int, Tensor, int],
        outside: float,
    ) -> Tensor:
        """What a kernel reads to make a window."""
        assert isinstance(step.op, Conv | MaxPool | AvgPool)
        k, (source,) = step.op.kernel, step.inputs
        top, height, left, width = place
        h, w = (
            (size - 1) * k.stride[axis] + k.dilation[axis] * (k.size[axis] - 1) + 1
            for axis, size in enumerate((height, width))
        )
        return base.region(
            source,
            windows[source],
            top * k.stride[0] - k.padding[0],
            h,
            left * k.stride[1] - k.padding[1],
            w,
            outside,
        )

    def _pointwise(
        self,
        base: Base,
        step: Step,
        windows: dict[str, Window],
        place: tuple[Tensor, int, Tensor, int],
    ) -> Tensor:
        node = self.nodes[step.name]
        regions = {
            name: base.region(name, windows[name], *place)
            if len(step.inputs) > 1
            # of a single input no more than the window is read
            else windows[name].values
            for name in step.inputs
        }
        args = map_arg(node.args, lambda source: regions[source.name])
        made: Tensor = getattr(self._run, node.op)(node.target, args, node.kwargs)
        return made

    def _shares(self, step: Step, like: Tensor) -> Tensor:
        """(H, W): one over what an average divides each sum by; it differs at the border."""
        if step.name not in self._divisors:
            pool = step.op
            assert isinstance(pool, AvgPool)
            k = pool.kernel
            ones = like.new_ones(1, 1, *self.net.steps[step.inputs[0]].shape[1:])
            options = (k.size, k.stride, k.padding, pool.ceil_mode)
            total = F.avg_pool2d(ones, *options, divisor_override=1)
            mean = F.avg_pool2d(ones, *options, pool.count_include_pad, pool.divisor)
            self._divisors[step.name] = (mean / total)[0, 0]
        return self._divisors[step.name]


def _windowed(net: WholeNet) -> list[str]:
    """The steps that are computed on windows, in the order of the forward pass."""
    chosen: list[str] = []
    for step in net.steps.values():
        if is_local(step) and all(name in chosen for name in step.inputs):
            chosen.append(step.name)
    return chosen


def tail(net: WholeNet, windowed: Sequence[str], frontier: Sequence[str], tap: str) -> Any:
    """What is left of the net: from the frontier's maps to (output, tapped maps or None)."""
    graph = fx.Graph()
    copies: dict[str, fx.Node] = {name: graph.placeholder(name) for name in frontier}
    for node in net.traced.graph.nodes:
        if node.op == "output":
            output = map_arg(node.args[0], lambda source: copies[source.name])
            graph.output((output, None if tap in windowed else copies[tap]))
        elif node.name not in windowed:
            copies[node.name] = graph.node_copy(node, lambda source: copies[source.name])
    tail = fx.GraphModule(net.traced, graph)
    tail.graph.eliminate_dead_code()
    tail.recompile()
    return tail


def _work(step: Step) -> float:
    """What one place of a step's output costs, roughly, in multiply-adds."""
    if isinstance(step.op, Conv):
        return float(step.op.module.weight.numel())
    return 8.0 * step.shape[0]
