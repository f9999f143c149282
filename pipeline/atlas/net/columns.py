"""A net in a few columns, for its diagram: what each does on the way up and on the way down.

The graph falls into *cells* between places that every path goes through: a convolution of a
chain, a Fire or inception module, a residual block. Cells that belong together, by the path of
their modules and the size of their maps, become one column until there are few enough; a max
pool that every path goes through keeps its own, since its switches link up and down.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


def columns(graph: Graph, most: int = MOST_COLUMNS) -> list[Column]:
    """The columns of a net's diagram, in the order of the forward pass.

    Args:
        graph: of the net, behind its last layer nothing is shown.
        most: columns at most, as far as pools allow.
    """
    paths = {
        node.name: str(node.target)
        for node in graph.trunk.graph.nodes
        if node.op == "call_module" and node.name in graph.steps
    }
    cells = list(_cells(graph, paths))
    deepest = max(len(cell.path) for cell in cells)
    for depth in range(deepest, -1, -1):
        merged = list(_merged(cells, depth, split_by_size=depth < 2))
        if len(merged) <= most:
            break
    names = _names(graph, merged)
    return [_column(graph, cell, name) for cell, name in zip(merged, names, strict=True)]


def _cells(graph: Graph, paths: dict[str, str]) -> Iterator[_Cell]:
    """Cut the graph behind every step that all paths go through."""
    last_use = {name: n for n, step in enumerate(graph.steps.values()) for name in step.inputs}
    waiting: set[str] = set()
    run: list[Step] = []
    held: _Cell | None = None
    for n, step in enumerate(graph.steps.values()):
        waiting = {name for name in {*waiting, step.name} if last_use.get(name, -1) > n}
        if isinstance(step.op, Input):
            continue
        run.append(step)
        if waiting - {step.name}:
            continue
        cell = _cell(run, paths)
        run = []
        if cell.path or held is None:
            if held is not None:
                yield held
            held = cell
        else:  # a rectification alone belongs to what it follows
            held = _Cell(held.steps + cell.steps, held.path, held.kind, held.ends)
    if run:
        if held is not None:
            yield held
        held = _cell(run, paths)
    if held is not None:
        yield held


def _cell(steps: Sequence[Step], paths: dict[str, str]) -> _Cell:
    pools = [step for step in steps if isinstance(step.op, MaxPool | AvgPool | GlobalPool)]
    convs = [step for step in steps if isinstance(step.op, Conv)]
    kind: Kind = "conv"
    if pools and not convs:
        kind = "max pool" if isinstance(pools[0].op, MaxPool) else "mean pool"
    found = [paths.get(step.name, step.name) for step in (*convs, *(() if convs else pools))]
    path = _common(found)
    return _Cell(tuple(steps), path, kind, (".".join(path),) * 2)


def _common(paths: Sequence[str]) -> tuple[str, ...]:
    """The path that all of them begin with."""
    parts = [path.split(".") for path in paths]
    alike = takewhile(lambda some: len(set(some)) == 1, zip(*parts, strict=False))
    return tuple(some[0] for some in alike)


def _merged(cells: Sequence[_Cell], depth: int, *, split_by_size: bool) -> Iterator[_Cell]:
    """Neighbouring cells with the same first `depth` parts of their paths as one."""

    def belongs(numbered: tuple[int, _Cell]) -> tuple[object, ...]:
        n, cell = numbered
        if cell.kind != "conv":
            return (n,)
        size = cell.steps[-1].shape[1:] if split_by_size else None
        return (cell.path[:depth], size)

    for _, group in groupby(enumerate(cells), belongs):
        some = [cell for _, cell in group]
        steps = tuple(step for cell in some for step in cell.steps)
        path = _common([".".join(cell.path) for cell in some])
        yield _Cell(steps, path, some[0].kind, (some[0].ends[0], some[-1].ends[1]))


def _names(graph: Graph, cells: Sequence[_Cell]) -> list[str]:
    """A layer's name where a column is that layer, else the modules' path or its ends."""
    common = [".".join(cell.path) for cell in cells]
    names = []
    for cell, path in zip(cells, common, strict=True):
        layers, (first, last) = _layers(graph, cell), cell.ends
        if len(layers) == 1 and len(_convs(cell)) == 1:
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


def _convs(cell: _Cell) -> list[Step]:
    return [step for step in cell.steps if isinstance(step.op, Conv)]


def _column(graph: Graph, cell: _Cell, name: str) -> Column:
    up, down = _pool_words(cell) if cell.kind != "conv" else _conv_words(graph, cell)
    shape = cell.steps[-1].shape
    return Column(cell.kind, name, up, down, shape, _layers(graph, cell))


def _pool_words(cell: _Cell) -> tuple[tuple[str, ...], tuple[str, ...]]:
    op = next(s.op for s in cell.steps if isinstance(s.op, MaxPool | AvgPool | GlobalPool))
    kernel = "" if isinstance(op, GlobalPool) else _kernel(op.kernel)
    if isinstance(op, MaxPool):
        return ("max pool", kernel), ("unpool",)
    return ("mean pool", kernel or "whole map"), ("spread evenly",)


def _conv_words(graph: Graph, cell: _Cell) -> tuple[tuple[str, ...], tuple[str, ...]]:
    convs = [step.op for step in _convs(cell)]
    kernels = [op.kernel for op in convs if isinstance(op, Conv)]
    if len(kernels) == 1:
        first = f"conv {_kernel(kernels[0])}"
        filtering = f"filter {_size(kernels[0])}ᵀ"
    else:
        sizes = sorted({kernel.size for kernel in kernels}, reverse=True)
        listed = ", ".join(f"{rows}×{columns}" for rows, columns in sizes[:2])
        first = f"{len(kernels)} convs {listed}{', …' if len(sizes) > 2 else ''}"
        filtering = f"{len(kernels)} filters ᵀ"
    return (first, _after(graph, cell)), ("rectify", filtering)


def _after(graph: Graph, cell: _Cell) -> str:
    """What else happens in a column of convolutions, in a few words."""
    modules = {
        node.name: graph.trunk.get_submodule(str(node.target))
        for node in graph.trunk.graph.nodes
        if node.op == "call_module"
    }
    inside = [modules.get(step.name) for step in cell.steps]
    words = {
        "rectify": any(isinstance(step.op, Rectify) for step in cell.steps),
        "LRN": any(isinstance(module, nn.LocalResponseNorm) for module in inside),
        "BN": any(isinstance(module, nn.BatchNorm2d) for module in inside),
        "pools": any(isinstance(step.op, MaxPool) for step in cell.steps),
        "concat": any(isinstance(step.op, Concat) for step in cell.steps),
        "sum": any(isinstance(step.op, Add) for step in cell.steps),
        "gate": any(isinstance(step.op, Gate) for step in cell.steps),
    }
    return ", ".join(word for word, there in words.items() if there)


def _size(kernel: Kernel) -> str:
    return f"{kernel.size[0]}×{kernel.size[1]}"


def _kernel(kernel: Kernel) -> str:
    return _size(kernel) + (f" /{kernel.stride[0]}" if kernel.stride != (1, 1) else "")
