"""A net run on many occluded copies of one image, computing only what the occluder changes.

One pass without occluder leaves the base: every map. For each occluder each step then computes a
window of its output: what changes, widened a little so that many occluders share one size and
make one batch. Around a window the base continues; outside the map is what the operation pads
with. From the first operation that is not local on, the windows are pasted into the base and the
net goes on with whole maps: the tail.
"""

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from pipeline.core.graph.spelling import Spelling
from pipeline.core.graph.steps import Add, AvgPool, Concat, Conv, Input, MaxPool, Pair, Step
from pipeline.core.graph.whole_net import WholeNet, tail
from pipeline.core.occlusion.base import Base
from pipeline.core.occlusion.changes import Places, Spans, is_local
from pipeline.core.occlusion.groups import Group, grouped
from pipeline.core.windows.forward import WindowPass
from pipeline.core.windows.placed import Placed


@dataclass(frozen=True)
class Chunk:
    """Some occluders behind the windowed part.

    Attributes:
        y: (n,) which of the occluders' rows.
        x: (n,) which of their columns.
        frontier: the whole maps (n, C, H, W) that the tail starts from.
        tapped: those of the taps that are windowed, (n, k, H, W) of the channels asked for.
    """

    y: Places
    x: Places
    frontier: list[Tensor]
    tapped: dict[str, Tensor]


@dataclass(frozen=True)
class Tapped:
    """A tapped layer of one image, (1, C, H, W).

    Attributes:
        maps: as they are.
        before: as they were before a rectification that only cuts values off: what of two that
            are cut off alike is the stronger.
    """

    maps: Tensor
    before: Tensor


class Incremental:
    """A net cut into a windowed part and a tail.

    Args:
        net: the net.
        taps: the steps whose maps are wanted beside the net's output.
    """

    def __init__(self, net: WholeNet, taps: Sequence[str]) -> None:
        self.net, self.taps = net, tuple(taps)
        spelling = Spelling.of(net.traced)
        self._cut_off = {
            node.name
            for node in net.traced.graph.nodes
            if node.name in self.taps and spelling.cuts_off(node)
        }
        self.windowed = _windowed(net)
        self.frontier = [
            node.name
            for node in net.traced.graph.nodes
            if node.name in self.windowed
            and any(user.name not in self.windowed for user in node.users)
        ]
        self._tail = tail(net, self.windowed, self.frontier, self.taps)
        self.watched = self._looked_at()

    def groups(
        self, rows: dict[str, Spans], columns: dict[str, Spans], most: int = 5
    ) -> tuple[list[Group], list[Group]]:
        """Occluders' rows and columns, so that many share the sizes of their windows.

        Args:
            rows: for every step, the rows that each row of occluders changes.
            columns: likewise.
            most: groups along each axis. Five compute 4 % (AlexNet) to 6 % (VGG16, ResNet-50) more
                than windows of the very size; with one per size, batches get so small and shapes
                so many that AlexNet takes a fifth longer.
        """
        return self._groups(rows, 1, columns, most), self._groups(columns, 2, rows, most)

    def _groups(
        self, spans: dict[str, Spans], axis: int, other: dict[str, Spans], most: int
    ) -> list[Group]:
        steps = {name: self.net.steps[name] for name in self.windowed}
        weights = {
            name: float(_work(step) * other[name].sizes.mean()) for name, step in steps.items()
        }
        lengths = {name: step.shape[axis] for name, step in steps.items()}
        return grouped({name: spans[name] for name in steps}, lengths, weights, most)

    def _looked_at(self) -> set[str]:
        """The steps whose base is ever looked at."""
        read = {*self.frontier, *(tap for tap in self.taps if tap in self.windowed)}
        for name in self.windowed:
            if isinstance(self.net.steps[name].op, Conv | MaxPool | AvgPool | Concat | Add):
                read.update(self.net.steps[name].inputs)
        return read

    def base(self, image: Tensor) -> tuple[Base, dict[str, Tapped], Tensor]:
        """The pass without occluder over one image (1, C, H, W): its maps, the taps, the output."""
        recorded: dict[str, Tensor] = {}
        before: dict[str, Tensor] = {}
        wanted, cut = {*self.watched, *self.taps}, self._cut_off

        class Recorder(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                if n.name in cut:  # which may overwrite what it reads
                    before[n.name] = self.env[n.all_input_nodes[0]].clone()
                value = super().run_node(n)
                if n.name in wanted:  # some sums overwrite their first term
                    overwritten = any(user.target is operator.iadd for user in n.users)
                    recorded[n.name] = value.clone() if overwritten else value
                return value

        output = Recorder(self.net.traced).run(image)
        base = Base({name: maps for name, maps in recorded.items() if name in self.watched})
        tapped = {tap: Tapped(recorded[tap], before.get(tap, recorded[tap])) for tap in self.taps}
        return base, tapped, output

    def chunks(
        self,
        base: Base,
        value: Tensor,
        size: Pair,
        groups: tuple[list[Group], list[Group]],
        channels: Mapping[str, Tensor],
        at_once: int = 32,
    ) -> Iterator[Chunk]:
        """Run the windowed part, some occluders at a time.

        Args:
            base: of the image.
            value: (C,) or (1,) the colour of the occluder, normalised.
            size: its height and width in pixels.
            groups: from `groups`.
            channels: of each tap that is wanted, (k,) which of its maps.
            at_once: how many occluders.
        """
        windowed = [tap for tap in channels if tap in self.windowed]
        for rows, columns in itertools.product(*groups):
            grid = np.indices((len(rows.members), len(columns.members))).reshape(2, -1)
            for first in range(0, grid.shape[1], at_once):
                y, x = grid[:, first : first + at_once]
                windows = self._ascend(base, value, size, (rows, y), (columns, x))
                frontier = [
                    base.whole(name, windows.values[name], windows.placed[name])
                    for name in self.frontier
                ]
                tapped = {
                    tap: base.whole(tap, windows.values[tap], windows.placed[tap], channels[tap])
                    for tap in windowed
                }
                yield Chunk(rows.members[y], columns.members[x], frontier, tapped)

    def finish(
        self, chunks: Sequence[Chunk], channels: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the tail over the occluders of some chunks, one after another.

        Args:
            chunks: from `chunks`.
            channels: as given there.

        Returns:
            The net's output (n, classes), and of each tap (n, k, H, W).
        """
        frontier = [torch.cat(maps) for maps in zip(*(c.frontier for c in chunks), strict=True)]
        output, above = self._tail(*frontier)
        tapped = {
            tap: torch.cat([chunk.tapped[tap] for chunk in chunks])
            if maps is None  # it is below the tail
            else maps[:, channels[tap]]
            for tap, maps in zip(self.taps, above, strict=True)
            if tap in channels
        }
        return output, tapped

    def _ascend(
        self,
        base: Base,
        value: Tensor,
        size: Pair,
        rows: tuple[Group, Places],
        columns: tuple[Group, Places],
    ) -> WindowPass:
        run = WindowPass(self.net.traced, self.net.steps, base.region)
        for name in self.windowed:
            step = self.net.steps[name]
            top, left = (
                torch.from_numpy(group.first[name][which]).to(value.device)
                for group, which in (rows, columns)
            )
            placed = Placed.of_size((rows[0].size[name], columns[0].size[name]), top, left)
            if isinstance(step.op, Input):
                box = value[:, None, None].expand(len(top), step.shape[0], *size)
                run.put(name, box.contiguous(memory_format=torch.channels_last), placed)
            else:
                run.make(step, placed)
        return run


def _windowed(net: WholeNet) -> list[str]:
    """The steps that are computed on windows, in the order of the forward pass."""
    chosen: list[str] = []
    for step in net.steps.values():
        if is_local(step) and all(name in chosen for name in step.inputs):
            chosen.append(step.name)
    return chosen


def _work(step: Step) -> float:
    """What one place of a step's output costs, roughly, in multiply-adds."""
    if isinstance(step.op, Conv):
        return float(step.op.module.weight.numel())
    return 8.0 * step.shape[0]
