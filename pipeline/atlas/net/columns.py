"""A net in a few columns, for its diagram: what each does on the way up and on the way down.

The graph falls into *cells* between places that every path goes through: a convolution of a
chain, a Fire or inception module, a residual block. Cells that belong together, by the path of
their modules and the size of their maps, become one column until there are few enough; a max
pool that every path goes through keeps its own, since its switches link up and down.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from typing import Literal

from torch import nn

from pipeline.core.graph.steps import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Gate,
    GlobalPool,
    Input,
    Kernel,
    MaxPool,
    Rectify,
    Step,
)
from pipeline.core.graph.trace import Graph

MOST_COLUMNS = 14

Kind = Literal["conv", "max pool", "mean pool"]

_POOLS = (MaxPool, AvgPool, GlobalPool)


@dataclass(frozen=True)
class Column:
    """One column of a diagram.

    Attributes:
        kind: convolutions with what follows them, or a pool.
        name: the layer's, or the path of the modules in it.
        up: what it does on the way up, a line each.
        down: what the deconvnet does there, a line each.
        shape: (C, H, W) of what leaves it.
        layers: names of the layers in it.
    """

    kind: Kind
    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    shape: tuple[int, int, int]
    layers: tuple[str, ...]


@dataclass(frozen=True)
class _Cell:
    steps: tuple[Step, ...]
    path: tuple[str, ...]
    kind: Kind
    ends: tuple[str, str]  # the paths of its first and its last part

    @property
    def convs(self) -> list[Conv]:
        return [step.op for step in self.steps if isinstance(step.op, Conv)]


def columns(graph: Graph, most: int = MOST_COLUMNS) -> list[Column]:
    """The columns of a net's diagram, in the order of the forward pass.

    Args:
        graph: of the net, behind its last layer nothing is shown.
        most: columns at most, as far as pools allow.
    """
    cells = _cells(graph)
    deepest = max(len(cell.path) for cell in cells)
    for depth in range(deepest, -1, -1):
        merged = list(_merged(cells, depth, split_by_size=depth < 2))
        if len(merged) <= most:
            break
    names = _names(graph, merged)
    return [_column(graph, cell, name) for cell, name in zip(merged, names, strict=True)]


def _paths(graph: Graph) -> dict[str, str]:
    """The path of the module behind each step that has one."""
    nodes = graph.trunk.graph.nodes
    return {node.name: str(node.target) for node in nodes if node.op == "call_module"}


def _cells(graph: Graph) -> list[_Cell]:
    """Cut the graph behind every step that all paths go through."""
    paths = _paths(graph)
    last_use = {name: n for n, step in enumerate(graph.steps.values()) for name in step.inputs}
    waiting: set[str] = set()
    run: list[Step] = []
    cells: list[_Cell] = []
    for n, step in enumerate(graph.steps.values()):
        waiting = {name for name in {*waiting, step.name} if last_use.get(name, -1) > n}
        if isinstance(step.op, Input):
            continue
        run.append(step)
        if waiting - {step.name}:
            continue
        cell = _cell(run, paths)
        run = []
        if cell.path or not cells:
            cells.append(cell)
        else:  # a rectification alone belongs to what it follows
            cells[-1] = replace(cells[-1], steps=cells[-1].steps + cell.steps)
    return [*cells, _cell(run, paths)] if run else cells


def _cell(steps: Sequence[Step], paths: dict[str, str]) -> _Cell:
    pools = [step for step in steps if isinstance(step.op, _POOLS)]
    convs = [step for step in steps if isinstance(step.op, Conv)]
    kind: Kind = "conv"
    if pools and not convs:
        kind = "max pool" if isinstance(pools[0].op, MaxPool) else "mean pool"
    path = _common([paths.get(step.name, step.name) for step in convs or pools])
    return _Cell(tuple(steps), path, kind, (".".join(path),) * 2)


def _common(paths: Sequence[str]) -> tuple[str, ...]:
    """The path that all of them begin with."""
    parts = [path.split(".") for path in paths]
    alike = takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False))
    return tuple(names[0] for names in alike)


def _merged(cells: Sequence[_Cell], depth: int, *, split_by_size: bool) -> Iterator[_Cell]:
    """Neighbouring cells with the same first `depth` parts of their paths as one."""

    def belongs(numbered: tuple[int, _Cell]) -> tuple[object, ...]:
        n, cell = numbered
        if cell.kind != "conv":
            return (n,)
        size = cell.steps[-1].shape[1:] if split_by_size else None
        return (cell.path[:depth], size)

    for _, group in groupby(enumerate(cells), belongs):
        neighbours = [cell for _, cell in group]
        steps = tuple(step for cell in neighbours for step in cell.steps)
        path = _common([".".join(cell.path) for cell in neighbours])
        first, last = neighbours[0], neighbours[-1]
        yield _Cell(steps, path, first.kind, (first.ends[0], last.ends[1]))


def _names(graph: Graph, cells: Sequence[_Cell]) -> list[str]:
    """A layer's name where a column is that layer, else the modules' path or its ends."""
    common = [".".join(cell.path) for cell in cells]
    names = []
    for cell, path in zip(cells, common, strict=True):
        layers, (first, last) = _layers(graph, cell), cell.ends
        if len(layers) == 1 and len(cell.convs) == 1:
            names.append(layers[0])
        elif first == last or (path and sum(_within(other, path) for other in common) == 1):
            names.append(path)
        else:
            names.append(f"{first}–{last.removeprefix(f'{path}.')}")
    return names


def _within(path: str, module: str) -> bool:
    return f"{path}.".startswith(f"{module}.")


def _layers(graph: Graph, cell: _Cell) -> tuple[str, ...]:
    inside = {step.name for step in cell.steps}
    return tuple(layer.name for layer in graph.layers if layer.step in inside)


def _column(graph: Graph, cell: _Cell, name: str) -> Column:
    up, down = _pool_words(cell) if cell.kind != "conv" else _conv_words(graph, cell)
    shape = cell.steps[-1].shape
    return Column(cell.kind, name, up, down, shape, _layers(graph, cell))


def _pool_words(cell: _Cell) -> tuple[tuple[str, ...], tuple[str, ...]]:
    op = next(step.op for step in cell.steps if isinstance(step.op, _POOLS))
    kernel = "" if isinstance(op, GlobalPool) else _kernel(op.kernel)
    if isinstance(op, MaxPool):
        return ("max pool", kernel), ("unpool",)
    return ("mean pool", kernel or "whole map"), ("spread evenly",)


def _conv_words(graph: Graph, cell: _Cell) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kernels = [conv.kernel for conv in cell.convs]
    if len(kernels) == 1:
        first = f"conv {_kernel(kernels[0])}"
        filtering = f"filter {_size(kernels[0].size)}ᵀ"
    else:
        sizes = sorted({kernel.size for kernel in kernels}, reverse=True)
        listed = ", ".join(_size(size) for size in sizes[:2])
        first = f"{len(kernels)} convs {listed}{', …' if len(sizes) > 2 else ''}"
        filtering = f"{len(kernels)} filters ᵀ"
    return (first, _after(graph, cell)), ("rectify", filtering)


def _after(graph: Graph, cell: _Cell) -> str:
    """What else happens in a column of convolutions, in a few words."""
    paths = _paths(graph)
    there: list[object] = [step.op for step in cell.steps]
    there += [graph.trunk.get_submodule(paths[s.name]) for s in cell.steps if s.name in paths]
    words = {
        "rectify": Rectify,
        "LRN": nn.LocalResponseNorm,
        "BN": nn.BatchNorm2d,
        "pools": MaxPool,
        "concat": Concat,
        "sum": Add,
        "gate": Gate,
    }
    return ", ".join(
        word for word, kind in words.items() if any(isinstance(part, kind) for part in there)
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def _kernel(kernel: Kernel) -> str:
    return _size(kernel.size) + (f" /{kernel.stride[0]}" if kernel.stride != (1, 1) else "")
