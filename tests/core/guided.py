"""The deconvnet built another way: autograd through the net as it is, ReLU's backward replaced.

Nothing here knows of graphs, steps or windows. The net's own modules run under a mode that
watches torch's functions: rectifiers get a backward that rectifies, response normalisation one
that passes, gates and statistics are constants. The layers are found on the way, from the tensors
alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.ops import SqueezeExcitation

RECTIFIERS = {F.relu, torch.relu, torch.relu_, F.hardtanh, F.relu6, F.silu, F.hardswish, F.gelu}
SUMS = {"add", "add_", "__add__", "__iadd__", "__radd__"}


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].clamp(min=0), None


class _Passed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _Guide(TorchFunctionMode):
    """Changes the backward pass, and follows each convolution's output to its layer's."""

    def __init__(self, reach: bool) -> None:
        super().__init__()
        self.reach = reach
        self.stack: list[tuple[str, nn.Module]] = []  # the modules that are running
        self.layers: dict[str, Tensor] = {}
        self.following: dict[int, list[str]] = {}  # convolutions whose output this tensor is
        self.summed: dict[int, list[str]] = {}  # convolutions that end in this sum
        self.alive: list[Tensor] = []  # so that no id is given twice

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in RECTIFIERS:
            return self._activate(_Rectified, function, args, kwargs)
        if function is F.hardsigmoid:
            return self._activate(_Passed, function, args, kwargs)
        if function is F.local_response_norm:
            return _Passed.apply(args[0], lambda x: function(x, *args[1:], **kwargs))
        if function is F.layer_norm:
            made = by_constants("layer_norm", *args, **kwargs)
            return _Passed.apply(made, lambda _: function(*args, **kwargs))
        if self.reach and function is F.max_pool2d:
            return _reached(*args, **kwargs)
        if getattr(function, "__name__", "") in SUMS:
            result = torch.add(*args)  # never in place: a layer's own maps are to be kept
            self._sum(args, result)
            return result
        return function(*args, **kwargs)

    def _activate(self, passes: Any, function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        if "inplace" in kwargs:
            kwargs = {**kwargs, "inplace": False}
        x = args[0]
        result = passes.apply(x, lambda x: function(x, *args[1:], **kwargs))
        assert isinstance(result, Tensor)
        self.alive.append(result)
        for name in self.following.pop(id(x), []):
            self.layers[name] = result
        for name in self.summed.pop(id(x), []):
            del self.layers[name]
            self.layers[self._block()] = result
        return result

    def _block(self) -> str:
        path, module = self.stack[-1]
        return path if list(module.children()) else path.rpartition(".")[0]

    def _sum(self, args: Any, result: Tensor) -> None:
        self.alive.append(result)
        addends = [id(one) for one in args if isinstance(one, Tensor)]
        names = [self.following.pop(one, []) + self.summed.pop(one, []) for one in addends]
        self.summed[id(result)] = [name for some in names for name in some]

    def entered(self, path: str, module: nn.Module) -> None:
        self.stack.append((path, module))

    def left(self, path: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.stack.pop()
        if isinstance(module, nn.Conv2d):
            names = [path]
        elif isinstance(module, nn.BatchNorm2d | nn.LocalResponseNorm):
            names = self.following.pop(id(inputs[0]), [])
        elif isinstance(module, nn.Dropout):  # it may return its input itself
            self.following.pop(id(output), None)
            return
        else:
            return
        self.alive.append(output)
        self.following[id(output)] = names
        self.layers.update(dict.fromkeys(names, output))


@contextmanager
def _watched(net: nn.Module, guide: _Guide) -> Iterator[None]:
    with ExitStack() as hooks:
        for path, module in net.named_modules():

            def before(module: nn.Module, _: Any, path: str = path) -> None:
                guide.entered(path, module)

            def after(module: nn.Module, inputs: Any, output: Any, path: str = path) -> None:
                guide.left(path, module, inputs, output)

            hooks.enter_context(module.register_forward_pre_hook(before))
            hooks.enter_context(module.register_forward_hook(after))
            if isinstance(module, SqueezeExcitation):
                gate = module.scale_activation
                hooks.enter_context(gate.register_forward_hook(lambda _, __, out: out.detach()))
        with guide:
            yield


def layers(net: nn.Module, images: Tensor, *, reach: bool = False) -> dict[str, Tensor]:
    """The feature maps of each layer by name, ready to go back to the images.

    `reach`: let a max pool send its signal to the whole window, so that what is reached depends
    on the geometry alone.
    """
    guide = _Guide(reach)
    with _watched(net.eval(), guide):
        net(images)
    return guide.layers


def project(
    maps: Tensor,
    images: Tensor,
    feature_map: Sequence[int],
    y: Sequence[int],
    x: Sequence[int],
    seed: Tensor | None = None,
) -> Tensor:
    """One position of each image sent back: (N, 3, H, W), the whole input."""
    rows = range(len(images))
    signal = torch.zeros_like(maps)
    chosen = maps[rows, feature_map, y, x].detach()
    signal[rows, feature_map, y, x] = chosen if seed is None else seed
    (gradient,) = torch.autograd.grad(maps, images, signal, retain_graph=True)
    return gradient


def _reached(x: Tensor, kernel_size: Any, *args: Any, **kwargs: Any) -> Tensor:
    """A max pool whose backward reaches all of its window."""
    names = ("stride", "padding", "dilation", "ceil_mode", "return_indices")
    options = {**dict(zip(names, args, strict=False)), **kwargs}
    with torch.no_grad():
        pooled = F.max_pool2d(x, kernel_size, **options)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
        (value, value) if isinstance(value, int) else tuple(value)
        for value in (
            kernel_size,
            options.get("stride") or kernel_size,
            options.get("padding", 0),
            options.get("dilation", 1),
        )
    )
    maps = x.shape[1]
    ones = x.new_ones(maps, 1, kh, kw)
    wide = F.pad(x, (pw, pw + kw * dw + sw, ph, ph + kh * dh + sh))
    summed = F.conv2d(wide, ones, None, (sh, sw), 0, (dh, dw), maps)
    height, width = pooled.shape[2:]
    return summed[:, :, :height, :width]


def by_constants(how: str, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A normalisation whose statistics are no functions of what it normalises."""
    given = dict(zip(("of", "weight", "bias", "eps"), args, strict=False)) | kwargs
    if how == "instance_norm":
        given = {"of": x.shape[1], **kwargs}
    elif how == "group_norm":
        given["of"] = given.pop("num_groups", given.get("of"))
    else:
        given["of"] = given.pop("normalized_shape", given.get("of"))
    axes = range(-len(given["of"]), 0) if how == "layer_norm" else range(2, x.ndim + 1)
    shape = x.shape if how == "layer_norm" else (len(x), given["of"], -1, *x.shape[2:])
    grouped = x.reshape(shape)
    known = grouped.detach()
    mean, variance = (
        known.mean(tuple(axes), keepdim=True),
        known.var(tuple(axes), keepdim=True, correction=0),
    )
    made = ((grouped - mean) / (variance + given.get("eps", 1e-5)).sqrt()).reshape(x.shape)
    across = (1, -1, *[1] * (x.ndim - 2)) if how != "layer_norm" else (-1,)
    for name, apply in (("weight", torch.mul), ("bias", torch.add)):
        if given.get(name) is not None:
            made = apply(made, given[name].view(across))
    return made
