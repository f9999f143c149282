"""The backward pass of the deconvnet for a net that runs as it is written, by autograd."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from tests.core import guided

RECTIFIERS = {
    "relu", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus",
    "hardswish", "relu6",
}  # fmt: skip
BOUNDED = {"clamp", "clamp_min", "hardtanh"}
STATISTICS = {"group_norm", "instance_norm", "layer_norm"}
PASSED = {"tanh", "sigmoid", "local_response_norm"}


class Rules(TorchFunctionMode):
    """Rectifiers rectify, what squashes passes, and statistics are constants."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        plain = name.removesuffix("_")
        if plain in STATISTICS and kwargs.get("use_input_stats", True):
            return guided.by_constants(plain, *args, **kwargs)
        if plain not in RECTIFIERS | BOUNDED | PASSED:
            return func(*args, **kwargs)
        x = args[0]
        with torch.no_grad():
            lowest = func(torch.full_like(x, -9), *args[1:], **kwargs).min()
        rectifies = plain in RECTIFIERS or (plain in BOUNDED and bool(lowest >= 0))
        rule = guided._Rectified if rectifies else guided._Passed
        made = rule.apply(x, lambda x: func(x.clone(), *args[1:], **kwargs))
        if name.endswith("_") or kwargs.get("inplace"):
            return x.copy_(made)
        return made
