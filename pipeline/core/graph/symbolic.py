"""A net as torch.fx sees it, traced while it runs on a picture.

A tracer alone sees the calls of a net's code but no values, so it cannot follow a default
argument, a check of a size or an unpacked list, and takes what is overwritten in place for unused.
Here every call is run as it is recorded. So sizes and types are known, and it shows which tensors
a call overwrites: they are recorded as new values, which whatever reads them later reads. The
graph then means what the net's own forward pass means, and nothing in it overwrites anything.
"""

import inspect
import operator
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import inplace_methods
from torch.fx.node import map_aggregate

from pipeline.core.graph.spelled_out import (
    SHAPING,
    is_same,
    spell_any_number,
    spell_convolutions,
    spell_out_modules,
    spell_out_of_place,
    storage,
    target_name,
)
from pipeline.core.graph.steps import Pair

_GEOMETRY = {
    "size", "dim", "ndimension", "numel", "nelement", "stride", "is_contiguous", "element_size",
    "is_floating_point", "is_complex", "is_tensor", "get_device", "_assert", "getattr",
}  # fmt: skip
"""Calls whose result is no tensor and is the same for every picture."""

_CASTS = {"to", "type_as", "float", "cpu", "cuda"}
"""Of their types alone are taken over: the net will run elsewhere."""

_UNSPELLABLE = set('"\\\n\r')

_NOT_THE_NETS_OWN = (str(Path(torch.__file__).parent), __file__)


@dataclass(frozen=True)
class Traced:
    """A traced net.

    Attributes:
        module: its forward pass, (N, C, H, W) to whatever it returns; nothing in it overwrites
            what it reads.
        shapes: of every node that returns a tensor, for one picture.
        returned: path of a module → the nodes that it returned, one for each time it was called.
    """

    module: fx.GraphModule
    shapes: dict[str, tuple[int, ...]]
    returned: dict[str, list[str]]


def symbolic(net: nn.Module, input_size: Pair, channels: int = 3) -> Traced:
    """Trace a net in inference mode; the result shares its parameters.

    Args:
        net: takes (N, C, H, W); it is put into inference mode.
        input_size: (H, W) of its input.
        channels: C of its input.

    Raises:
        ValueError: the net cannot be traced; the text names the line of its code.
    """
    net.eval()
    _require_spellable(net)
    weight = next(net.parameters(), torch.empty(0))
    image = torch.zeros(1, channels, *input_size, dtype=weight.dtype, device=weight.device)
    tracer = _Tracer(image)
    try:
        with torch.no_grad():
            graph = tracer.trace(net)
    except Exception as error:  # a tracer runs the net's own code, which may raise anything
        why = str(error) or type(error).__name__
        raise ValueError(f"the net cannot be traced: {why}{_line(error)}") from error
    traced = fx.GraphModule(net, graph)
    spell_out_modules(traced, net, tracer.shapes)
    spell_convolutions(traced, tracer.returned)
    return Traced(traced, tracer.shapes, tracer.returned)


def _require_spellable(net: nn.Module) -> None:
    """Refuse names that end the string in the code that torch.fx writes."""
    for name, _ in chain(net.named_modules(), net.named_parameters(), net.named_buffers()):
        if _UNSPELLABLE & set(name):
            raise ValueError(
                f"the net cannot be traced: torch.fx spells no name with a double quote, a "
                f"backslash or a line break, as in {name!r}; rename it"
            )


def _line(error: Exception) -> str:
    """Where in the net's own code it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_NETS_OWN)]
    if not own:
        return ""
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line})"


class _Known(fx.Proxy):
    """What stands for a tensor, or for several, while a net is traced.

    Attributes:
        value: what the net has computed.
    """

    value: Any = None

    def __getattr__(self, k: str) -> Any:
        found = getattr(self.value, k)
        if callable(found):
            return super().__getattr__(k)
        if isinstance(found, Tensor):
            return self.tracer.create_proxy("call_function", getattr, (self, k), {})
        return found

    def __getitem__(self, part: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.getitem, (self, part), {})

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))


def _in_place(name: str) -> Callable[..., Any]:
    target = getattr(operator, name)

    def apply(self: _Known, *operands: Any) -> Any:
        return self.tracer.create_proxy("call_function", target, (self, *operands), {})

    return apply


for _name in inplace_methods:
    setattr(_Known, f"__{_name}__", _in_place(_name))


class _Tracer(fx.Tracer):
    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.returned: dict[str, list[str]] = {}
        self._image = image
        self._call: Callable[..., Any] | None = None  # of the module that is called
        self._is_running = False
        self._alive: list[weakref.ref[_Known]] = []
        self._now: dict[fx.Node, fx.Node] = {}  # what was overwritten → what it is now

    # --- what torch.fx asks for --------------------------------------------------------------

    def create_args_for_root(
        self, root_fn: Callable[..., Any], *_: Any
    ) -> tuple[Callable[..., Any], list[Any]]:
        """The net and its first argument; all others keep their defaults."""
        picture, *others = list(inspect.signature(root_fn).parameters.values())[1:]
        needed = [other.name for other in others if other.default is other.empty]
        if needed and others[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(f"it takes more than a picture: {', '.join(needed)}")
        return root_fn, [self.root, self.create_proxy("placeholder", picture.name, (), {})]

    def proxy(self, node: fx.Node) -> _Known:
        """What stands for a node's value."""
        return _Known(node, self)

    def create_arg(self, a: Any) -> Any:
        """A node of an argument: of what was overwritten, what it is now."""
        if not isinstance(a, _Known):
            return super().create_arg(a)
        node = a.node
        while node in self._now:
            node = self._now[node]
        return node

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A module's parameter: a node, but while a call is run the parameter itself."""
        if self._is_running:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A module is called, by the net or by an operation of torch's."""
        if self._is_running:
            return forward(*args, **kwargs)
        outer, self._call = self._call, forward
        try:
            made = super().call_module(m, forward, args, kwargs)
        finally:
            self._call = outer
        if isinstance(made, _Known):
            self.returned.setdefault(self.path_of_module(m), []).append(self.create_arg(made).name)
        return made

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **options: Any
    ) -> Any:
        """Record a call, and run it."""
        made = super().create_proxy(kind, target, args, kwargs, *rest, **options)
        assert isinstance(made, _Known)
        read = list(tensors((args, kwargs)))
        versions = [value._version for value in read]
        made.value = self._run(kind, target, args, kwargs)
        if not any(True for _ in tensors(made.value)):
            return self._number(made)
        if kind == "call_method" and target in _CASTS:  # to where and what it is now
            made.node.target, made.node.kwargs = "to", {}
            made.node.args = (made.node.args[0], made.value.dtype)
        if target_name(made.node) in SHAPING and isinstance(made.value, Tensor):
            spell_any_number(made.node, args[0].value, made.value)
        self._alive.append(weakref.ref(made))
        if isinstance(made.value, Tensor):
            self.shapes[made.node.name] = tuple(made.value.shape)
        for value, version in zip(read, versions, strict=True):
            if value._version != version:
                self._overwritten(value, made)
        return made

    # --- running it ---------------------------------------------------------------------------

    def _run(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "placeholder":
            return self._image
        args, kwargs = (map_aggregate(given, _value) for given in (args, kwargs))
        self._is_running = True
        try:
            if kind == "get_attr":
                return operator.attrgetter(target)(self.root)
            if kind == "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            call = self._call if kind == "call_module" else target
            assert call is not None
            return call(*args, **kwargs)
        finally:
            self._is_running = False

    def _number(self, made: _Known) -> Any:
        """A size or the like, which needs no node."""
        if target_name(made.node) not in _GEOMETRY:
            raise TypeError(f"{target_name(made.node)} makes numbers of a picture's values")
        self.graph.erase_node(made.node)
        return made.value

    def _overwritten(self, value: Tensor, made: _Known) -> None:
        """From now on, whatever was the overwritten tensor is what was made of it."""
        if not (isinstance(made.value, Tensor) and is_same(made.value, value)):
            raise TypeError(f"{made.node.target} writes into a part of a tensor")
        self._alive = [reference for reference in self._alive if reference() is not None]
        for reference in self._alive:
            known = reference()
            if known is None or known is made or not isinstance(known.value, Tensor):
                continue
            if is_same(known.value, value):
                self._now[known.node] = made.node
            elif storage(known.value) == storage(value):
                raise TypeError(f"{made.node.target} writes into a part of a tensor")
        spell_out_of_place(made.node)


def _value(argument: Any) -> Any:
    return argument.value if isinstance(argument, _Known) else argument


def tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in an argument or in a result."""
    value = _value(values)
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(tuple(value.values()))
    elif is_dataclass(value):
        yield from tensors(tuple(vars(value).values()))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)
